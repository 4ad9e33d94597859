"""How well the cache does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flowblob.model import LookupStats


@dataclass(frozen=True, slots=True)
class Stats:
    """How well the cache does.

    Attributes:
        hits: Look-ups that were served.
        misses: Look-ups that were not.
        seconds_saved: Computing time of the hits.
        bytes_saved: Bytes that hits gave back.
        by_function: The same for each function.
        by_day: The same for each day, UTC, `2026-11-21`.
    """

    hits: int
    misses: int
    seconds_saved: float
    bytes_saved: int
    by_function: Mapping[str, LookupStats]
    by_day: Mapping[str, LookupStats]

    @property
    def hit_rate(self) -> float:
        """Share of look-ups that were served, 0 where there were none."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0

    @classmethod
    def of(cls, rows: list[LookupStats]) -> Stats:
        """Return the sums of what the catalog counted by function and day."""
        whole = _sum(rows, lambda _: "").get("", LookupStats("", "", 0, 0, 0.0, 0))
        by_function = _sum(rows, lambda row: row.name)
        by_day = _sum(rows, lambda row: row.day)
        return cls(whole.hits, whole.misses, whole.seconds, whole.size, by_function, by_day)


def _sum(found: list[LookupStats], group: Callable[[LookupStats], str]) -> dict[str, LookupStats]:
    total: dict[str, LookupStats] = {}
    for row in found:
        name = group(row)
        old = total.get(name, LookupStats(row.day, row.name, 0, 0, 0.0, 0))
        total[name] = LookupStats(
            old.day,
            old.name,
            old.hits + row.hits,
            old.misses + row.misses,
            old.seconds + row.seconds,
            old.size + row.size,
        )
    return total
