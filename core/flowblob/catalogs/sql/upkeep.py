"""Collecting payloads that nothing references, and checking what the records promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from flowblob.catalogs import rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import SqlEngine, repeatable
from flowblob.drafts import Payload

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

T = TypeVar("T")

_MICROSECOND = timedelta(microseconds=1)

# A version that was dropped lately may be brought back, and a reader may just have found it.
_UNREFERENCED = """p.state <> 'condemned' AND p.changed_at <= ?
    AND NOT EXISTS (SELECT 1 FROM version_payload m
        LEFT JOIN tombstone x ON x.version = m.version
        WHERE m.payload = p.seq AND (x.at IS NULL OR x.at > ?))
    AND NOT EXISTS (SELECT 1 FROM payload b WHERE b.base = p.generation)
    AND NOT EXISTS (SELECT 1 FROM pin n
        WHERE n.payload = p.seq AND n.boot = ? AND n.expires > ?)"""

_CANDIDATES = f"SELECT p.seq FROM payload p WHERE {_UNREFERENCED} ORDER BY p.seq LIMIT ?"

# The conditions stand again in the update: a put may have taken the payload since it was listed.
_CONDEMN = f"""UPDATE payload SET state = 'condemned', changed_at = ?
    WHERE seq IN (SELECT p.seq FROM payload p WHERE p.seq = ? AND {_UNREFERENCED})"""

_RELINQUISH = "DELETE FROM version_payload WHERE payload = ?"

#: What some versions use, and how many of them use it.
_USED = """SELECT m.payload, count(*) FROM version_payload m JOIN version v ON v.seq = m.version
    WHERE v.id IN ({marks}) GROUP BY m.payload"""

#: How many live versions use some payloads. A base is kept by its patches and counts for nobody.
_USERS = f"""SELECT p.seq, max(CASE WHEN p.inline = 1 THEN p.size ELSE p.stored_size END), count(*)
    FROM payload p
    JOIN version_payload m ON m.payload = p.seq JOIN version v ON v.seq = m.version
    WHERE p.seq IN ({{marks}}) AND {columns.LIVE}
    AND NOT EXISTS (SELECT 1 FROM payload b WHERE b.base = p.generation)
    GROUP BY p.seq"""

_CHUNK = 500

_LISTED = f"SELECT '', {columns.PAYLOAD} FROM payload p"

_LIST_CANDIDATES = f"{_LISTED} WHERE {_UNREFERENCED} ORDER BY p.seq LIMIT ?"

#: Each statement lists what must not exist.
_PROMISES = {
    "versions are not dense": """SELECT i.key, count(*), max(v.version), i.head FROM incarnation i
        JOIN version v ON v.incarnation = i.seq GROUP BY i.seq, i.key, i.head
        HAVING count(*) <> max(v.version) + 1 OR max(v.version) <> i.head""",
    "newest is not the newest live version": """SELECT i.key, i.newest FROM incarnation i
        WHERE i.ended_at IS NULL AND coalesce(i.newest, -1) <> coalesce((SELECT max(v.seq)
        FROM version v WHERE v.incarnation = i.seq
        AND NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = v.seq)), -1)""",
    "a live version lacks a payload": f"""SELECT v.id FROM version v WHERE {columns.LIVE}
        AND v.digest <> '' AND v.external = '' AND v.parts > (SELECT count(*)
        FROM version_payload m WHERE m.version = v.seq AND m.name <> '')""",
    "a payload has another digest than its version": """SELECT v.id FROM version v
        JOIN version_payload m ON m.version = v.seq AND m.name = ''
        JOIN payload p ON p.seq = m.payload WHERE p.digest <> v.digest""",
    "a version uses a payload that is not committed": """SELECT v.id, p.generation, p.state
        FROM version v JOIN version_payload m ON m.version = v.seq
        JOIN payload p ON p.seq = m.payload WHERE p.state IN ('uploading', 'condemned')""",
    "an inline payload lacks its bytes": """SELECT p.generation FROM payload p
        LEFT JOIN inline_payload d ON d.payload = p.seq WHERE p.inline = 1
        AND (d.payload IS NULL OR length(d.data) <> p.size)""",
    "an alias points at a dropped version": f"""SELECT i.key, a.name FROM alias a
        JOIN incarnation i ON i.seq = a.incarnation JOIN version v ON v.seq = a.version
        WHERE NOT ({columns.LIVE}) AND i.ended_at IS NULL""",
    "an ended key has a live version": f"""SELECT v.id FROM incarnation i
        JOIN version v ON v.incarnation = i.seq WHERE i.ended_at IS NOT NULL AND {columns.LIVE}""",
}

_TABLES = "incarnation version payload run use entry reservation tombstone"


class Upkeep(SqlEngine):
    """Garbage and health."""

    def now(self) -> datetime:
        return rows.to_datetime(self._read(self._now))

    def condemned(self, *, grace: timedelta, limit: int, dry_run: bool = False) -> list[Payload]:
        boot, ticks, before = self._query_clocks(grace)
        candidates = (before, before, boot, ticks, limit)
        if dry_run:
            listed = self._query(_LIST_CANDIDATES, candidates)
            return _payloads([*self._query_condemned(limit), *listed])[:limit]
        found = [seq for (seq,) in self._query(_CANDIDATES, candidates)]
        for chunk in _chunks(found):  # puts wait for one of them at most, not for all
            self._write(self._condemn, chunk, grace)
        return _payloads(self._query_condemned(limit))

    def _query_clocks(self, grace: timedelta) -> tuple[str, int, int]:
        return self._read(lambda c: (*self._ticks(c), self._now(c) - grace // _MICROSECOND))

    def _query_condemned(self, limit: int) -> list[Any]:
        return self._query(
            f"{_LISTED} WHERE p.state = 'condemned' ORDER BY p.seq LIMIT ?", (limit,)
        )

    def _condemn(self, connection: Connection, found: Sequence[int], grace: timedelta) -> None:
        boot, ticks = self._ticks(connection)
        now = self._now(connection)
        before = now - grace // _MICROSECOND
        for seq in self._hold_payloads(connection, found):
            done = connection.execute(_CONDEMN, (now, seq, before, before, boot, ticks))
            if done.rowcount:
                connection.execute(_RELINQUISH, (seq,))

    def forget(self, generation: str) -> None:
        # A row that a power cut brings back is still condemned: the next collector forgets it.
        self._write_relaxed(_forget, generation)

    def generations(self, *, after: str = "", limit: int = 10_000) -> list[Payload]:
        sql = f"{_LISTED} WHERE p.generation > ? ORDER BY p.generation LIMIT ?"
        return _payloads(self._query(sql, (after, limit)))

    def weigh(self, blob_ids: Sequence[str]) -> tuple[int, int]:
        mine: Counter[int] = Counter()
        for chunk in _chunks(blob_ids):
            mine.update(dict(self._query(_USED.format(marks=_marks(chunk)), chunk)))
        freed = [
            size
            for chunk in _chunks(list(mine))
            for seq, size, users in self._query(_USERS.format(marks=_marks(chunk)), chunk)
            if users == mine[seq]
        ]
        return len(freed), sum(freed)

    def check(self) -> list[str]:
        problems = self._check_engine()
        for promise, sql in _PROMISES.items():
            found = self._query(f"{sql} LIMIT 20")
            problems += [f"{promise}: {', '.join(map(str, row))}" for row in found]
        return problems

    def _check_engine(self) -> list[str]:
        """Return what the engine itself finds wrong with its files."""
        return []

    def _counts(self) -> dict[str, int]:
        found = self._query(
            " UNION ALL ".join(f"SELECT '{t}', count(*) FROM {t}" for t in _TABLES.split())
        )
        return dict(found)


def _chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _payloads(found: list[Any]) -> list[Payload]:
    listed = (rows.to_payload(row, 0) for row in found)
    return [payload for payload in listed if payload is not None]


@repeatable
def _forget(connection: Connection, generation: str) -> None:
    connection.execute(
        "DELETE FROM payload WHERE generation = ? AND state = 'condemned'", (generation,)
    )
