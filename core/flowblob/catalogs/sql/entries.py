"""Cache entries: reading them in one statement, writing them fenced inside the commit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import SqlEngine
from flowblob.drafts import EntryDraft, Payload
from flowblob.errors import InvalidInputError
from flowblob.model import CacheEntry, Reservation

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection, Dialect, Row

_MICROSECOND = timedelta(microseconds=1)

_JOINS = f"""JOIN version v ON v.seq = e.version {columns.BLOB_JOINS}
    LEFT JOIN run er ON er.seq = e.run"""

_PUT = """INSERT INTO entry (key, name, module, rev, version, run, cost, created_at, updated_at,
    expires_at, outputs, reads, metadata, ingredients)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET name = excluded.name, module = excluded.module,
    rev = excluded.rev, version = excluded.version, run = excluded.run, cost = excluded.cost,
    updated_at = excluded.updated_at, expires_at = excluded.expires_at,
    outputs = excluded.outputs, reads = excluded.reads, metadata = excluded.metadata,
    ingredients = excluded.ingredients"""

_FREE = "UPDATE reservation SET owner = '', expires = 0 WHERE key = ? AND token = ?"

_IDLE_FIRST = "CASE WHEN e.last_hit_at > e.updated_at THEN e.last_hit_at ELSE e.updated_at END"

_FILTERS = {
    "key": "e.key = ?",
    "name": "e.name = ?",
    "pattern": "lower(e.name) LIKE lower(?) ESCAPE '!'",
    "blob_id": "v.id = ?",
    "system": "er.system = ?",
    "flow": "er.flow = ?",
    "task": "er.task = ?",
    "run_id": "er.run_id = ?",
    "task_run_id": "er.task_run_id = ?",
    "pinned": "e.pinned = ?",
    "older_than": "e.updated_at <= ?",
    "unused_for": f"{_IDLE_FIRST} <= ?",
    "min_size": "v.size >= ?",
    "max_size": "v.size <= ?",
}


@cache
def _entry_sql(dialect: Dialect) -> str:
    # The producing run is nearly always the run of the blob: it is read only where it is not,
    # and then as one column, since each column costs the driver 0.2 us.
    return f"""SELECT {columns.blob_columns(dialect)}, {columns.ENTRY}, e.run = v.run,
        CASE WHEN e.run = v.run THEN NULL WHEN e.run IS NOT NULL
        THEN {dialect.json_array.format(columns.run_columns("er"))} END, {columns.MAIN_PAYLOAD}
        FROM entry e {_JOINS} {columns.MAIN_PAYLOAD_JOINS}
        WHERE e.key = ? AND {columns.LIVE}"""


_ENTRY_AT = rows.BLOB_WIDTH
_RUN_AT = _ENTRY_AT + rows.ENTRY_WIDTH
_PAYLOAD_AT = _RUN_AT + 2


def _condition(name: str, value: Any, parameters: list[object]) -> str:
    """Return the text of one filter; every value is bound."""
    if name == "tags":
        for tag, wanted in value.items():
            parameters += [tag, rows.to_tag(wanted)]
        one = "EXISTS (SELECT 1 FROM tag f WHERE f.version = v.seq AND f.name = ? AND f.value = ?)"
        return " AND ".join([one] * len(value)) or "1 = 1"
    if name not in _FILTERS:
        raise InvalidInputError(
            f"Unknown filter {name!r}", hint=f"Use {', '.join([*_FILTERS, 'tags'])}"
        )
    if name == "pattern":
        value = _like(str(value))
    if name == "pinned":
        value = int(value)
    parameters.append(
        rows.to_micros(value) if isinstance(value, datetime) else columns.comparable(value)
    )
    return _FILTERS[name]


def _like(pattern: str) -> str:
    """Return a LIKE pattern for one of `*` and `?`, in which nothing else is special."""
    quoted = "".join(f"!{c}" if c in "!%_" else c for c in pattern)
    return quoted.replace("*", "%").replace("?", "_")


class Entries(SqlEngine):
    """Cache entries."""

    def entry(self, key: str) -> tuple[CacheEntry, Payload | None] | None:
        found = self._query(_entry_sql(self.dialect), (key,))
        return _to_entry(found[0]) if found else None

    def glance(self, key: str) -> tuple[CacheEntry, Payload | None] | None:
        return self._look_up(_entry_sql(self.dialect), (key,), _to_entry)

    def entries(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        idle_first: bool = False,
    ) -> list[CacheEntry]:
        order = _IDLE_FIRST if idle_first else "e.updated_at DESC"
        parameters: list[object] = []
        where = [columns.LIVE]
        for name, value in (filters or {}).items():
            where.append(_condition(name, value, parameters))
        sql = f"""SELECT {columns.blob_columns(self.dialect)}, {columns.ENTRY},
            {columns.run_columns("er")}, e.ingredients
            FROM entry e {_JOINS} WHERE {" AND ".join(where)} ORDER BY {order}, e.key"""
        return [
            rows.to_entry(row, _ENTRY_AT, rows.to_blob(row), rows.to_run(row, _RUN_AT), row[-1])
            for row in self._query(columns.limited(sql, parameters, limit), parameters)
        ]

    def delete_entry(self, key: str) -> bool:
        return self._write(self._delete_entry, key)

    def _delete_entry(self, connection: Connection, key: str) -> bool:
        self._serialize(connection, key)  # a commit may be comparing its `rev`
        return connection.execute("DELETE FROM entry WHERE key = ?", (key,)).rowcount > 0

    def expire_entry(self, key: str, at: datetime | None) -> bool:
        return self._write(self._expire_entry, key, at)

    def _expire_entry(self, connection: Connection, key: str, at: datetime | None) -> bool:
        self._serialize(connection, key)
        changed = connection.execute(
            "UPDATE entry SET expires_at = ?, rev = ? WHERE key = ?",
            (None if at is None else rows.to_micros(at), self._stamp(), key),
        )
        return changed.rowcount > 0

    def _check_entry(self, connection: Connection, draft: EntryDraft, now: int) -> None:
        key, held = draft.key.digest, draft.reservation
        row = connection.execute(
            f"""SELECT e.rev, e.expires_at, {columns.LIVE}, e.updated_at FROM entry e
            JOIN version v ON v.seq = e.version WHERE e.key = ?""",
            (key,),
        ).fetchone()
        rev = 0 if row is None else row[0]
        if held is not None:
            self._check_lease(connection, held)
            if rev != held.entry_rev:
                raise refusals.written_since(key)
        servable = row is not None and row[2] and (row[1] is None or row[1] > now)
        if servable and draft.max_age is not None:
            servable = row[3] > now - draft.max_age // _MICROSECOND
        if servable and not draft.overwrite:
            raise refusals.entry_stands(key)

    def _check_lease(self, connection: Connection, held: Reservation) -> None:
        lease = connection.execute(
            "SELECT owner, token FROM reservation WHERE key = ?", (held.key,)
        ).fetchone()
        if lease is None or tuple(lease) != (held.owner, held.token):
            raise refusals.taken_over(held)

    def _put_entry(
        self, connection: Connection, draft: EntryDraft, version: int, run: int | None, now: int
    ) -> None:
        key = draft.key
        items = [(i.name, i.kind, i.digest, i.summary) for i in key.ingredients]
        connection.execute(
            _PUT,
            (
                key.digest, key.name, key.module, self._stamp(), version, run,
                draft.cost // _MICROSECOND, now, now,
                None if draft.expires_at is None else rows.to_micros(draft.expires_at),
                rows.to_text(dict(draft.outputs)),
                rows.to_text([(read.ref, read.blob_id) for read in draft.reads]),
                rows.to_text(dict(draft.metadata)),
                rows.to_text(items) if items else "",
            ),
        )  # fmt: skip
        if draft.reservation is not None:
            connection.execute(_FREE, (key.digest, draft.reservation.token))


def _to_entry(row: Row) -> tuple[CacheEntry, Payload | None]:
    blob = rows.to_blob(row)
    packed = row[_RUN_AT + 1]
    run = blob.run if row[_RUN_AT] else rows.to_run(tuple(json.loads(packed))) if packed else None
    entry = rows.to_entry(row, _ENTRY_AT, blob, run, "")
    return entry, rows.to_payload(row, _PAYLOAD_AT, row[-1])
