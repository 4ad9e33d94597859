"""Deleting versions and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.names import note_move
from flowblob.catalogs.sql.reading import Reading, find_clause
from flowblob.catalogs.sql.releasing import DROPPED, WITH_ITS_KEY, Releasing
from flowblob.model import Blob, Ref

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_NEWEST = f"""UPDATE incarnation SET newest = (SELECT max(v.seq) FROM version v
    WHERE v.incarnation = incarnation.seq AND {columns.LIVE}) WHERE seq = ?"""

_ONE = f"""SELECT v.seq, v.incarnation FROM version v WHERE v.id = ? AND {columns.LIVE}
    AND NOT EXISTS (SELECT 1 FROM alias a WHERE a.version = v.seq)
    AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.version = v.seq AND e.pinned <> 0)"""


class Deleting(Reading, Releasing):
    """A dropped version stays as a record with a tombstone; its number is never given again."""

    def delete(self, ref: Ref, *, by: str = "") -> list[Blob]:
        return self._write(self._delete, ref, by)

    def _delete(self, connection: Connection, ref: Ref, by: str) -> list[Blob]:
        ref, key = self._key_to_lock(connection, ref)
        self._serialize(connection, key)
        now = self._now(connection)
        if ref.is_bare:
            return self._delete_key(connection, ref.key, now, by)
        joins, where, parameters = find_clause(ref)
        row = connection.execute(
            f"SELECT v.seq, v.incarnation FROM {joins} {where}", parameters
        ).fetchone()
        if row is None:
            raise refusals.absent(str(ref))
        seq, incarnation = row
        dropped = self._blob(connection, seq)
        if dropped.aliases:
            raise refusals.pointed_at(dropped.ref, dropped.aliases)
        self._bury(connection, seq, now, cause=DROPPED, by=by)
        self._find_newest(connection, incarnation)
        return [dropped]

    def _key_to_lock(self, connection: Connection, ref: Ref) -> tuple[Ref, str]:
        """Return the key to queue for, and the reference; a digest alone is settled first."""
        if ref.key:
            return ref, ref.key
        joins, where, parameters = find_clause(ref)
        row = connection.execute(f"SELECT v.id, i.key FROM {joins} {where}", parameters).fetchone()
        return (ref, "") if row is None else (Ref(id=row[0]), row[1])

    def _delete_key(self, connection: Connection, key: str, now: int, by: str) -> list[Blob]:
        row = connection.execute(
            "SELECT seq FROM incarnation WHERE key = ? AND ended_at IS NULL", (key,)
        ).fetchone()
        if row is None:
            raise refusals.absent(repr(key))
        found = connection.execute(
            f"""SELECT {columns.blob_columns(self.dialect)}, v.seq
            FROM version v {columns.BLOB_JOINS}
            WHERE v.incarnation = ? AND {columns.LIVE} ORDER BY v.version DESC""",
            (row[0],),
        ).fetchall()
        if not found:
            raise refusals.absent(repr(key))  # and its numbers go on
        for version in found:
            self._bury(connection, version[-1], now, cause=WITH_ITS_KEY, by=by)
        # The aliases stay where they are, unseen, for the case that the key is brought back.
        aliases = connection.execute(
            "SELECT name FROM alias WHERE incarnation = ?", (row[0],)
        ).fetchall()
        for (name,) in aliases:
            note_move(connection, row[0], name, None, at=now, by=by)
        connection.execute(
            "UPDATE incarnation SET ended_at = ?, newest = NULL WHERE seq = ?", (now, row[0])
        )
        return [rows.to_blob(version) for version in found]

    def drop(self, blob_ids: Sequence[str], *, by: str = "") -> list[Blob]:
        return self._write(self._drop, blob_ids, by)

    def _drop(self, connection: Connection, blob_ids: Sequence[str], by: str) -> list[Blob]:
        self._serialize(connection, *self._keys_of(connection, blob_ids))
        now = self._now(connection)
        outputs = _pinned_outputs(connection)
        dropped, incarnations = [], set()
        for blob_id in blob_ids:
            row = connection.execute(_ONE, (blob_id,)).fetchone()
            if row is None or blob_id in outputs:
                continue
            dropped.append(self._blob(connection, row[0]))
            self._bury(connection, row[0], now, cause=DROPPED, by=by)
            incarnations.add(row[1])
        for incarnation in sorted(incarnations):
            self._find_newest(connection, incarnation)
        return dropped

    def _find_newest(self, connection: Connection, incarnation: int) -> None:
        connection.execute(_NEWEST, (incarnation,))


def _pinned_outputs(connection: Connection) -> set[str]:
    found = connection.execute(
        "SELECT outputs FROM entry WHERE pinned <> 0 AND outputs <> '{}'"
    ).fetchall()
    return {blob_id for (text,) in found for blob_id in rows.from_text(text).values()}
