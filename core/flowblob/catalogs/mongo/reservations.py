"""Reservations: time-bound, fenced rights to compute one cache key.

When a reservation was given and last extended is kept as the server's dates, beside the spans that
were asked for. Whether it is over, the server says as well, so no client's clock takes part.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from flowblob.catalogs import refusals
from flowblob.catalogs.mongo.documents import MILLISECOND, to_millis
from flowblob.catalogs.mongo.entries import Entries
from flowblob.drafts import Acquired
from flowblob.errors import InvalidInputError
from flowblob.model import Reservation
from flowblob.mongodb import Document

_TRIES = 10_000

_TTL_END = {"$add": ["$beat", "$ttl"]}
_HOLD_END = {"$add": ["$since", "$hold"]}
_BELOW_HOLD = {"$expr": {"$gt": [_HOLD_END, "$$NOW"]}}
_HELD = {"$expr": {"$and": [{"$gt": [_TTL_END, "$$NOW"]}, {"$gt": [_HOLD_END, "$$NOW"]}]}}
_OVER = {"$expr": {"$or": [{"$lte": [_TTL_END, "$$NOW"]}, {"$lte": [_HOLD_END, "$$NOW"]}]}}


class Reservations(Entries):
    """In the slot of each cache key, which is never removed, so that a token only grows."""

    def acquire(
        self, key: str, owner: str, *, ttl: timedelta, max_hold: timedelta, stale_rev: int = 0
    ) -> Acquired:
        if not owner:
            raise InvalidInputError("A reservation needs an owner")
        for _ in range(_TRIES):
            slot = self._slot(key)
            if slot["rev"] and slot["rev"] != stale_rev:
                found = self.entry(key)
                if found is not None:
                    return Acquired(entry=found[0])
            if token := self._take(slot, owner, ttl, max_hold):
                return Acquired(
                    self._timed(Reservation(key, owner, token, slot["rev"], ttl, timedelta()))
                )
            if slot["owner"] not in ("", owner):
                remaining = _left(slot, self._now())
                if remaining > timedelta():
                    return Acquired(holder=slot["owner"], remaining=remaining)
        raise self._contended(key)

    def _take(self, slot: Document, owner: str, ttl: timedelta, max_hold: timedelta) -> int:
        """Extend one's own reservation, or take one that is free; returns the token, 0 if neither.

        Either succeeds only if the slot still is as it was read.
        """
        same = {name: slot[name] for name in ("_id", "rev", "token", "owner", "mark")}
        fields: Document = {"ttl": to_millis(ttl), "entry_rev": slot["rev"]}
        # Asking again is a heartbeat, no new life.
        if slot["owner"] == owner and self._tables.slots.update(
            {**same, **_HELD}, {"$set": fields, "$currentDate": {"beat": True}}
        ):
            return int(slot["token"])
        new = {"token": slot["token"] + 1, "owner": owner, "hold": to_millis(max_hold)}
        taken = self._tables.slots.update(
            {**same, **(_OVER if slot["owner"] else {})},
            {"$set": fields | new, "$currentDate": {"beat": True, "since": True}},
        )
        return int(new["token"]) if taken else 0

    def _timed(self, held: Reservation) -> Reservation:
        """Return a reservation with the time it had left when it was last extended."""
        slot = self._tables.slots.one({"_id": held.key, "token": held.token}, {"entry": 0})
        left = timedelta() if slot is None else _left(slot, slot["beat"])
        return replace(held, expires_in=left)

    def heartbeat(self, reservation: Reservation) -> Reservation:
        held = reservation
        mine = {"_id": held.key, "owner": held.owner, "token": held.token}
        if not self._tables.slots.update(
            {**mine, **_BELOW_HOLD},
            {"$set": {"ttl": to_millis(held.ttl)}, "$currentDate": {"beat": True}},
        ):
            if self._tables.slots.one(mine, {"_id": 1}) is None:
                raise refusals.taken_over(held)
            raise refusals.held_too_long(held)
        return self._timed(held)

    def release(self, reservation: Reservation) -> bool:
        mine = {
            "_id": reservation.key,
            "owner": reservation.owner,
            "token": reservation.token,
        }
        if self._tables.slots.update_once({**mine, **_HELD}, {"$set": {"owner": ""}}):
            return True
        self._tables.slots.update(mine, {"$set": {"owner": ""}})
        return False

    def holder(self, key: str) -> tuple[str, timedelta] | None:
        slot = self._tables.slots.one({"_id": key}, {"entry": 0})
        if slot is None or not slot["owner"]:
            return None
        remaining = _left(slot, self._now())
        return (slot["owner"], remaining) if remaining > timedelta() else None


def _left(slot: Document, now: datetime) -> timedelta:
    """Return how long a reservation still lasts at a moment of the server's clock."""
    end: datetime = min(
        slot["beat"] + slot["ttl"] * MILLISECOND, slot["since"] + slot["hold"] * MILLISECOND
    )
    return end - now
