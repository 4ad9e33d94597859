"""TXN-B: the one commit point of a put is the update that gives its step a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowblob.catalogs import rows
from flowblob.catalogs.content import content_hash
from flowblob.catalogs.mongo.documents import (
    entry_document,
    made_at,
    run_id,
    version_document,
)
from flowblob.catalogs.mongo.fences import Fences
from flowblob.catalogs.mongo.lineage import Lineage
from flowblob.catalogs.mongo.names import Names
from flowblob.catalogs.mongo.steps import RELEASED, Cancelled, after, new_life
from flowblob.catalogs.mongo.supplying import Supply, Supplying
from flowblob.catalogs.refusals import check_newest
from flowblob.checks import new_id
from flowblob.drafts import Commit, Draft
from flowblob.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    UnavailableError,
)
from flowblob.model import Blob
from flowblob.mongodb import Document, next_order

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How long an undecided put keeps its payloads from the collector, in milliseconds.
_PENDING_TTL = 120_000
_TRIES = 10_000


class Committing(Names, Lineage, Fences, Supplying):
    """What makes a put visible, and the look-up of what it did."""

    def commit(self, draft: Draft) -> Commit:
        for _ in range(_TRIES):
            try:
                return self._commit(draft)
            except Cancelled:
                continue
        raise self._contended(draft.key)

    def outcome(self, op: str) -> Blob | None:
        done = self._outcome(op)
        return None if done is None else done.blob

    def _outcome(self, op: str) -> Commit | None:
        step = self._tables.steps.one({"_id": op, "state": {"$in": ["committed", "same"]}})
        if step is None or step["what"] != "put":
            return None
        if step["state"] == "same" and step.get("open"):
            self._carry_through(step)
        is_new = step["state"] == "committed"
        return Commit(self._blob(step["id"] if is_new else step["same_as"]), is_new)

    def _commit(self, draft: Draft) -> Commit:
        state = self._key(draft.key) or {"_id": draft.key, **new_life()}
        try:
            # Nothing is decided here: what is refused anyway shall leave nothing behind.
            check_newest(draft, _newest_of(state))
            self._check_fences(draft)
        except (NotFoundError, ConflictError, AlreadyExistsError):
            # Perhaps because of this very put, whose reply was lost.
            if (done := self._outcome(draft.op)) is not None:
                return done
            raise
        self._check_parents(draft.parents)
        if draft.run is not None:
            self._put_run(draft.run)
        supply = self._supply(draft.parts)
        step = self._pending(draft, supply)
        if not self._begin(step):
            if (done := self._outcome(draft.op)) is not None:
                return done
            # Left pending by an attempt that failed here, or that failed to hear of its success.
            self._cancel_any(draft.op)
            raise Cancelled
        try:
            self._settle(draft.parts, supply)
            self._append(draft, step, state if state["step"] else None)
        except UnavailableError:
            raise  # nobody knows whether it was decided; a collector cancels it if it was not
        except BaseException:
            self._cancel(step)
            raise
        decided = self._tables.steps.one({"_id": draft.op})
        assert decided is not None
        self._carry_through(decided)
        if decided["state"] == "same":
            return Commit(self._blob(decided["same_as"]), is_new=False)
        # What its writer has just carried through needs no look at the key; no alias is on it.
        return Commit(self._blobs([decided], {})[0], is_new=True)

    def _begin(self, step: Document) -> bool:
        """Insert a pending step with the server's time; False if its op stands already."""
        return self._tables.steps.run(lambda found: _begin(found, step))

    def _cancel_any(self, op: str) -> None:
        step = self._tables.steps.one({"_id": op})
        if step is not None:
            self._cancel(step)

    def _pending(self, draft: Draft, supply: Supply) -> Document:
        marks = {held.key for held in (draft.reservation,) if held is not None}
        if draft.entry is not None:
            marks.add(draft.entry.key.digest)
        return {
            **pending(draft.op, draft.key, supply.references),
            "run": None if draft.run is None else run_id(draft.run),
            "by": str(draft.run or ""),
            "marks": sorted(marks),
            "pinned": any(part.generation for part in draft.parts),
            **version_document(draft, content_hash(draft)),
        }

    # the decision ---------------------------------------------------

    def _append(self, draft: Draft, step: Document, state: Document | None) -> None:
        """Take the next number of the key, or decide that nothing changed."""
        entry = self._mark_all(draft, step)
        if state is None or step["marks"]:  # key and fences must have been right at the same time
            state = self._key_made(draft.key)
        for _ in range(_TRIES):
            check_newest(draft, _newest_of(state))
            fields: Document
            if _is_changed(draft, state["newest"], step["content"]):
                fields = self._appended(draft, step, state)
            else:
                fields = {"state": "same", "same_as": state["newest"]["id"]}
            if self._decide(step, fields | ({"entry": entry} if entry else {})):
                return
            self._catch_up(state)
            state = self._key_made(draft.key)
        raise self._contended(draft.key)

    def _appended(self, draft: Draft, step: Document, state: Document) -> Document:
        number, newest = state["head"] + 1, state["newest"]
        new = {
            "id": step["id"],
            "version": number,
            "content": step["content"],
            "history": draft.history,
            "signer": draft.signature_key,
        }
        gives_up = not draft.history and newest is not None and not newest["history"]
        return {
            "state": "committed",
            "incarnation": state["incarnation"],
            "step": state["step"] + 1,
            "version": number,
            "prev": None if newest is None else newest["version"],
            "after": after(state, head=number, newest=new),
            "buries": [newest["id"]] if gives_up and not self._is_held(draft, state) else [],
            "cause": RELEASED,
            # Those of the first moment; the step's own `at` says when that was.
            "tag_history": [tag | {"at": None, "by": step["by"]} for tag in step["tags"]],
        }

    def _is_held(self, draft: Draft, state: Document) -> bool:
        """Say whether anything but history keeps the newest version.

        An alias does, and a host's storage key, and a cache entry that may still be served: entries
        of several calls can share one key, and none of them may turn into a miss because another
        was written.
        """
        blob_id = state["newest"]["id"]
        own = draft.entry.key.digest if draft.entry else ""
        now = rows.to_micros(self._now())
        return (
            any(alias["id"] == blob_id for alias in state["aliases"])
            or self._tables.bounds.one({"id": blob_id}) is not None
            or self._tables.slots.one(
                {
                    "_id": {"$ne": own},
                    "entry.id": blob_id,
                    "$or": [{"entry.expires_at": None}, {"entry.expires_at": {"$gt": now}}],
                }
            )
            is not None
        )

    def _check_fences(self, draft: Draft) -> None:
        if draft.reservation is not None:
            self._check_slot(draft.reservation.key, draft.reservation, None)
        if draft.entry is not None:
            self._check_slot(draft.entry.key.digest, draft.entry.reservation, draft.entry)

    def _mark_all(self, draft: Draft, step: Document) -> Document | None:
        """Mark the slots of lease and entry as this step's; returns the entry to be written."""
        entry = draft.entry
        if (held := draft.reservation) is not None:
            self._mark_lease(step, held)
        if entry is None:
            return None
        rev = self._mark_entry(step, entry)
        return {
            "slot": entry.key.digest,
            "rev": self._stamp(),
            "is_first": rev == 0,
            "is_reserved": entry.reservation is not None,
            "fields": entry_document(entry, run=step["run"]),
        }

    # carrying through what changed nothing --------------------------

    def _carry_through_same(self, step: Document) -> None:
        if "open" not in step:
            return
        standing, at = step["same_as"], made_at(step)
        if step["tags"]:
            tags = {item["name"]: rows.from_tag(item["value"]) for item in step["tags"]}
            self._put_tags(standing, tags, at, by=step["by"], op=step["_id"])
        for parent in step["parents"]:
            self._put_parent(standing, parent["id"], at)
        if step["run"]:
            self._put_use(step["run"], standing, "output", at)
        self._renew(step)
        if step["marks"]:
            self._fill(step, standing)
        if step["pinned"]:
            self._tables.pins.delete({"_id": step["_id"]})
        self._close(step)

    def _renew(self, step: Document) -> None:
        """Have the unchanged version use the bytes that this put wrote or has just verified."""
        version = self._tables.steps.one({"id": step["same_as"]}, {"payloads": 1})
        used = {} if version is None else {p["name"]: p["gen"] for p in version["payloads"]}
        for reference in step["payloads"]:
            name, new = reference["name"], reference["gen"]
            old = used.get(name, new)
            # Held before and after: who comes late finds it condemned, or the collector finds this.
            if old == new or not self._hold_ok(new):
                continue
            self._tables.steps.update(
                {"id": step["same_as"], "payloads": {"$elemMatch": {"name": name, "gen": old}}},
                {"$set": {"payloads.$.gen": new}},
            )
            if not self._hold_ok(new):
                self._tables.steps.update(
                    {"id": step["same_as"], "payloads": {"$elemMatch": {"name": name, "gen": new}}},
                    {"$set": {"payloads.$.gen": old}},
                )


