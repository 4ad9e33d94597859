"""The physical copies of some bytes: who uses them, and putting one in another's place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import SqlEngine
from flowblob.drafts import Payload
from flowblob.model import Blob

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_COPIES = f"""SELECT '', {columns.PAYLOAD}, d.data FROM payload p
    LEFT JOIN inline_payload d ON d.payload = p.seq WHERE p.digest = ? ORDER BY p.seq"""

#: The row that is touched is the row that a collector would have to change.
_KEEP = """UPDATE payload SET changed_at = ? WHERE generation = ? AND state = 'ok'
    AND digest = (SELECT b.digest FROM payload b WHERE b.generation = ?)"""

_MOVE = """UPDATE version_payload SET payload = (SELECT seq FROM payload WHERE generation = ?)
    WHERE payload = (SELECT seq FROM payload WHERE generation = ?)"""

_GIVE_UP = """UPDATE payload SET state = 'damaged', changed_at = ?
    WHERE generation = ? AND state IN ('ok', 'suspect', 'damaged')"""


class Healing(SqlEngine):
    """What repair needs to know and to change."""

    def copies(self, digest: str) -> list[Payload]:
        found = (rows.to_payload(row, 0, row[-1]) for row in self._query(_COPIES, (digest,)))
        return [payload for payload in found if payload is not None]

    def users(self, generation: str, *, limit: int = 100) -> list[Blob]:
        found = self._query(
            f"""SELECT {columns.blob_columns(self.dialect)} FROM version v {columns.BLOB_JOINS}
            WHERE {columns.LIVE} AND v.seq IN (SELECT m.version FROM version_payload m
            JOIN payload p ON p.seq = m.payload WHERE p.generation = ?)
            ORDER BY v.seq DESC LIMIT ?""",
            (generation, limit),
        )
        return [rows.to_blob(row) for row in found]

    def repoint(self, generation: str, to: str) -> int:
        return self._write(self._repoint, generation, to)

    def _repoint(self, connection: Connection, generation: str, to: str) -> int:
        now = self._now(connection)
        kept = connection.execute(_KEEP, (now, to, generation))
        if generation == to or not kept.rowcount:
            raise refusals.no_copy(generation, to)
        moved = connection.execute(_MOVE, (to, generation)).rowcount
        connection.execute(_GIVE_UP, (now, generation))
        return moved
