"""Marks on slots: how a put makes sure of a reservation and an entry until it is decided.

A mark names the step that must be decided before the slot may change. Whoever meets one finishes
the step or, if that stays undecided for too long, cancels it: then the put will find so.
"""

from __future__ import annotations

from datetime import timedelta

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.mongo.documents import MICROSECOND
from flowblob.catalogs.mongo.reading import Reading
from flowblob.drafts import EntryDraft
from flowblob.model import Reservation
from flowblob.mongodb import Document

_TRIES = 10_000


class Fences(Reading):
    """Slots: the entry and the reservation of one cache key, in one document."""

    def _slot(self, key: str) -> Document:
        """Return a slot without a mark, made if it is absent."""
        while True:
            found = self._tables.slots.one({"_id": key}, LOOKED_AT)
            if found is None:
                self._tables.slots.insert_absent({"_id": key, **EMPTY})
            elif found["mark"] is not None:
                self._resolve(found)
            else:
                return found

    def _check_slot(self, key: str, held: Reservation | None, draft: EntryDraft | None) -> None:
        """Refuse what a slot refuses now; what it will say at the commit, its mark will tell."""
        slot = self._tables.slots.one({"_id": key}, LOOKED_AT) or EMPTY
        if slot["mark"] is not None:
            return
        if held is not None:
            _check_lease(slot, held)
        if draft is not None:
            self._check_entry(slot, draft)

    def _mark_lease(self, step: Document, held: Reservation) -> None:
        """Mark the slot of a lease that must still be held.

        Raises:
            ReservationLostError: It is not.
        """
        self._mark(step, held.key, held, None)

    def _mark_entry(self, step: Document, draft: EntryDraft) -> int:
        """Mark the slot of an entry that is to be written; returns its `rev` until then.

        Raises:
            ReservationLostError: The reservation is lost, or somebody wrote the entry since.
            AlreadyExistsError: It stands and must not be overwritten.
        """
        return self._mark(step, draft.key.digest, draft.reservation, draft)

    def _mark(
        self, step: Document, key: str, held: Reservation | None, draft: EntryDraft | None
    ) -> int:
        mine = {"op": step["_id"], "attempt": step["attempt"]}
        for _ in range(_TRIES):
            slot = self._tables.slots.one({"_id": key}, LOOKED_AT)
            is_mine = slot is not None and slot["mark"] == mine
            if slot is None or not is_mine:
                slot = self._slot(key)
            if held is not None:
                _check_lease(slot, held)
            if draft is not None:
                self._check_entry(slot, draft)
            if is_mine:
                return int(slot["rev"])
            standing = {name: slot[name] for name in ("_id", "rev", "token", "owner", "mark")}
            if self._tables.slots.update(standing, {"$set": {"mark": mine}}):
                return int(slot["rev"])
        raise self._contended(key)

    def _check_entry(self, slot: Document, draft: EntryDraft) -> None:
        held, key = draft.reservation, draft.key.digest
        if held is not None and slot["rev"] != held.entry_rev:
            raise refusals.written_since(key)
        if not draft.overwrite and slot["rev"] and self._is_servable(slot["entry"], draft.max_age):
            raise refusals.entry_stands(key)

    def _is_servable(self, entry: Document, max_age: timedelta | None) -> bool:
        now = rows.to_micros(self._now())
        expires = entry["expires_at"]
        if expires is not None and expires <= now:
            return False
        if max_age is not None and entry["updated_at"] <= now - max_age // MICROSECOND:
            return False
        return self._is_live(entry["id"])


def _check_lease(slot: Document, held: Reservation) -> None:
    if (slot["owner"], slot["token"]) != (held.owner, held.token):
        raise refusals.taken_over(held)


#: What of a slot nobody reads who decides by it.
LOOKED_AT = {"entry.ingredients": 0, "ops": 0}

#: A slot before anything happened to it.
EMPTY = {"rev": 0, "token": 0, "owner": "", "mark": None}
