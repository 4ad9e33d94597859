"""Giving all records out in portable form; `flowblob.portable` says what they look like."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from flowblob.catalogs import rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import SqlEngine
from flowblob.checks import beyond
from flowblob.errors import CatalogUnavailableError
from flowblob.portable import CAUSES, Kind, Page, Portable, to_moment

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Row

#: Incarnations of the keys that were asked for; `{keys}` is a condition on `key`.
_LIVES = "(SELECT seq FROM incarnation WHERE {keys})"
_OF_A_LIFE = f"v.incarnation IN {_LIVES}"


@dataclass(frozen=True, slots=True)
class _Source:
    """How one kind is read.

    Attributes:
        sql: Its first columns are the cursor; `{where}` and `LIMIT ?` say which page. The rows of
            one record follow each other, so one statement gives a page that is all of one moment.
        cursor: The same columns, by name.
        build: Makes the record of its rows.
        scope: Restricts it to some keys; empty for what belongs to none.
    """

    sql: str
    cursor: tuple[str, ...]
    build: Callable[[list[Row]], Portable]
    scope: str = _OF_A_LIFE


class Scanning(SqlEngine):
    """Pages of portable records."""

    def scan(
        self, kind: Kind, *, after: str = "", limit: int = 1000, prefix: str = "", key: str = ""
    ) -> Page:
        source = _SOURCES[kind]
        where, parameters = [], []
        if after:
            marks = ", ".join("?" * len(source.cursor))
            where.append(f"({', '.join(source.cursor)}) > ({marks})")
            parameters += json.loads(after)
        if prefix or key:
            keys, bounds = ("key = ?", [key]) if key else _begins(prefix)
            where.append((source.scope or "1 = 0").format(keys=keys))
            parameters += bounds * source.scope.count("{keys}")
        sql = source.sql.format(where=" AND ".join(where) or "1 = 1")
        found = self._query(sql, (*parameters, limit))
        width = len(source.cursor)
        grouped = [list(rows) for _, rows in groupby(found, key=lambda row: row[:width])]
        last = json.dumps(list(grouped[-1][0][:width])) if len(grouped) == limit else ""
        return Page([source.build(group) for group in grouped], last)

    def known(self, blob_ids: Sequence[str]) -> set[str]:
        if not blob_ids:
            return set()
        marks = ", ".join("?" * len(blob_ids))
        found = self._query(f"SELECT id FROM version WHERE id IN ({marks})", tuple(blob_ids))
        return {blob_id for (blob_id,) in found}


def _begins(prefix: str) -> tuple[str, list[str]]:
    return "key >= ? AND key < ?", [prefix, beyond(prefix)]


def _moment(micros: int | None) -> str | None:
    return None if micros is None else to_moment(rows.to_datetime(micros))


def _run(row: Row) -> Portable | None:
    if row[0] is None:
        return None
    names = (
        "system flow run_id task task_run_id attempt map_index url name started_at used generated"
    )
    record = dict(zip(names.split(), row, strict=True))
    record["started_at"] = _moment(row[9])
    record["used"], record["generated"] = rows.from_text(row[10]), rows.from_text(row[11])
    return record


def _only_run(found: list[Row]) -> Portable:
    record = _run(found[0][1:])
    assert record is not None
    return record


def _incarnation(found: list[Row]) -> Portable:
    _, life, key, created, ended, ended_by = found[0]
    return {
        "id": life,
        "key": key,
        "created_at": _moment(created),
        "ended_at": _moment(ended),
        "ended_by": ended_by or "",
    }


_FIELDS = """id key incarnation version prev_version op content digest size checksum kind
    media_type serializer filename metadata partitions parts history value_digest external
    signature signature_key preview created_at"""
_VERSION = tuple(_FIELDS.split())
_RUN_AT = 1 + len(_VERSION)
_DROPPED_AT = _RUN_AT + rows.RUN_WIDTH
_PART_AT = _DROPPED_AT + 3


def _version(found: list[Row]) -> Portable:
    row = found[0]
    record: Portable = dict(zip(_VERSION, row[1:_RUN_AT], strict=True))
    at, by, cause = row[_DROPPED_AT:_PART_AT]
    try:
        record |= {
            "content": bytes(record["content"]).hex(),
            "metadata": rows.from_text(record["metadata"]),
            "partitions": rows.from_text(record["partitions"]),
            "payloads": [list(part[_PART_AT:]) for part in found if part[_PART_AT + 1] is not None],
            "history": bool(record["history"]),
            "run": _run(row[_RUN_AT:_DROPPED_AT]),
            "created_at": _moment(record["created_at"]),
            "dropped": None if at is None else [_moment(at), by, CAUSES[cause]],
        }
    except CatalogUnavailableError as error:
        raise rows.named(error, record["key"], record["version"]) from error
    return record


def _tags(found: list[Row]) -> Portable:
    return {
        "id": found[0][1],
        "history": [
            [name, None if value is None else rows.from_tag(value), _moment(at), by]
            for _, _, name, value, at, by in found
        ],
    }


def _aliases(found: list[Row]) -> Portable:
    standing = {
        name: [name, version, bool(immutable), _moment(at), by]
        for _, _, name, *_, version, immutable, at, by in found
        if version is not None
    }
    return {
        "incarnation": found[0][1],
        "standing": [standing[name] for name in sorted(standing)],
        "history": [[name, version, _moment(at), by] for _, _, name, version, at, by, *_ in found],
    }


def _tombstone(found: list[Row]) -> Portable:
    _, blob_id, at, by, cause = found[0]
    return {"id": blob_id, "at": _moment(at), "by": by, "cause": CAUSES[cause]}


def _parents(found: list[Row]) -> Portable:
    return {
        "id": found[0][1],
        "parents": [[parent, _moment(at)] for _, _, parent, at in found],
    }


def _use(found: list[Row]) -> Portable:
    *_, role, system, task_run_id, attempt, blob_id, at = found[0]
    return {
        "run": [system, task_run_id, attempt],
        "id": blob_id,
        "role": role,
        "at": _moment(at),
    }


def _entry(found: list[Row]) -> Portable:
    (key, name, module, rev, blob_id, system, task_run_id, attempt, cost, hits, last_hit, pinned,
     created, updated, expires, outputs, reads, metadata, ingredients) = found[0]  # fmt: skip
    return {
        "key": key,
        "name": name,
        "module": module,
        "rev": rev,
        "id": blob_id,
        "run": None if system is None else [system, task_run_id, attempt],
        "cost": cost,
        "hits": hits,
        "last_hit_at": _moment(last_hit),
        "pinned": bool(pinned),
        "created_at": _moment(created),
        "updated_at": _moment(updated),
        "expires_at": _moment(expires),
        "outputs": rows.from_text(outputs),
        "reads": rows.from_text(reads) or [],
        "metadata": rows.from_text(metadata),
        "ingredients": rows.from_text(ingredients) if ingredients else [],
    }


def _lookup(found: list[Row]) -> Portable:
    return dict(zip(("day", "name", "hits", "misses", "seconds", "size"), found[0], strict=True))


def _outcome(found: list[Row]) -> Portable:
    op, blob_id, at = found[0]
    return {"op": op, "id": blob_id, "at": _moment(at)}


def _bound(found: list[Row]) -> Portable:
    space, name, blob_id, record, at = found[0]
    return {
        "space": space,
        "name": name,
        "id": blob_id,
        "record": base64.b64encode(bytes(record)).decode(),
        "at": _moment(at),
    }


_VERSION_COLUMNS = ", ".join(
    {"key": "i.key", "incarnation": "i.id"}.get(name, f"v.{name}") for name in _VERSION
)

_SOURCES: dict[Kind, _Source] = {
    "run": _Source(
        f"""SELECT r.seq, {columns.run_columns("r")} FROM run r
        WHERE {{where}} ORDER BY r.seq LIMIT ?""",
        ("r.seq",),
        _only_run,
        scope=f"""r.seq IN (SELECT v.run FROM version v WHERE {_OF_A_LIFE}
            UNION SELECT u.run FROM use u JOIN version v ON v.seq = u.version WHERE {_OF_A_LIFE}
            UNION SELECT e.run FROM entry e JOIN version v ON v.seq = e.version
            WHERE {_OF_A_LIFE})""",
    ),
    "incarnation": _Source(
        """SELECT i.seq, i.id, i.key, i.created_at, i.ended_at, (SELECT x.by FROM version v
        JOIN tombstone x ON x.version = v.seq WHERE v.incarnation = i.seq AND x.cause = 2
        AND x.at = i.ended_at LIMIT 1) FROM incarnation i WHERE {where} ORDER BY i.seq LIMIT ?""",
        ("i.seq",),
        _incarnation,
        scope=f"i.seq IN {_LIVES}",
    ),
    "version": _Source(
        f"""SELECT v.seq, {_VERSION_COLUMNS}, {columns.run_columns("r")}, x.at, x.by, x.cause,
        m.name, p.digest, p.size, p.checksum
        FROM (SELECT v.seq FROM version v WHERE {{where}} ORDER BY v.seq LIMIT ?) w
        JOIN version v ON v.seq = w.seq {columns.BLOB_JOINS}
        LEFT JOIN tombstone x ON x.version = v.seq
        LEFT JOIN version_payload m ON m.version = v.seq AND x.version IS NULL
        LEFT JOIN payload p ON p.seq = m.payload ORDER BY v.seq, m.position""",
        ("v.seq",),
        _version,
    ),
    "tags": _Source(
        """SELECT v.seq, v.id, h.name, h.value, h.at, h.by
        FROM (SELECT v.seq FROM version v WHERE {where}
            AND EXISTS (SELECT 1 FROM tag_history h WHERE h.version = v.seq)
            ORDER BY v.seq LIMIT ?) w
        JOIN version v ON v.seq = w.seq JOIN tag_history h ON h.version = v.seq
        ORDER BY v.seq, h.seq""",
        ("v.seq",),
        _tags,
    ),
    "aliases": _Source(
        """SELECT i.seq, i.id, h.name, hv.version, h.at, h.by, av.version, a.immutable, a.at, a.by
        FROM (SELECT i.seq FROM incarnation i WHERE {where}
            AND EXISTS (SELECT 1 FROM alias_history h WHERE h.incarnation = i.seq)
            ORDER BY i.seq LIMIT ?) w
        JOIN incarnation i ON i.seq = w.seq JOIN alias_history h ON h.incarnation = i.seq
        LEFT JOIN version hv ON hv.seq = h.version
        LEFT JOIN alias a ON a.incarnation = i.seq AND a.name = h.name
        LEFT JOIN version av ON av.seq = a.version
        ORDER BY i.seq, h.seq""",
        ("i.seq",),
        _aliases,
        scope=f"i.seq IN {_LIVES}",
    ),
    "tombstone": _Source(
        """SELECT v.seq, v.id, x.at, x.by, x.cause FROM tombstone x
        JOIN version v ON v.seq = x.version WHERE {where} ORDER BY v.seq LIMIT ?""",
        ("v.seq",),
        _tombstone,
    ),
    "parents": _Source(
        """SELECT v.seq, v.id, pv.id, l.at
        FROM (SELECT v.seq FROM version v WHERE {where}
            AND EXISTS (SELECT 1 FROM parent l WHERE l.version = v.seq)
            ORDER BY v.seq LIMIT ?) w
        JOIN version v ON v.seq = w.seq JOIN parent l ON l.version = v.seq
        JOIN version pv ON pv.seq = l.parent ORDER BY v.seq, l.parent""",
        ("v.seq",),
        _parents,
    ),
    "use": _Source(
        """SELECT u.run, u.version, u.role, r.system, r.task_run_id, r.attempt, v.id, u.at
        FROM use u JOIN run r ON r.seq = u.run JOIN version v ON v.seq = u.version
        WHERE {where} ORDER BY u.run, u.version, u.role LIMIT ?""",
        ("u.run", "u.version", "u.role"),
        _use,
    ),
    "entry": _Source(
        """SELECT e.key, e.name, e.module, e.rev, v.id, r.system, r.task_run_id, r.attempt, e.cost,
        e.hits, e.last_hit_at, e.pinned, e.created_at, e.updated_at, e.expires_at, e.outputs,
        e.reads, e.metadata, e.ingredients
        FROM entry e JOIN version v ON v.seq = e.version LEFT JOIN run r ON r.seq = e.run
        WHERE {where} ORDER BY e.key LIMIT ?""",
        ("e.key",),
        _entry,
    ),
    "lookup": _Source(
        """SELECT l.day, l.name, l.hits, l.misses, l.seconds, l.size FROM lookup l
        WHERE {where} ORDER BY l.day, l.name LIMIT ?""",
        ("l.day", "l.name"),
        _lookup,
        scope="",
    ),
    "outcome": _Source(
        """SELECT o.op, v.id, o.at FROM outcome o JOIN version v ON v.seq = o.version
        WHERE {where} ORDER BY o.op LIMIT ?""",
        ("o.op",),
        _outcome,
    ),
    "bound": _Source(
        """SELECT b.space, b.name, v.id, b.record, b.at FROM bound b
        JOIN version v ON v.seq = b.version WHERE {where} ORDER BY b.space, b.name LIMIT ?""",
        ("b.space", "b.name"),
        _bound,
    ),
}
