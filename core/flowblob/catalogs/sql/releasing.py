"""Dropping versions: a tombstone each; their payloads stay theirs until the collector comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowblob.catalogs.sql.engine import SqlEngine

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

#: Why a version was dropped, as its tombstone says.
DROPPED, RELEASED, WITH_ITS_KEY = range(3)

_BURY = """INSERT INTO tombstone (version, at, by, cause)
    VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"""


class Releasing(SqlEngine):
    """Ends of versions."""

    def _release(self, connection: Connection, version: int, now: int) -> None:
        """Give up a version that was put with history=False and that nothing holds.

        An alias holds it, and a host's storage key, and a cache entry that may still be served:
        entries of several calls can share one key, and none of them may turn into a miss because
        another was written.
        """
        held = connection.execute(
            """SELECT 1 FROM alias WHERE version = ?
            UNION ALL SELECT 1 FROM bound WHERE version = ?
            UNION ALL SELECT 1 FROM entry WHERE version = ?
            AND (expires_at IS NULL OR expires_at > ?) LIMIT 1""",
            (version, version, version, now),
        ).fetchone()
        if held is None:
            self._bury(connection, version, now, cause=RELEASED)

    def _bury(
        self, connection: Connection, version: int, now: int, *, cause: int, by: str = ""
    ) -> None:
        """Set the tombstone; the grace of the collector counts from it."""
        connection.execute(_BURY, (version, now, by, cause))
