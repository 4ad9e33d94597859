"""Payload rows before the commit: placing, pinning, marking (TXN-A)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import SqlEngine, repeatable
from flowblob.checks import new_id
from flowblob.drafts import Part, Payload, Spooled

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_MICROSECOND = timedelta(microseconds=1)

# An inline copy is none for a put that writes to the storage: nobody could verify it here.
_HEALTHY = f"""SELECT p.seq, '', {columns.PAYLOAD} FROM payload p
    WHERE p.digest = ? AND p.state = 'ok' AND p.inline = 0 ORDER BY p.seq LIMIT 1"""

#: A generation that this put has pinned before, in an attempt whose reply or bytes were lost.
_OWN = f"""SELECT p.seq, '', {columns.PAYLOAD} FROM pin n JOIN payload p ON p.seq = n.payload
    WHERE n.op = ? AND p.digest = ? AND p.state = 'uploading' LIMIT 1"""

_INSERT = """INSERT INTO payload (generation, digest, size, checksum, state, inline, stored_size,
    created_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_PIN = """INSERT INTO pin (op, payload, boot, expires) VALUES (?, ?, ?, ?)
    ON CONFLICT (op, payload) DO UPDATE SET boot = excluded.boot, expires = excluded.expires"""


class Placing(SqlEngine):
    """The part of the put protocol that precedes the commit."""

    def place(
        self, op: str, parts: Sequence[Spooled], *, ttl: timedelta, suspects: Iterable[str] = ()
    ) -> list[tuple[Payload, bool]]:
        return self._write(self._place, op, parts, ttl, tuple(suspects))

    @repeatable
    def _place(
        self,
        connection: Connection,
        op: str,
        parts: Sequence[Spooled],
        ttl: timedelta,
        suspects: Sequence[str],
    ) -> list[tuple[Payload, bool]]:
        now = self._now(connection)
        boot, ticks = self._ticks(connection)
        for generation in suspects:
            self._mark(connection, generation, "suspect", now)
        placed: dict[str, Payload] = {}
        answers = []
        for part in parts:
            must_write = False
            if part.digest not in placed:
                seq, payload, must_write = self._place_one(connection, op, part, now)
                connection.execute(_PIN, (op, seq, boot, ticks + ttl // _MICROSECOND))
                placed[part.digest] = payload
            answers.append((placed[part.digest], must_write))
        return answers

    def _place_one(
        self, connection: Connection, op: str, part: Spooled, now: int
    ) -> tuple[int, Payload, bool]:
        for sql, parameters, must_write in (
            (_HEALTHY, (part.digest,), False),
            (_OWN, (op, part.digest), True),
        ):
            # Held until the pin stands: a collector could condemn and forget it before.
            row = connection.execute(f"{sql} {self.dialect.share}", parameters).fetchone()
            if row is not None:
                payload = rows.to_payload(row, 1)
                assert payload is not None
                return row[0], payload, must_write
        seq, generation = self._insert_payload(connection, part, state="uploading", now=now)
        payload = Payload(
            "", part.digest, part.size, part.checksum, generation, "uploading",
            stored_size=part.size,
        )  # fmt: skip
        return seq, payload, True

    def renew(self, op: str, ttl: timedelta) -> None:
        self._write_relaxed(self._renew, op, ttl)

    @repeatable
    def _renew(self, connection: Connection, op: str, ttl: timedelta) -> None:
        boot, ticks = self._ticks(connection)
        connection.execute(
            "UPDATE pin SET boot = ?, expires = ? WHERE op = ?",
            (boot, ticks + ttl // _MICROSECOND, op),
        )

    def unpin(self, op: str) -> None:
        self._write_relaxed(_unpin, op)

    def mark(self, generation: str, state: str) -> None:
        refusals.check_mark(state)
        self._write(self._mark_now, generation, state)

    def _mark_now(self, connection: Connection, generation: str, state: str) -> None:
        self._mark(connection, generation, state, self._now(connection))

    def _mark(self, connection: Connection, generation: str, state: str, now: int) -> None:
        connection.execute(
            """UPDATE payload SET state = ?, changed_at = ? WHERE generation = ? AND state <> ?
            AND state IN ('ok', 'suspect', 'damaged')""",
            (state, now, generation, state),
        )

    def _insert_payload(
        self,
        connection: Connection,
        part: Spooled | Part,
        *,
        state: str,
        now: int,
        data: bytes | None = None,
    ) -> tuple[int, str]:
        """Insert a fresh generation, with its bytes if they are inline: (row number, uuid)."""
        generation = new_id()
        inline = int(data is not None)
        stored = 0 if inline else part.size
        seq = self._insert(
            connection,
            _INSERT,
            (generation, part.digest, part.size, part.checksum, state, inline, stored, now, now),
        )
        if inline:
            connection.execute(
                "INSERT INTO inline_payload (payload, data) VALUES (?, ?)", (seq, data)
            )
        return seq, generation


@repeatable
def _unpin(connection: Connection, op: str) -> None:
    connection.execute("DELETE FROM pin WHERE op = ?", (op,))
