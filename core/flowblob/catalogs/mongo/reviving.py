"""Taking tombstones away again, as long as the collector has not been there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowblob.catalogs import refusals
from flowblob.catalogs.mongo.deleting import Deleting
from flowblob.catalogs.mongo.placing import Placing
from flowblob.catalogs.mongo.reading import HIDDEN, NUMBERED
from flowblob.catalogs.mongo.steps import DROPPED, WITH_ITS_KEY, Cancelled, after
from flowblob.checks import new_id
from flowblob.model import Blob, Ref
from flowblob.mongodb import Document

_TRIES = 100
_PENDING_TTL = 120_000


@dataclass(frozen=True, slots=True)
class _Life:
    """One life of a key, of which something is to come back.

    Attributes:
        incarnation: Its uuid.
        end: The step that ended it; None where it is the present one.
    """

    incarnation: str
    end: Document | None


class Reviving(Deleting, Placing):
    """A version comes back as it was: the same id, number and payloads."""

    def undelete(self, ref: Ref, *, by: str = "") -> list[Blob]:
        refusals.check_revivable(ref)
        for _ in range(_TRIES):
            try:
                back = self._undelete(ref, by)
            except Cancelled:
                continue
            if back is not None:
                return back
        raise self._contended(str(ref))

    def _undelete(self, ref: Ref, by: str) -> list[Blob] | None:
        """Bring back what the reference means; None if the key was changed meanwhile."""
        key = ref.key or self._key_of(ref.id)
        state = self._key(key)
        if state is None:
            raise refusals.not_dropped(ref)
        life, found = self._dropped(ref, state)
        step = self._restoring(key, found, by)
        self._tables.steps.insert_absent(step)
        try:
            back = [version for version in found if self._hold_all(version)]
            if not back:
                raise refusals.collected(ref)
            if not self._decide(step, self._return(state, life, back)):
                self._cancel(step)
                self._catch_up(state)
                return None
        except BaseException:
            self._cancel(step)
            raise
        decided = self._tables.steps.one({"_id": step["_id"]})
        assert decided is not None
        self._carry_through(decided)
        return [self._blob(version["id"]) for version in back]

    def _restoring(self, key: str, found: list[Document], by: str) -> Document:
        """Return the step that is to bring some dropped versions of a key back."""
        op = new_id()
        return {
            "_id": op,
            "id": op,
            "what": "restore",
            "key": key,
            "incarnation": "",
            "step": op,
            "state": "pending",
            "attempt": op,
            "at": self._now(),
            "begun": self._now(),
            "ttl": _PENDING_TTL,
            "by": by,
            "marks": [],
            "open": True,
            # Seen by a collector before the payloads are asked for, as those of a put are.
            "payloads": [used for version in found for used in version["payloads"]],
        }

    def _key_of(self, blob_id: str) -> str:
        found = self._tables.steps.one({"id": blob_id, **NUMBERED}, {"key": 1})
        return "" if found is None else str(found["key"])

    def _hold_all(self, version: Document) -> bool:
        """Keep the payloads of a version from the collector; says whether all are still there."""
        has_main = bool(version["digest"]) and not version["external"]
        if len(version["payloads"]) != version["parts"] + has_main:
            return False
        return all(
            self._tables.payloads.update(
                {"_id": used["gen"], "state": {"$ne": "condemned"}},
                {"$set": {"rev": self._stamp()}, "$currentDate": {"changed_at": True}},
            )
            for used in version["payloads"]
        )

    def _dropped(self, ref: Ref, state: Document) -> tuple[_Life, list[Document]]:
        """Return the life in which what the reference means was dropped, and the versions."""
        is_standing = bool(state["step"])
        lives = [_Life(state["incarnation"], None)] if is_standing else []
        if (end := self._end_of(ref, state)) is not None:
            lives.append(_Life(end["incarnation"], end))
        for life in lives:
            if not (found := self._dead(ref, life, state)):
                continue
            if is_standing and life.end is not None:
                raise refusals.reborn(state["_id"])
            return life, found
        raise refusals.not_dropped(ref)

    def _end_of(self, ref: Ref, state: Document) -> Document | None:
        where: Document = {
            "key": state["_id"],
            "what": "end",
            "void": {"$ne": True},
            "incarnation": {"$ne": state["incarnation"]},
        }
        if ref.id:
            version = self._tables.steps.one({"id": ref.id}, {"incarnation": 1})
            where["incarnation"]["$eq"] = version and version["incarnation"]
        return self._tables.steps.one(where, sort=[("at", -1), ("step", -1)])

    def _dead(self, ref: Ref, life: _Life, state: Document) -> list[Document]:
        """Return the dropped versions of one life that a reference means, newest first."""
        where: Document = {"incarnation": life.incarnation, **NUMBERED, "dead": {"$ne": None}}
        if ref.id:
            where["id"] = ref.id
        elif ref.version is not None:
            where["version"] = ref.version
        elif life.end is None and state["newest"] is not None:
            return []  # the key lives: as a whole it was not dropped in this life
        else:
            where["dead.cause"] = DROPPED if life.end is None else WITH_ITS_KEY
            last = self._tables.steps.one(where, {"dead": 1}, sort=[("dead.step", -1)])
            if last is None:
                return []
            where["dead.op"] = last["dead"]["op"]
        return self._tables.steps.many(where, HIDDEN, sort=[("version", -1)])

    def _return(self, state: Document, life: _Life, back: Sequence[Document]) -> Document:
        """Return the fields that decide the step: what the key will be."""
        ids = [version["id"] for version in back]
        newest = self._newest_of(life.incarnation, also=ids)
        fields: Document = {
            "state": "committed",
            "incarnation": state["incarnation"],
            "step": state["step"] + 1,
            "restores": ids,
            "life": life.incarnation,
        }
        if life.end is None:
            return fields | {
                "restored_at": state["step"] + 1,
                "after": after(state, newest=newest),
            }
        # A step of the empty life that stands now, so that no put can begin that meanwhile; the
        # old life goes on with the number after its end.
        aliases = [alias for alias in life.end["aliases"] if alias["id"] in ids]
        return fields | {
            "restored_at": life.end["step"],
            "moves": [{"name": a["name"], "version": a["version"]} for a in aliases],
            "after": {
                "incarnation": life.incarnation,
                "step": life.end["step"],
                "head": life.end["head"],
                "newest": newest,
                "aliases": aliases,
                "born": life.end["born"],
            },
        }
