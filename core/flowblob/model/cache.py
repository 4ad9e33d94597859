"""Cache keys, the entries that stand under them, and the right to compute one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flowblob.model.blobs import Blob, Run


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One named part of a cache key, kept so that a miss can be explained.

    Attributes:
        name: `code`, an argument's name, `version`, `salt`, or what else counts.
        kind: `code`, `argument`, `blob`, `version`, `salt`, `package` or `extra`.
        digest: Hash of its value.
        summary: Short repr for people, at most 80 characters, never a secret's value.
    """

    name: str
    kind: str
    digest: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The digest of a call, with the ingredients it was made of.

    Attributes:
        digest: `fb1:<64 hex>`: key scheme and hash.
        name: The function's qualified name, or the `name=` that replaces it.
        ingredients: In a fixed order: code or version, arguments by name, extras.
        module: Where the function was defined; shown, never hashed.
        warnings: What the key could only take by name, or found unstable.
    """

    digest: str
    name: str
    ingredients: tuple[Ingredient, ...]
    module: str = ""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.digest


@dataclass(frozen=True, slots=True)
class Read:
    """A read of the store inside a cached function: what was asked for, and what it was then."""

    ref: str
    blob_id: str


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A finished computation: cache key to blob.

    Attributes:
        key: The cache key's digest.
        name: The function's name.
        rev: Bumped by every write of this entry; 0 means absent.
        blob: The version that holds the result.
        outputs: Named outputs beside the main one: name to blob id.
        run: The run that computed it; an unchanged result is an older run's blob.
        reads: Reads of the store to check again at lookup.
        ingredients: The ingredients of the key.
        created_at: First computation, aware UTC.
        updated_at: Last computation, aware UTC.
        expires_at: When it stops being served, aware UTC; None for never.
        cost: How long the computation took.
        hits: How often it was served.
        last_hit_at: Last time it was served, aware UTC.
        pinned: Whether eviction must leave it.
        metadata: Free JSON-able facts, among them what a host replays on a hit.
    """

    key: str
    name: str
    rev: int
    blob: Blob
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    cost: timedelta = timedelta()
    outputs: Mapping[str, str] = field(default_factory=dict)
    run: Run | None = None
    reads: tuple[Read, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    hits: int = 0
    last_hit_at: datetime | None = None
    pinned: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def saved(self) -> timedelta:
        """Computing time that hits saved so far."""
        return self.cost * self.hits

    def is_expired(self, now: datetime) -> bool:
        """Whether the entry's time to live is over at `now`."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class LookupStats:
    """Look-ups of one function on one day.

    Attributes:
        day: UTC, `2026-11-21`.
        name: The function.
        hits: Look-ups that were served.
        misses: Look-ups that were not.
        seconds: Computing time that the hits saved.
        size: Bytes that the hits gave back.
    """

    day: str
    name: str
    hits: int
    misses: int
    seconds: float
    size: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """A time-bound right to compute one cache key.

    Attributes:
        key: The cache key's digest.
        owner: Who holds it.
        token: Fencing token; grows with every new holder.
        entry_rev: The entry's `rev` when the reservation was given.
        ttl: How long it lasts without a heartbeat.
        expires_in: Time left when the catalog answered.
    """

    key: str
    owner: str
    token: int
    entry_rev: int
    ttl: timedelta
    expires_in: timedelta

    @property
    def heartbeat_interval(self) -> timedelta:
        """How often to extend it: a third of the ttl."""
        return self.ttl / 3
