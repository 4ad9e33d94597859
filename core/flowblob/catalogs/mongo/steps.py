"""Every change of a key is one step: a document that is decided once, then carried through.

A key has a document of its own that says what it is now, and the number of the last step that was
carried through. The next step is decided by a unique index on (incarnation, number), and whoever
meets a decided step that is not carried through does the rest. So a process may die anywhere:
before the decision nothing has happened, after it everybody can finish.

`docs/design/0006-mongodb.md` has the order of the writes and the failure at each of them.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from flowblob.catalogs.mongo.documents import MICROSECOND, made_at
from flowblob.catalogs.mongo.engine import MongoEngine
from flowblob.checks import new_id
from flowblob.errors import CatalogUnavailableError
from flowblob.mongodb import Document, Taken

#: Why a version was dropped, as its tombstone says.
DROPPED, RELEASED, WITH_ITS_KEY = range(3)

#: How long an undecided step may stand in the way of others before they cancel it.
PATIENCE = 1.0
_POLL = 0.005
_TRIES = 10_000

#: What a step holds only until it is carried through.
_SCAFFOLD = dict.fromkeys(("open", "after", "buries", "restores", "entry", "marks", "pinned"), "")


class Cancelled(Exception):  # a step of a protocol, never seen by callers
    """Somebody cancelled this step before it was decided: begin it again."""


class Steps(MongoEngine):
    """Deciding steps and carrying them through."""

    def _key(self, key: str) -> Document | None:
        return self._tables.keys.one({"_id": key})

    def _key_made(self, key: str) -> Document:
        """Return the key's document, made if this is its first step."""
        found = self._key(key)
        if found is None:
            self._tables.keys.insert_absent({"_id": key, **new_life()})
            found = self._key(key)
            assert found is not None
        return found

    # deciding -------------------------------------------------------

    def _change(self, key: str, plan: Callable[[Document | None], Document | None]) -> Document:
        """Decide a step that nothing but the key's own state depends on, and carry it through.

        Args:
            key: The key.
            plan: Returns the step for the state it is given, None for no change, or refuses.
        """
        op = new_id()
        for _ in range(_TRIES):
            state = self._key(key)
            planned = plan(state)
            if planned is None or state is None:
                return {}
            step = {
                "_id": op,
                "id": op,
                "key": key,
                "incarnation": state["incarnation"],
                "step": state["step"] + 1,
                "state": "committed",
                "attempt": op,
                "at": self._now(),
                "payloads": [],
                "marks": [],
                "open": True,
                **planned,
            }
            try:
                self._tables.steps.insert(step)
            except Taken:
                if self._tables.steps.one({"_id": op}) is None:  # else it was this very call
                    self._catch_up(state)
                    continue
            self._carry_through(step)
            return step
        raise self._contended(key)

    def _decide(self, step: Document, fields: Document) -> bool:
        """Give a pending step its number; False if another step took that first.

        Raises:
            Cancelled: The step does not stand any more.
        """
        standing = {"_id": step["_id"], "state": "pending", "attempt": step["attempt"]}
        try:
            change: Document = {"$set": fields}
            if "at" not in fields:  # what comes from another store keeps its time
                change["$currentDate"] = {"at": True}
            if self._tables.steps.update(standing, change):
                return True
        except Taken:
            return False
        # Nothing matched: cancelled, or decided by the first of two sendings.
        found = self._tables.steps.one({"_id": step["_id"], "attempt": step["attempt"]})
        if found is None or found["state"] == "pending":
            raise Cancelled
        return True

    def _cancel(self, step: Document) -> bool:
        """Take a step back that is not decided; its marks go with it."""
        gone = self._tables.steps.delete(
            {"_id": step["_id"], "state": "pending", "attempt": step["attempt"]}
        )
        if gone:
            self._unmark(step)
        return gone

    def _unmark(self, step: Document) -> None:
        for slot in step["marks"]:
            self._tables.slots.update(
                {"_id": slot, "mark.op": step["_id"], "mark.attempt": step["attempt"]},
                {"$set": {"mark": None}},
            )

    def _resolve(self, slot: Document) -> None:
        """Clear the mark of another step from a slot: finish the step, or in the end cancel it."""
        mark = slot["mark"]
        until = time.monotonic() + PATIENCE
        while True:
            step = self._tables.steps.one({"_id": mark["op"], "attempt": mark["attempt"]})
            if step is None:  # it was cancelled, and will never be decided
                self._tables.slots.update(
                    {"_id": slot["_id"], "mark": mark}, {"$set": {"mark": None}}
                )
                return
            if step["state"] != "pending":
                self._carry_through(step)
                return
            if time.monotonic() > until:
                self._cancel(step)
            else:
                time.sleep(_POLL)
                standing = self._tables.slots.one({"_id": slot["_id"]}, {"mark": 1})
                if standing is None or standing["mark"] != mark:
                    return

    def _catch_up(self, state: Document) -> None:
        """Carry through the step that follows a key's state, if there is one."""
        following = {"incarnation": state["incarnation"], "step": state["step"] + 1}
        if (step := self._tables.steps.one(following)) is not None:
            self._carry_through(step)

    # carrying through -----------------------------------------------

    def _carry_through(self, step: Document) -> None:
        """Do all that follows from a decided step; may be done by many, and late.

        The key's document is changed last, so that its number says that all was done; only the end
        of a key shows there first, because that hides all its versions at once.
        """
        if step["state"] == "same":
            self._carry_through_same(step)
            return
        if step["what"] == "end":
            self._apply(step)
            self._bury_all(step)
        elif step["what"] == "restore":
            self._restore(step)
            self._apply(step)
        else:
            if step.get("entry") or step.get("marks"):
                self._fill(step, step["id"])
            if step.get("run") and "made" not in step:  # else its uses come by themselves
                self._put_use(step["run"], step["id"], "output", made_at(step))
            if step.get("buries"):
                self._bury(step)
            if step.get("pinned"):
                self._tables.pins.delete({"_id": step["_id"]})
            self._apply(step)
            if step["what"] == "put":
                return  # the collector takes the scaffold down: nobody needs to wait for that
        self._close(step)

    def _apply(self, step: Document) -> None:
        if "after" in step:
            self._tables.keys.update(
                {
                    "_id": step["key"],
                    "incarnation": step["incarnation"],
                    "step": step["step"] - 1,
                },
                {"$set": step["after"]},
            )

    def _fill(self, step: Document, blob_id: str) -> None:
        """Write the entry into its slot, and give the slots free that the step has marked."""
        entry = step.get("entry")
        for slot in step["marks"]:
            fields: Document = {"mark": None}
            if entry is not None and slot == entry["slot"]:
                fields |= _entry_fields(entry, blob_id, made_at(step))
            self._tables.slots.update(
                {"_id": slot, "mark.op": step["_id"], "mark.attempt": step["attempt"]},
                {"$set": fields},
            )

    def _bury(self, step: Document) -> None:
        # `restored`: somebody who was paused here must not bury what came back meanwhile.
        self._tables.steps.update_all(
            {"id": {"$in": step["buries"]}, "dead": None, "restored": {"$lt": step["step"]}},
            {"$set": {"dead": tombstone(step)}},
        )

    def _bury_all(self, step: Document) -> None:
        self._tables.steps.update_all(
            {
                "incarnation": step["incarnation"],
                "version": {"$gte": 0},
                "dead": None,
                "restored": {"$lt": step["step"]},
            },
            {"$set": {"dead": tombstone(step)}},
        )

    def _restore(self, step: Document) -> None:
        if "restores" in step:
            self._tables.steps.update_all(
                {"id": {"$in": step["restores"]}, "dead.step": {"$lte": step["restored_at"]}},
                {"$set": {"dead": None, "restored": step["restored_at"]}},
            )
            self._tables.steps.update_all(
                {
                    "what": "end",
                    "incarnation": step["life"],
                    "step": {"$lte": step["restored_at"]},
                },
                {"$set": {"void": True}},
            )

    def _close(self, step: Document) -> None:
        self._tables.steps.update(
            {"_id": step["_id"]}, {"$set": {"payloads": []}, "$unset": _SCAFFOLD}
        )

    @abstractmethod
    def _carry_through_same(self, step: Document) -> None:
        """Do what follows from a put that found nothing changed."""

    @abstractmethod
    def _put_use(self, run: str, blob_id: str, role: str, at: int) -> bool:
        """Link a run to a version; says whether that is new."""

    def _contended(self, what: str) -> CatalogUnavailableError:
        return CatalogUnavailableError(
            f"Others changed {what!r} {_TRIES:,} times in a row", hint="Try again"
        )


