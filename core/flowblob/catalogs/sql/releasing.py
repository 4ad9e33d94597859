"""Dropping versions: a tombstone each, and their payloads given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowblob.catalogs.sql.engine import SqlEngine

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_RELEASE = """INSERT INTO tombstone (version, at, by, released)
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
            self._bury(connection, version, now, by="", released=True)

    def _bury(
        self, connection: Connection, version: int, now: int, *, by: str, released: bool = False
    ) -> None:
        connection.execute(_RELEASE, (version, now, by, int(released)))
        # The grace of the collector counts from here: a reader may just have found the payload.
        connection.execute(
            """UPDATE payload SET changed_at = ?
            WHERE seq IN (SELECT payload FROM version_payload WHERE version = ?)""",
            (now, version),
        )
        connection.execute("DELETE FROM version_payload WHERE version = ?", (version,))
