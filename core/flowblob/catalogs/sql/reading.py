"""Finding versions: every form of reference is one indexed statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from flowblob.catalogs import rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import SqlEngine
from flowblob.checks import LATEST, beyond
from flowblob.drafts import Payload, Record
from flowblob.errors import InvalidInputError

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection, Dialect, Row
    from flowblob.model import Blob, Ref

_LIVES = "SELECT seq FROM incarnation WHERE key = ? AND ended_at IS NULL"

#: What follows the joins, for each form of reference. Each names at most one version.
_FORMS = {
    "newest": "WHERE i.key = ? AND i.ended_at IS NULL",
    "version": f"WHERE v.incarnation = ({_LIVES}) AND v.version = ? AND {columns.LIVE}",
    "alias": f"""WHERE v.seq = (SELECT version FROM alias
        WHERE incarnation = ({_LIVES}) AND name = ?)""",
    "digest": f"""WHERE v.digest = ? AND v.digest <> '' AND v.incarnation = ({_LIVES})
        AND {columns.LIVE} ORDER BY v.seq DESC LIMIT 1""",
    "any_digest": f"""WHERE v.digest = ? AND v.digest <> '' AND {columns.LIVE}
        ORDER BY v.seq DESC LIMIT 1""",
    "id": f"WHERE v.id = ? AND {columns.LIVE}",
}


@cache
def _find_sql(dialect: Dialect, form: str, payload: bool) -> str:
    picked = columns.blob_columns(dialect)
    if form == "newest":
        source, joins = columns.NEWEST, columns.RUN_JOIN
    else:
        source, joins = "version v", columns.BLOB_JOINS
    if payload:
        picked, joins = f"{picked}, {columns.MAIN_PAYLOAD}", f"{joins} {columns.MAIN_PAYLOAD_JOINS}"
    return f"SELECT {picked} FROM {source} {joins} {_FORMS[form]}"


@cache
def blob_by_seq(dialect: Dialect) -> str:
    """Statement that reads one blob by its row number, dropped or not."""
    return f"""SELECT {columns.blob_columns(dialect)} FROM version v {columns.BLOB_JOINS}
        WHERE v.seq = ?"""


def _form(ref: Ref) -> tuple[str, tuple[Any, ...]]:
    if ref.id:
        return "id", (ref.id,)
    if not ref.key:
        return "any_digest", (ref.digest,)
    if ref.version is not None:
        return "version", (ref.key, ref.version)
    if ref.alias and ref.alias != LATEST:
        return "alias", (ref.key, ref.alias)
    if ref.digest:
        return "digest", (ref.digest, ref.key)
    return "newest", (ref.key,)


def find_clause(ref: Ref) -> tuple[str, str, tuple[Any, ...]]:
    """Return source, condition and values of the one version that a reference names."""
    form, parameters = _form(ref)
    link = "v.seq = i.newest" if form == "newest" else "i.seq = v.incarnation"
    return f"version v JOIN incarnation i ON {link}", _FORMS[form], parameters


def _with_payload(row: Row) -> tuple[Row, Payload | None]:
    # A row and a payload hold nothing that a caller could change; what a blob holds, one could.
    return row, rows.to_payload(row, rows.BLOB_WIDTH, row[-1])


def _without_payload(row: Row) -> tuple[Row, Payload | None]:
    return row, None


class Reading(SqlEngine):
    """Look-ups and listings of versions."""

    def find(self, ref: Ref, *, payload: bool = False) -> Record | None:
        form, parameters = _form(ref)
        sql = _find_sql(self.dialect, form, payload)
        found = self._look_up(sql, parameters, _with_payload if payload else _without_payload)
        return None if found is None else Record(rows.to_blob(found[0]), found[1])

    def payloads(self, blob_id: str) -> list[Payload]:
        found = self._query(
            f"""SELECT {columns.MAIN_PAYLOAD} FROM version v
            JOIN version_payload m ON m.version = v.seq
            JOIN payload p ON p.seq = m.payload
            LEFT JOIN inline_payload d ON d.payload = p.seq
            WHERE v.id = ? ORDER BY m.position""",
            (blob_id,),
        )
        listed = (rows.to_payload(row, 0, row[-1]) for row in found)
        return [payload for payload in listed if payload is not None]

    def versions(self, key: str, *, limit: int | None = None) -> list[Blob]:
        parameters: list[object] = [key]
        sql = f"""SELECT {columns.blob_columns(self.dialect)} FROM version v {columns.BLOB_JOINS}
            WHERE v.incarnation = ({_LIVES}) AND {columns.LIVE} ORDER BY v.version DESC"""
        return [
            rows.to_blob(r)
            for r in self._query(columns.limited(sql, parameters, limit), parameters)
        ]

    def live(self, *, after: str = "", limit: int = 1000) -> list[Blob]:
        sql = f"""SELECT {columns.blob_columns(self.dialect)} FROM version v {columns.BLOB_JOINS}
            WHERE v.id > ? AND {columns.LIVE} ORDER BY v.id LIMIT ?"""
        return [rows.to_blob(row) for row in self._query(sql, (after, limit))]

    def blobs(
        self,
        *,
        prefix: str = "",
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> list[Blob]:
        where = ["i.ended_at IS NULL"]
        parameters: list[object] = []
        if prefix:
            where.append("i.key >= ? AND i.key < ?")
            parameters += [columns.comparable(prefix), beyond(prefix)]
        for name, value in (filters or {}).items():
            _restrict(name, value, where, parameters)
        sql = f"""SELECT {columns.blob_columns(self.dialect)}
            FROM {columns.NEWEST} {columns.RUN_JOIN}
            WHERE {" AND ".join(where)} ORDER BY i.key"""
        found = self._query(columns.limited(sql, parameters, limit), parameters)
        return [rows.to_blob(row) for row in found]

    def _keys_of(self, connection: Connection, blob_ids: Sequence[str]) -> list[str]:
        """Return the keys of some versions, in one order for everybody who locks them."""
        marks = ", ".join("?" * len(blob_ids))
        found = connection.execute(
            f"""SELECT DISTINCT i.key FROM version v JOIN incarnation i ON i.seq = v.incarnation
            WHERE v.id IN ({marks})""",
            tuple(blob_ids),
        ).fetchall()
        return sorted(key for (key,) in found)

    def _query_blob(self, seq: int) -> Blob:
        return rows.to_blob(self._query(blob_by_seq(self.dialect), (seq,))[0])

    def _blobs_newest_first(self, connection: Connection, seqs: Sequence[int]) -> list[Blob]:
        sql = f"""SELECT {columns.blob_columns(self.dialect)} FROM version v {columns.BLOB_JOINS}
            WHERE v.seq IN ({", ".join("?" * len(seqs))}) ORDER BY v.seq DESC"""
        return [rows.to_blob(row) for row in connection.execute(sql, tuple(seqs)).fetchall()]

    def _blob(self, connection: Connection, seq: int) -> Blob:
        row: Row = connection.execute(blob_by_seq(self.dialect), (seq,)).fetchone()
        return rows.to_blob(row)


# IN reads its index once; EXISTS would ask it again for every key.
_FILTERS = {
    "kind": "v.kind = ?",
    "serializer": "v.serializer = ?",
    "media_type": "v.media_type = ?",
    **{
        field: f"v.run IN (SELECT f.seq FROM run f WHERE f.{field} = ?)"
        for field in ("system", "flow", "task", "run_id", "task_run_id")
    },
    "alias": "v.seq IN (SELECT f.version FROM alias f WHERE f.name = ?)",
}
_TAGGED = "v.seq IN (SELECT f.version FROM tag f WHERE f.name = ? AND f.value = ?)"
_PARTED = "v.seq IN (SELECT f.version FROM partition f WHERE f.name = ? AND f.value = ?)"


def _restrict(name: str, value: Any, where: list[str], parameters: list[Any]) -> None:
    if name == "tags":
        for tag, wanted in value.items():
            where.append(_TAGGED)
            parameters += [tag, rows.to_tag(wanted)]
    elif name == "partitions":
        for partition, wanted in value.items():
            where.append(_PARTED)
            parameters += [partition, wanted]
    elif name in _FILTERS:
        where.append(_FILTERS[name])
        parameters.append(columns.comparable(value))
    else:
        raise InvalidInputError(
            f"Unknown filter {name!r}", hint=f"Use {', '.join([*_FILTERS, 'tags', 'partitions'])}"
        )
