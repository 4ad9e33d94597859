"""Cache entries: look up, explain, list, drop. What `Store.cache` is.

Computing a missing value under a reservation is `computation.py`; this module only reads and
judges entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from flowblob.abc import Catalog, Payload
from flowblob.errors import NotFoundError
from flowblob.model import CacheEntry, CacheKey, Ingredient, Read, Ref, utc_now

#: Reads of the store inside the cached function that runs now; None outside of one.
reads: ContextVar[list[Read] | None] = ContextVar("flowblob_reads", default=None)

Why = Literal["hit", "absent", "expired", "refresh", "read_changed", "gone"]
Change = Literal["same", "changed", "new", "gone"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Answer of a look-up.

    Attributes:
        why: `hit`, or why it is a miss.
        entry: The entry that was found, servable or not.
        payload: Row of the main payload, with inline bytes, on a hit.
        read: The read that changed, where that is why.
    """

    why: Why
    entry: CacheEntry | None = None
    payload: Payload | None = None
    read: Read | None = None


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


class Cache:
    """The entries of one store.

    Args:
        catalog: Where they are.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def lookup(self, key: CacheKey | str) -> Lookup:
        """Return the entry of a key if it may be served now; one query where nothing was read.

        An expired entry, one whose payload is gone, and one that read a blob which has changed
        since are misses; the next computation replaces them.
        """
        found = self._catalog.entry(key if isinstance(key, str) else key.digest)
        if found is None:
            return Lookup("absent")
        entry, payload = found
        if entry.expires_at is not None and entry.is_expired(utc_now()):
            return Lookup("expired", entry)
        for read in entry.reads:
            now = self._catalog.find(Ref.parse(read.ref))
            if (now.blob.id if now else "") != read.blob_id:
                return Lookup("read_changed", entry, read=read)
        if payload is None or payload.state not in ("ok", "uploading"):
            return Lookup("gone", entry)
        return Lookup("hit", entry, payload)

    def entry(self, key: CacheKey | str) -> CacheEntry:
        """Return an entry, servable or not.

        Raises:
            NotFoundError: There is none.
        """
        digest = key if isinstance(key, str) else key.digest
        found = self._catalog.entries(filters={"key": digest}, limit=1)
        if not found:
            raise NotFoundError(f"No cache entry {digest}", hint="'flowblob cache ls' lists them")
        return found[0]

    def entries(self, *, limit: int | None = None, **filters: str) -> list[CacheEntry]:
        """Return entries, last updated first.

        Args:
            limit: At most so many.
            filters: Equality on `name`, `run_id`, `task_run_id`, `blob_id`.
        """
        return self._catalog.entries(filters=filters, limit=limit)

    def delete(self, key: CacheKey | str) -> None:
        """Remove an entry; the version it pointed at stays.

        Raises:
            NotFoundError: There is none.
        """
        digest = key if isinstance(key, str) else key.digest
        if not self._catalog.delete_entry(digest):
            raise NotFoundError(f"No cache entry {digest}", hint="'flowblob cache ls' lists them")

    def expire(self, key: CacheKey | str, at: datetime | None = None) -> None:
        """Stop serving an entry from `at` on, now if not given.

        Raises:
            NotFoundError: There is none.
        """
        digest = key if isinstance(key, str) else key.digest
        if not self._catalog.expire_entry(digest, at or utc_now()):
            raise NotFoundError(f"No cache entry {digest}", hint="'flowblob cache ls' lists them")

    def explain(self, key: CacheKey) -> Explanation:
        """Say why a call with this key is a hit or a miss, ingredient by ingredient."""
        found = self.lookup(key)
        nearest = self.entry(key) if found.entry else self._nearest(key.name, key.ingredients)
        return Explanation(
            name=key.name,
            key=key.digest,
            why=found.why,
            differences=_compare(nearest.ingredients if nearest else (), key.ingredients),
            entry=found.entry,
            nearest=nearest,
            read=found.read,
        )

    def explain_entry(self, entry: CacheEntry) -> Explanation:
        """Say why a stored entry had to be computed: against the nearest earlier one."""
        nearest = self._nearest(entry.name, entry.ingredients, before=entry)
        return Explanation(
            name=entry.name,
            key=entry.key,
            why="absent",
            differences=_compare(nearest.ingredients if nearest else (), entry.ingredients),
            entry=entry,
            nearest=nearest,
        )

    def _nearest(
        self, name: str, ingredients: tuple[Ingredient, ...], before: CacheEntry | None = None
    ) -> CacheEntry | None:
        """Return the entry of this function that shares most ingredients, newest first."""
        mine: Mapping[str, str] = {found.name: found.digest for found in ingredients}
        candidates = [
            found
            for found in self._catalog.entries(filters={"name": name}, limit=200)
            if before is None or (found.key != before.key and found.created_at <= before.created_at)
        ]
        return max(
            candidates,
            key=lambda entry: (
                sum(mine.get(i.name) == i.digest for i in entry.ingredients),
                entry.updated_at,
            ),
            default=None,
        )


def _compare(before: tuple[Ingredient, ...], now: tuple[Ingredient, ...]) -> tuple[Difference, ...]:
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
