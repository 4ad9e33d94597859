"""Why a call is a hit or a miss: its ingredients against those of the nearest earlier entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flowblob.model import CacheEntry, Ingredient, Read

Why = Literal["hit", "absent", "expired", "refresh", "read_changed", "gone"]
Change = Literal["same", "changed", "new", "gone"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient now, and in the nearest earlier entry."""

    name: str
    kind: str
    change: Change
    before: str = ""
    now: str = ""
    before_digest: str = ""
    now_digest: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a call is a hit or a miss.

    Attributes:
        name: The function.
        key: Digest of its cache key.
        why: `hit`, `absent`, `expired`, `refresh`, `read_changed` or `gone`.
        differences: Every ingredient, compared with the nearest earlier entry.
        entry: The entry of this very key, if there is one.
        nearest: The entry it was compared with, if there is one.
        read: The read of the store that changed, where that is why.
    """

    name: str
    key: str
    why: Why
    differences: tuple[Difference, ...]
    entry: CacheEntry | None = None
    nearest: CacheEntry | None = None
    read: Read | None = None

    @property
    def is_hit(self) -> bool:
        """Whether the call is served from the cache."""
        return self.why == "hit"

    @property
    def changed(self) -> list[str]:
        """Names of the ingredients that differ from the nearest earlier entry."""
        return [found.name for found in self.differences if found.change != "same"]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {
            "name": self.name,
            "key": self.key,
            "why": self.why,
            "changed": self.changed,
            "ingredients": [
                {
                    "name": found.name,
                    "kind": found.kind,
                    "change": found.change,
                    "before": found.before,
                    "now": found.now,
                    "before_digest": found.before_digest,
                    "now_digest": found.now_digest,
                }
                for found in self.differences
            ],
            "nearest": self.nearest.blob.ref if self.nearest else None,
            "entry": self.entry.blob.ref if self.entry else None,
            "run": str(self.entry.run) if self.entry and self.entry.run else None,
            "read": self.read.ref if self.read else None,
        }

    def __str__(self) -> str:
        lines = [self.headline]
        marks = {"same": "=", "changed": "~", "new": "+", "gone": "-"}
        for found in self.differences:
            values = (
                f"{found.before} -> {found.now}"
                if found.change == "changed"
                else found.now or found.before
            )
            lines.append(f"  {marks[found.change]} {found.kind} {found.name}  {values}".rstrip())
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """One sentence that says why."""
        if self.why == "hit" and self.entry:
            run = f" from {self.entry.run}" if self.entry.run else ""
            return f"hit {self.name}: {self.entry.blob.ref}{run}"
        return f"miss {self.name}: {self.because}"

    @property
    def because(self) -> str:
        """Why it is a miss, without the function's name."""
        if self.why == "absent" and self.nearest is None:
            return "no earlier call of it is stored"
        return {
            "absent": ", ".join(f"{name} differs" for name in self.changed)
            or "its entry was removed",
            "expired": "its entry has expired",
            "refresh": "a refresh was asked for",
            "gone": "the stored result is gone",
            "read_changed": f"{self.read.ref if self.read else 'a blob'} that it read changed",
        }.get(self.why, self.why)


def compare(before: tuple[Ingredient, ...], now: tuple[Ingredient, ...]) -> tuple[Difference, ...]:
    """Return every ingredient of either, with what became of it."""
    earlier = {found.name: found for found in before}
    told = []
    for found in now:
        other = earlier.pop(found.name, None)
        change: Change = (
            "new" if other is None else "same" if other.digest == found.digest else "changed"
        )
        if not before:
            change = "new"
        told.append(
            Difference(
                found.name,
                found.kind,
                change,
                before=other.summary if other else "",
                now=found.summary,
                before_digest=other.digest if other else "",
                now_digest=found.digest,
            )
        )
    told += [
        Difference(gone.name, gone.kind, "gone", before=gone.summary, before_digest=gone.digest)
        for gone in earlier.values()
    ]
    return tuple(told)
