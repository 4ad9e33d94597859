"""What the cache holds and how it does: sizes, pins, look-ups by day and function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.engine import SqlEngine
from flowblob.model import LookupStats

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection
    from flowblob.drafts import Note

_COUNT = """INSERT INTO lookup (day, name, hits, misses, seconds, size) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (day, name) DO UPDATE SET hits = lookup.hits + excluded.hits,
    misses = lookup.misses + excluded.misses, seconds = lookup.seconds + excluded.seconds,
    size = lookup.size + excluded.size"""

# Named parts are kept once for all versions that share them, so they count once as well. Evicting
# a version must make room at once, though the collector comes later.
_SIZE = """SELECT coalesce(sum(p.size), 0) FROM payload p WHERE p.seq IN (
    SELECT m.payload FROM version_payload m JOIN entry e ON e.version = m.version
    WHERE NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = m.version))"""


_LOOKUP = "day, name, hits, misses, seconds, size"


class Accounting(SqlEngine):
    """Figures of the cache."""

    def touch_entry(self, key: str) -> bool:
        return self._write_relaxed(self._touch_entry, key)

    def _touch_entry(self, connection: Connection, key: str) -> bool:
        now = self._now(connection)
        changed = connection.execute("UPDATE entry SET last_hit_at = ? WHERE key = ?", (now, key))
        return changed.rowcount > 0

    def pin_entry(self, key: str, *, is_pinned: bool) -> bool:
        return self._write(_pin_entry, key, is_pinned)

    def cache_size(self) -> int:
        return int(self._query(_SIZE)[0][0])

    def lookups(self, *, since: datetime | None = None, name: str = "") -> list[LookupStats]:
        where: list[str] = []
        parameters: list[object] = []
        if since is not None:
            where.append("day >= ?")
            parameters.append(since.date().isoformat())
        if name:
            where.append("name = ?")
            parameters.append(columns.comparable(name))
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        found = self._query(
            f"SELECT {_LOOKUP} FROM lookup{condition} ORDER BY day, name", parameters
        )
        return [LookupStats(*row) for row in found]


def _pin_entry(connection: Connection, key: str, pinned: bool) -> bool:
    changed = connection.execute("UPDATE entry SET pinned = ? WHERE key = ?", (int(pinned), key))
    return changed.rowcount > 0


def count_lookups(connection: Connection, notes: Sequence[Note]) -> None:
    """Add the look-ups among the notes to the figures of their day."""
    total: dict[tuple[date, str], list[float]] = defaultdict(lambda: [0, 0, 0.0, 0])
    for note in notes:
        if not note.name:
            continue
        figures = total[note.at.date(), note.name]
        figures[1 if note.role == "miss" else 0] += 1
        figures[2] += note.seconds
        figures[3] += note.size
    # In one order, so that two never wait in a ring.
    for (day, name), figures in sorted(total.items()):
        connection.execute(_COUNT, (day.isoformat(), name, *figures))
