"""What may change in place: tags, aliases, host keys; every change leaves a row of history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import repeatable
from flowblob.catalogs.sql.reading import Reading
from flowblob.model import Blob, TagValue

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection, Row

_LIVE_VERSION = """SELECT v.seq, v.incarnation FROM version v
    WHERE v.id = ? AND NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = v.seq)"""

_ALIAS = """SELECT a.version, v.version, a.immutable
    FROM alias a JOIN version v ON v.seq = a.version WHERE a.incarnation = ? AND a.name = ?"""

_MOVE = """INSERT INTO alias (incarnation, name, version, immutable, at, by)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (incarnation, name) DO UPDATE SET
    version = excluded.version, immutable = excluded.immutable,
    at = excluded.at, by = excluded.by"""

_NOTE_MOVE = "INSERT INTO alias_history (incarnation, name, version, at, by) VALUES (?, ?, ?, ?, ?)"


class Names(Reading):
    """Tags, aliases and the storage keys of hosts."""

    def tag(self, blob_id: str, tags: Mapping[str, TagValue | None], *, by: str = "") -> Blob:
        return self._write(self._tag, blob_id, tags, by)

    def _tag(
        self, connection: Connection, blob_id: str, tags: Mapping[str, TagValue | None], by: str
    ) -> Blob:
        self._serialize(connection, *self._keys_of(connection, [blob_id]))
        seq = _live(connection, blob_id)[0]
        self._put_tags(connection, seq, tags, self._now(connection), by=by)
        return self._blob(connection, seq)

    def _put_tags(
        self,
        connection: Connection,
        version: int,
        tags: Mapping[str, TagValue | None],
        now: int,
        *,
        by: str,
    ) -> None:
        found = connection.execute("SELECT name, value FROM tag WHERE version = ?", (version,))
        standing = dict(found.fetchall())
        for name, value in tags.items():
            text = None if value is None else rows.to_tag(value)
            if standing.get(name) == text:
                continue
            if text is None:
                connection.execute(
                    "DELETE FROM tag WHERE version = ? AND name = ?", (version, name)
                )
            else:
                connection.execute(
                    """INSERT INTO tag (version, name, value) VALUES (?, ?, ?)
                    ON CONFLICT (version, name) DO UPDATE SET value = excluded.value""",
                    (version, name, text),
                )
            connection.execute(
                "INSERT INTO tag_history (version, name, value, at, by) VALUES (?, ?, ?, ?, ?)",
                (version, name, text, now, by),
            )

    def tag_history(self, blob_id: str) -> list[dict[str, Any]]:
        """Return the changes of a blob's tags, newest first: `name`, `value`, `at`, `by`."""
        found = self._query(
            """SELECT h.name, h.value, h.at, h.by FROM tag_history h
            WHERE h.version = (SELECT seq FROM version WHERE id = ?) ORDER BY h.seq DESC""",
            (blob_id,),
        )
        return [
            {
                "name": name,
                "value": None if value is None else rows.from_tag(value),
                "at": rows.to_datetime(at),
                "by": by,
            }
            for name, value, at, by in found
        ]

    def promote(
        self,
        blob: Blob,
        alias: str,
        *,
        expect: int | None = None,
        immutable: bool = False,
        by: str = "",
    ) -> Blob:
        return self._write(self._promote, blob, alias, expect=expect, immutable=immutable, by=by)

    def _promote(
        self,
        connection: Connection,
        blob: Blob,
        alias: str,
        *,
        expect: int | None,
        immutable: bool,
        by: str,
    ) -> Blob:
        self._serialize(connection, blob.key)
        seq, incarnation = _live(connection, blob.id)
        standing = connection.execute(_ALIAS, (incarnation, alias)).fetchone()
        at = None if standing is None else standing[1]
        is_fixed = standing is not None and bool(standing[2]) and standing[0] != seq
        refusals.check_move(blob, alias, at, expect=expect, is_fixed=is_fixed)
        now = self._now(connection)
        if standing is None or standing[0] != seq:
            note_move(connection, incarnation, alias, seq, at=now, by=by)
        if standing is None or standing[0] != seq or bool(standing[2]) < immutable:
            connection.execute(_MOVE, (incarnation, alias, seq, int(immutable), now, by))
        return self._blob(connection, seq)

    def unalias(self, key: str, alias: str, *, by: str = "") -> None:
        self._write(self._unalias, key, alias, by)

    def _unalias(self, connection: Connection, key: str, alias: str, by: str) -> None:
        self._serialize(connection, key)
        row = connection.execute(
            """SELECT a.incarnation FROM alias a JOIN incarnation i ON i.seq = a.incarnation
            WHERE i.key = ? AND i.ended_at IS NULL AND a.name = ?""",
            (key, alias),
        ).fetchone()
        if row is None:
            raise refusals.no_alias(key, alias)
        connection.execute("DELETE FROM alias WHERE incarnation = ? AND name = ?", (row[0], alias))
        note_move(connection, row[0], alias, None, at=self._now(connection), by=by)

    def alias_history(self, key: str, alias: str) -> list[dict[str, Any]]:
        found = self._query(
            """SELECT v.version, h.at, h.by FROM alias_history h
            JOIN incarnation i ON i.seq = h.incarnation LEFT JOIN version v ON v.seq = h.version
            WHERE i.key = ? AND h.name = ? ORDER BY h.seq DESC""",
            (key, alias),
        )
        return [{"version": v, "at": rows.to_datetime(at), "by": by} for v, at, by in found]

    def set_value_digest(self, blob_id: str, value_digest: str) -> None:
        self._write_relaxed(_set_value_digest, blob_id, value_digest)

    def bind(self, space: str, name: str, *, blob_id: str, record: bytes = b"") -> None:
        columns.comparable(space + name)
        self._write(self._bind, space, name, blob_id, record)

    def _bind(
        self, connection: Connection, space: str, name: str, blob_id: str, record: bytes
    ) -> None:
        self._serialize(connection, *self._keys_of(connection, [blob_id]))
        seq = _live(connection, blob_id)[0]
        connection.execute(
            """INSERT INTO bound (space, name, version, record, at) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (space, name) DO UPDATE SET version = excluded.version,
            record = excluded.record, at = excluded.at""",
            (space, name, seq, record, self._now(connection)),
        )

    def bound(self, space: str, name: str) -> tuple[str, bytes] | None:
        found = self._query(
            """SELECT v.id, b.record FROM bound b JOIN version v ON v.seq = b.version
            WHERE b.space = ? AND b.name = ?""",
            (columns.comparable(space), columns.comparable(name)),
        )
        return (found[0][0], bytes(found[0][1])) if found else None


def note_move(
    connection: Connection,
    incarnation: int,
    alias: str,
    version: int | None,
    *,
    at: int,
    by: str,
) -> None:
    """Keep that an alias moved, or with no version that it went."""
    connection.execute(_NOTE_MOVE, (incarnation, alias, version, at, by))


def _live(connection: Connection, blob_id: str) -> Row:
    row: Row | None = connection.execute(_LIVE_VERSION, (blob_id,)).fetchone()
    if row is None:
        raise refusals.absent(f"id:{blob_id}")
    return row


@repeatable
def _set_value_digest(connection: Connection, blob_id: str, value_digest: str) -> None:
    connection.execute(
        "UPDATE version SET value_digest = ? WHERE id = ? AND value_digest = ''",
        (value_digest, blob_id),
    )
