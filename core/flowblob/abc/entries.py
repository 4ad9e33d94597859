"""The part of a catalog's contract that is about the cache: entries and reservations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flowblob.drafts import Acquired, Payload
from flowblob.model import CacheEntry, LookupStats, Reservation


class Entries(ABC):
    """Cache entries and the right to compute them; `Catalog` says what holds for every method."""

    @abstractmethod
    def entry(self, key: str) -> tuple[CacheEntry, Payload | None] | None:
        """Return an entry with its blob and main payload in one look-up, expired or not.

        The ingredients are left out; `entries` has them.
        """

    def glance(self, key: str) -> tuple[CacheEntry, Payload | None] | None:
        """Return what `entry` does, to a caller who neither changes the records nor passes them on.

        This is the hot path of every hit: an engine may answer from memory as long as nobody, in
        any process, has committed anything since.
        """
        return self.entry(key)

    @abstractmethod
    def entries(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        idle_first: bool = False,
    ) -> list[CacheEntry]:
        """Return entries whose blob lives, last updated first.

        Args:
            filters: Equality on `key`, `name`, `blob_id`, `system`, `flow`, `task`, `run_id`,
                `task_run_id`, `pinned`, and on each of some `tags`; `pattern` for names, in which
                only `*` and `?` are special; `older_than` and `unused_for`, moments at or before
                which it was updated or used last; `min_size` and `max_size` in bytes.
            limit: At most so many.
            idle_first: Those used longest ago first instead.

        Raises:
            InvalidInputError: A filter of another name.
        """

    @abstractmethod
    def delete_entry(self, key: str) -> bool:
        """Remove an entry; the blob stays. Returns whether there was one."""

    @abstractmethod
    def expire_entry(self, key: str, at: datetime | None) -> bool:
        """Set when an entry stops being served; returns whether there was one."""

    @abstractmethod
    def touch_entry(self, key: str) -> bool:
        """Count an entry as used now; returns whether there was one."""

    @abstractmethod
    def pin_entry(self, key: str, *, is_pinned: bool) -> bool:
        """Keep an entry from eviction, or no longer; returns whether there was one."""

    @abstractmethod
    def cache_size(self) -> int:
        """Return the bytes of all blobs that entries point at, each counted once."""

    @abstractmethod
    def lookups(self, *, since: datetime | None = None, name: str = "") -> list[LookupStats]:
        """Return look-ups by day and function, oldest day first."""

    @abstractmethod
    def acquire(
        self, key: str, owner: str, *, ttl: timedelta, max_hold: timedelta, stale_rev: int = 0
    ) -> Acquired:
        """Take the reservation of a cache key, extend one's own, or say who holds it.

        Args:
            key: The cache key's digest.
            owner: Who asks; the same owner extends.
            ttl: How long the reservation lasts without a heartbeat, on the catalog's clock.
            max_hold: How long heartbeats may keep it at all.
            stale_rev: `rev` of the entry that the caller judged absent (expired, unreadable, to be
                refreshed); any other entry is returned instead of a reservation.
        """

    @abstractmethod
    def heartbeat(self, reservation: Reservation) -> Reservation:
        """Extend a reservation by its ttl.

        Raises:
            ReservationLostError: The token is no longer the one held, or max_hold is over.
        """

    @abstractmethod
    def release(self, reservation: Reservation) -> bool:
        """End a reservation; returns whether it was still held. Idempotent."""

    @abstractmethod
    def holder(self, key: str) -> tuple[str, timedelta] | None:
        """Say who holds a reservation, and for how long without a heartbeat; None for nobody."""