def pending(op: str, key: str, references: Sequence[Document]) -> Document:
    """Return a put's step before it is decided: its number is its op."""
    return {
        "_id": op,
        "what": "put",
        "key": key,
        "incarnation": "",
        "step": op,
        "state": "pending",
        "attempt": new_id(),
        "ttl": _PENDING_TTL,
        "payloads": list(references),
        "open": True,
        "order": next_order(),
    }


def _begin(found: Any, step: Document) -> bool:
    fields = {name: value for name, value in step.items() if name != "_id"}
    done = found.update_one(
        {"_id": step["_id"]},
        {"$setOnInsert": fields, "$currentDate": {"begun": True}},
        upsert=True,
    )
    if done.upserted_id is None:  # or it was the first of two sendings
        standing = found.find_one({"_id": step["_id"]}, {"attempt": 1})
        return standing is not None and standing["attempt"] == step["attempt"]
    return True


def _is_changed(draft: Draft, newest: Document | None, content: bytes) -> bool:
    """Say whether a put makes a new version on top of this one.

    One whose signature nobody here believes could not be loaded: it gives way to one that can.
    """
    if newest is None or draft.new_version or bytes(newest["content"]) != content:
        return True
    return bool(draft.signers) and newest["signer"] not in draft.signers


def _newest_of(state: Document) -> int | None:
    return None if state["newest"] is None else int(state["newest"]["version"])
