"""Deleting versions and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowblob.catalogs import rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.names import note_move
from flowblob.catalogs.sql.reading import Reading, find_clause
from flowblob.catalogs.sql.releasing import Releasing
from flowblob.errors import ConflictError, NotFoundError
from flowblob.model import Blob, Ref

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_NEWEST = """UPDATE incarnation SET newest = (SELECT max(v.seq) FROM version v
    WHERE v.incarnation = incarnation.seq
    AND NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = v.seq)) WHERE seq = ?"""


class Deleting(Reading, Releasing):
    """A dropped version stays as a record with a tombstone; its number is never given again."""

    def delete(self, ref: Ref, *, by: str = "") -> list[Blob]:
        return self._write(self._delete, ref, by)

    def _delete(self, connection: Connection, ref: Ref, by: str) -> list[Blob]:
        self._serialize(connection, ref.key)
        now = self._now(connection)
        if ref.is_bare:
            return self._delete_key(connection, ref.key, now, by)
        joins, where, parameters = find_clause(ref)
        row = connection.execute(
            f"SELECT v.seq, v.incarnation FROM {joins} {where}", parameters
        ).fetchone()
        if row is None:
            raise NotFoundError(f"{ref} does not exist", hint="It may have been deleted before")
        seq, incarnation = row
        dropped = self._blob(connection, seq)
        if dropped.aliases:
            raise ConflictError(
                f"{dropped.ref} is what {', '.join(dropped.aliases)} points at",
                hint="Move or remove the alias first",
            )
        self._bury(connection, seq, now, by=by)
        connection.execute(_NEWEST, (incarnation,))
        return [dropped]

    def _delete_key(self, connection: Connection, key: str, now: int, by: str) -> list[Blob]:
        row = connection.execute(
            "SELECT seq FROM incarnation WHERE key = ? AND ended_at IS NULL", (key,)
        ).fetchone()
        if row is None:
            raise NotFoundError(f"{key!r} does not exist", hint="It may have been deleted before")
        found = connection.execute(
            f"""SELECT {columns.blob_columns(self.dialect)}, v.seq
            FROM version v {columns.BLOB_JOINS}
            WHERE v.incarnation = ? AND {columns.LIVE} ORDER BY v.version DESC""",
            (row[0],),
        ).fetchall()
        for version in found:
            self._bury(connection, version[-1], now, by=by)
        aliases = connection.execute(
            "SELECT name FROM alias WHERE incarnation = ?", (row[0],)
        ).fetchall()
        for (name,) in aliases:
            note_move(connection, row[0], name, None, at=now, by=by)
        connection.execute("DELETE FROM alias WHERE incarnation = ?", (row[0],))
        connection.execute(
            "UPDATE incarnation SET ended_at = ?, newest = NULL WHERE seq = ?", (now, row[0])
        )
        return [rows.to_blob(version) for version in found]