def new_life() -> Document:
    """Return the state of a key before its first step."""
    return {
        "incarnation": new_id(),
        "step": 0,
        "head": -1,
        "newest": None,
        "aliases": [],
        "born": None,
    }


def after(state: Document, **changes: Any) -> Document:
    """Return the state of a key after its next step."""
    kept = {name: state[name] for name in ("incarnation", "head", "newest", "aliases", "born")}
    return kept | {"step": state["step"] + 1} | changes


def tombstone(step: Document) -> Document:
    """Return the tombstone of what a step buries."""
    return {
        "at": step["at"],
        "made": step.get("made"),
        "by": step.get("by", ""),
        "cause": step.get("cause", RELEASED),
        "op": step["_id"],
        "step": step["step"],
    }


def _entry_fields(entry: Document, blob_id: str, now: int) -> Document:
    """Return what a step writes into the slot of its entry; what was counted there stays."""
    fields = {**entry["fields"], "id": blob_id, "updated_at": now}
    kept = {"created_at": now, "hits": 0, "last_hit_at": None, "pinned": False}
    written: Document = {"rev": entry["rev"]}
    if entry["is_first"]:
        written["entry"] = kept | fields
    else:
        written |= {f"entry.{name}": value for name, value in fields.items()}
    if entry["is_reserved"]:
        written["owner"] = ""  # the reservation has done what it was for
    return written


__all__ = ["DROPPED", "MICROSECOND", "RELEASED", "WITH_ITS_KEY", "Cancelled", "Steps"]
