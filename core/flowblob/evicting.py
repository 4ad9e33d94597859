"""Keeping the cache within its quota, and its entries no longer than they are used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowblob.errors import QuotaExceededError

if TYPE_CHECKING:
    from flowblob.abc import Catalog
    from flowblob.model import CacheEntry
    from flowblob.objects import Objects


class Evicting:
    """The verbs of the cache that make room."""

    _catalog: Catalog
    _objects: Objects
    _flush: Callable[[], None]

    def entries(self, *, limit: int | None = None, **filters: Any) -> list[CacheEntry]:
        """Return entries, last updated first."""
        raise NotImplementedError

    def make_room(self, *, keep: str = "") -> int:
        """Evict the least recently used entries until the quota holds; returns how many.

        An entry goes together with its version, unless an alias, another entry or a pin keeps that.

        Args:
            keep: Key of an entry to leave alone, as the one that was just written.

        Raises:
            QuotaExceededError: The quota is used up and nothing may be evicted.
        """
        quota = self._objects.settings.cache_quota
        if not quota:
            return 0
        evicted, used = 0, self._catalog.cache_size()
        if used <= quota:
            return 0
        self._flush()  # what was used just now is not idle
        for entry in self._catalog.entries(filters={"pinned": False}, idle_first=True):
            if entry.key != keep and self._evict(entry):
                evicted, used = evicted + 1, self._catalog.cache_size()
            if used <= quota:
                return evicted
        raise QuotaExceededError(
            f"The cache holds {used:,} bytes, its quota is {quota:,}",
            hint="Unpin entries, take aliases away, or raise cache_quota",
        )

    def unused(self, unused_for: timedelta | str | float) -> list[CacheEntry]:
        """Return the entries that were neither served nor written for so long and may go."""
        found = self.entries(unused_for=unused_for, pinned=False)
        return [entry for entry in found if not entry.blob.aliases]

    def drop_unused(self, unused_for: timedelta | str | float) -> int:
        """Evict the entries that were neither served nor written for so long; returns how many."""
        return sum(map(self._evict, self.unused(unused_for)))

    def _evict(self, entry: CacheEntry) -> bool:
        """Drop an entry and, if nothing else wants it, its version; an alias keeps both."""
        if entry.blob.aliases:
            return False
        self._catalog.delete_entry(entry.key)
        if not self._catalog.entries(filters={"blob_id": entry.blob.id}, limit=1):
            self._catalog.drop([entry.blob.id], by="cache eviction")
        return True
