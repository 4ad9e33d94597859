"""Reservations: time-bound, fenced rights to compute one cache key."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from flowblob.catalogs import refusals
from flowblob.catalogs.sql.engine import repeatable
from flowblob.catalogs.sql.entries import Entries
from flowblob.drafts import Acquired
from flowblob.errors import InvalidInputError
from flowblob.model import Reservation

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_MICROSECOND = timedelta(microseconds=1)

_STANDING = "SELECT owner, token, boot, expires, hold_until FROM reservation WHERE key = ?"

_TAKE = """INSERT INTO reservation (key, owner, token, entry_rev, boot, expires, hold_until)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET owner = excluded.owner,
    token = excluded.token, entry_rev = excluded.entry_rev, boot = excluded.boot,
    expires = excluded.expires, hold_until = excluded.hold_until"""

_LIVE_REV = """SELECT e.rev, NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = e.version)
    FROM entry e WHERE e.key = ?"""


class Reservations(Entries):
    """One row per cache key, never deleted, so that a token only grows."""

    def acquire(
        self, key: str, owner: str, *, ttl: timedelta, max_hold: timedelta, stale_rev: int = 0
    ) -> Acquired:
        if not owner or "\0" in owner:
            raise InvalidInputError(
                f"Invalid owner {owner!r} of a reservation", hint="Name who asks, without NUL"
            )
        while True:
            taken = self._write_relaxed(
                self._acquire, key, owner, ttl=ttl, max_hold=max_hold, stale_rev=stale_rev
            )
            if taken is not None:
                return taken
            found = self.entry(key)
            if found is not None:
                return Acquired(entry=found[0])
            # The entry was deleted between the two steps, so nothing is in the way any more.

    @repeatable
    def _acquire(
        self,
        connection: Connection,
        key: str,
        owner: str,
        *,
        ttl: timedelta,
        max_hold: timedelta,
        stale_rev: int,
    ) -> Acquired | None:
        self._serialize(connection, key)
        entry = connection.execute(_LIVE_REV, (key,)).fetchone()
        rev = 0 if entry is None else entry[0]
        if entry is not None and entry[1] and rev != stale_rev:
            return None
        boot, now = self._ticks(connection)
        row = connection.execute(_STANDING, (key,)).fetchone()
        token, hold_until = 1, now + max_hold // _MICROSECOND
        if row is not None:
            holder, token, its_boot, expires, its_hold_until = row
            if its_boot == boot and expires > now:
                if holder != owner:
                    return Acquired(holder=holder, remaining=timedelta(0, 0, expires - now))
                hold_until = its_hold_until  # asking again is a heartbeat, no new life
            else:
                token += 1
        expires = min(now + ttl // _MICROSECOND, hold_until)
        connection.execute(_TAKE, (key, owner, token, rev, boot, expires, hold_until))
        return Acquired(Reservation(key, owner, token, rev, ttl, timedelta(0, 0, expires - now)))

    def holder(self, key: str) -> tuple[str, timedelta] | None:
        return self._read(lambda connection: self._holder(connection, key))

    def _holder(self, connection: Connection, key: str) -> tuple[str, timedelta] | None:
        row = connection.execute(_STANDING, (key,)).fetchone()
        boot, now = self._ticks(connection)
        if row is None or row[2] != boot or row[3] <= now:
            return None
        return row[0], timedelta(0, 0, row[3] - now)

    def heartbeat(self, reservation: Reservation) -> Reservation:
        return self._write_relaxed(self._heartbeat, reservation)

    @repeatable
    def _heartbeat(self, connection: Connection, held: Reservation) -> Reservation:
        self._serialize(connection, held.key)
        boot, now = self._ticks(connection)
        row = connection.execute(_STANDING, (held.key,)).fetchone()
        if row is None or tuple(row[:3]) != (held.owner, held.token, boot):
            raise refusals.taken_over(held)
        expires = min(now + held.ttl // _MICROSECOND, row[4])
        if expires <= now:
            raise refusals.held_too_long(held)
        connection.execute("UPDATE reservation SET expires = ? WHERE key = ?", (expires, held.key))
        left = timedelta(0, 0, expires - now)
        return Reservation(
            held.key, held.owner, held.token, held.entry_rev, held.ttl, expires_in=left
        )

    def release(self, reservation: Reservation) -> bool:
        return self._write_relaxed(self._release_reservation, reservation)

    def _release_reservation(self, connection: Connection, held: Reservation) -> bool:
        self._serialize(connection, held.key)
        boot, now = self._ticks(connection)
        row = connection.execute(_STANDING, (held.key,)).fetchone()
        if row is None or tuple(row[:3]) != (held.owner, held.token, boot):
            return False
        connection.execute(
            "UPDATE reservation SET owner = '', expires = 0 WHERE key = ?", (held.key,)
        )
        return bool(row[3] > now)
