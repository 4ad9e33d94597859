"""Taking portable records in; `flowblob.portable` says what they look like."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.mongo.annotating import Annotating, micros, moment, to_run
from flowblob.catalogs.mongo.committing import Committing, pending
from flowblob.catalogs.mongo.deleting import Deleting
from flowblob.catalogs.mongo.documents import run_id, to_items
from flowblob.catalogs.mongo.steps import WITH_ITS_KEY, Cancelled, after, new_life
from flowblob.catalogs.refusals import check_next, parts_of
from flowblob.drafts import Part, PlacementLost
from flowblob.errors import ConflictError, InvalidInputError
from flowblob.model import EMPTY
from flowblob.mongodb import Document
from flowblob.portable import CAUSES, Kind, Portable

_TRIES = 100

#: Number of the step that ends a life which arrives as ended: beyond all that it can have had.
_LAST_STEP = 1 << 40


class Absorbing(Annotating, Committing, Deleting):
    """Records of another store, with their ids, numbers and times."""

    def absorb(
        self,
        kind: Kind,
        records: Sequence[Portable],
        *,
        parts: Mapping[str, Part] = EMPTY,
        op: str = "",
    ) -> int:
        if kind == "incarnation":
            self._check_lives(records)
        if kind == "version":
            records = self._check_versions(records, parts)
        takes: dict[Kind, Callable[[Portable], bool]] = {
            "run": lambda record: self._put_run(to_run(record)),
            "incarnation": self._take_life,
            "version": lambda record: self._take_version(record, parts),
            "tags": self._take_tags,
            "aliases": self._take_aliases,
            "tombstone": self._take_tombstone,
            "parents": self._take_parents,
            "use": self._take_use,
            "entry": self._take_entry,
            "lookup": self._take_lookup,
            "outcome": self._take_outcome,
            "bound": self._take_bound,
        }
        taken = sum([takes[kind](record) for record in records])
        if op:
            self.unpin(op)
        return taken

    # lives ----------------------------------------------------------

    def _check_lives(self, records: Sequence[Portable]) -> None:
        """Refuse all of them before the first one is taken in."""
        ending = {record["id"] for record in records if record["ended_at"] is not None}
        for record in records:
            life = self._life_of(record["id"])
            if life is None and record["ended_at"] is None:
                state = self._key(record["key"])
                if state is not None and state["incarnation"] not in ending:
                    _refuse_second_life(state, record["key"])
            if life is not None and _key_of(life) != record["key"]:
                raise refusals.of_another_key(record, _key_of(life))

    def _take_life(self, record: Portable) -> bool:
        life = self._life_of(record["id"])
        if life is None:
            return self._begin_life(record)
        if record["ended_at"] is None or "what" in life:
            return False

        def plan(state: Document | None) -> Document | None:
            if state is None or state["incarnation"] != record["id"]:
                return None
            return self._ending(state, record["ended_by"]) | {
                "at": moment(record["ended_at"]),
                "made": micros(record["ended_at"]),
            }

        return bool(self._change(record["key"], plan))

    def _begin_life(self, record: Portable) -> bool:
        key, born = record["key"], micros(record["created_at"])
        state = self._key_made(key)
        if record["ended_at"] is not None:
            op = f"end:{record['id']}"
            return self._tables.steps.insert_absent(
                {
                    **pending(op, key, []),
                    "id": op,
                    "what": "end",
                    "incarnation": record["id"],
                    "step": _LAST_STEP,
                    "state": "committed",
                    "at": moment(record["ended_at"]),
                    "made": micros(record["ended_at"]),
                    "by": record["ended_by"],
                    "cause": WITH_ITS_KEY,
                    "aliases": [],
                    "moves": [],
                    "marks": [],
                    "head": -1,
                    "born": born,
                }
            )
        # Its first step is that it is here: from now on the key lives.
        begun = new_life() | {"incarnation": record["id"], "step": 1, "born": born}
        standing = {"_id": key, "incarnation": state["incarnation"], "step": 0}
        if not self._tables.keys.update(standing, {"$set": begun}):
            self._catch_up(state)
            state = self._key_made(key)
            if state["incarnation"] != record["id"]:  # else it was the first of two sendings
                _refuse_second_life(state, key)
        return True

    # versions -------------------------------------------------------

    def _check_versions(
        self, records: Sequence[Portable], parts: Mapping[str, Part]
    ) -> list[Portable]:
        """Refuse all of them before the first one is taken in; return what can be taken."""
        heads: dict[str, int] = {}
        taken = []
        for record in records:
            standing = self._tables.steps.one({"id": record["id"]})
            if standing is not None:
                refusals.check_same(
                    record, incarnation=standing["incarnation"], version=standing["version"]
                )
                taken.append(record)
                continue
            life = self._life_of(record["incarnation"])
            if life is None:
                continue
            head: int = heads.setdefault(record["incarnation"], life["head"])
            _check_next(record, life, head)
            heads[record["incarnation"]] = head + 1
            parts_of(record, parts)
            taken.append(record)
        return taken

    def _take_version(self, record: Portable, parts: Mapping[str, Part]) -> bool:
        standing = self._tables.steps.one({"id": record["id"]}, {"_id": 1})
        if standing is not None:
            return bool(record["value_digest"]) and self._tables.steps.update(
                {"id": record["id"], "value_digest": ""},
                {"$set": {"value_digest": record["value_digest"]}},
            )
        if record["run"] is not None:
            self._put_run(to_run(record["run"]))
        for _ in range(_TRIES):
            with contextlib.suppress(Cancelled):
                self._append_record(record, parts_of(record, parts))
                return True
        raise self._contended(record["key"])

    def _append_record(self, record: Portable, mine: Sequence[Part]) -> None:
        supply = self._supply(mine)
        step = {
            **pending(record["op"], record["key"], supply.references),
            **_version_fields(record),
        }
        if not self._begin(step):
            self._cancel_any(record["op"])
            raise Cancelled
        try:
            self._settle(mine, supply)
            life = self._life_of(record["incarnation"])
            if life is None:
                raise Cancelled
            _check_next(record, life, life["head"])
            if not self._decide(step, self._numbered(record, step, life)):
                if "what" not in life:
                    self._catch_up(life)
                raise Cancelled
        except (Cancelled, PlacementLost, ConflictError, InvalidInputError):
            self._cancel(step)
            raise
        decided = self._tables.steps.one({"_id": record["op"]})
        assert decided is not None
        self._carry_through(decided)
        if "what" in life:
            self._tables.steps.update(
                {"_id": life["_id"], "head": {"$lt": record["version"]}},
                {"$set": {"head": record["version"]}},
            )

    def _numbered(self, record: Portable, step: Document, life: Document) -> Document:
        """Return what decides a version: its place in its life, as it was over there."""
        number = record["version"]
        fields: Document = {
            "state": "committed",
            "incarnation": record["incarnation"],
            "version": number,
            "at": moment(record["created_at"]),
            "made": micros(record["created_at"]),
        }
        if "what" in life:
            # An ended life has no state that the step could change, and no next number.
            fields["step"] = -1 - number
        else:
            newest = life["newest"]
            if record["dropped"] is None:
                newest = {
                    "id": record["id"],
                    "version": number,
                    "content": step["content"],
                    "history": record["history"],
                    "signer": record["signature_key"],
                }
            fields |= {
                "step": life["step"] + 1,
                "after": after(life, head=number, newest=newest),
            }
        if record["dropped"] is not None:
            at, by, cause = record["dropped"]
            fields["dead"] = {
                "at": moment(at),
                "made": micros(at),
                "by": by,
                "cause": CAUSES.index(cause),
                # Those that went together come back together.
                "op": f"{record['incarnation']}:{at}",
                "step": fields["step"],
            }
        return fields

    def _take_tombstone(self, record: Portable) -> bool:
        version = self._tables.steps.one({"id": record["id"], "dead": None}, {"key": 1})
        if version is None:
            return False

        def plan(state: Document | None) -> Document | None:
            is_aliased = state and any(a["id"] == record["id"] for a in state["aliases"])
            if state is None or is_aliased or not self._alive(state, [record["id"]]):
                return None
            return self._burial(state, [record["id"]], record["by"]) | {
                "cause": CAUSES.index(record["cause"]),
                "at": moment(record["at"]),
                "made": micros(record["at"]),
            }

        return bool(self._change(version["key"], plan))


def _check_next(record: Portable, life: Document, head: int) -> None:
    check_next(record, key=_key_of(life), head=head, is_ended="what" in life)


def _key_of(life: Document) -> str:
    return str(life["key"] if "what" in life else life["_id"])


def _refuse_second_life(state: Document | None, key: str) -> None:
    if state is not None and state["step"]:
        raise refusals.second_life(key)


def _version_fields(record: Portable) -> Document:
    same = """id digest size checksum kind media_type serializer filename parts history
        value_digest external signature signature_key preview"""
    return {name: record[name] for name in same.split()} | {
        "content": bytes.fromhex(record["content"]),
        "metadata": rows.to_text(record["metadata"]),
        "partitions": to_items(record["partitions"]),
        "prev": record["prev_version"],
        "run": None if record["run"] is None else run_id(to_run(record["run"])),
        # These come as records of their own.
        "tags": [],
        "tag_history": [],
        "parents": [],
        "marks": [],
        "by": "",
        "dead": None,
        "restored": 0,
    }
