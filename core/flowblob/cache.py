"""The entries of the task-output cache: what `Store.cache` is.

Computing a missing value under a reservation is `computation.py`; this module reads, judges, writes
and drops entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowblob import telemetry
from flowblob.abc import Catalog
from flowblob.catalogtime import CatalogTime
from flowblob.checks import parse_duration, quote_segment, utc_now, validate_limit
from flowblob.drafts import EntryDraft, Note, Payload, Record
from flowblob.errors import (
    InvalidInputError,
    NotFoundError,
    PayloadMissingError,
    QuotaExceededError,
)
from flowblob.evicting import Evicting
from flowblob.explaining import Explaining, Why
from flowblob.lazy import Lazy
from flowblob.model import CacheEntry, CacheKey, Read, Ref, maker
from flowblob.objects import Objects, PutRequest
from flowblob.stats import Stats

if TYPE_CHECKING:
    from flowblob.journal import Journal
    from flowblob.lazy import Loader
    from flowblob.model import Run
    from flowblob.reserving import Lease

#: Reads of the store inside the cached function that runs now; None outside of one.
reads: ContextVar[list[Read] | None] = ContextVar("flowblob_reads", default=None)

_LISTED = "'flowblob cache ls' lists them"
_make_note = maker(Note)


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


_make_lookup = maker(Lookup)


@dataclass(frozen=True, slots=True)
class Cached:
    """A served entry.

    Attributes:
        value: The main value.
        entry: The entry: what it cost, which run made it, how often it was served.
        outputs: The named outputs, loaded when they are asked.
    """

    value: Any
    entry: CacheEntry
    outputs: Mapping[str, Lazy]


def digest_of(key: CacheKey | str) -> str:
    """Return the text under which an entry stands."""
    return key if isinstance(key, str) else key.digest


class Cache(Explaining, Evicting):
    """The entries of one store.

    Attributes:
        time: The catalog's, by which entries expire.

    Args:
        catalog: Where they are.
        objects: The values they point at.
        loader: The store, for lazy outputs.
        journal: Takes records that nobody waits for; what is counted here is written first.
        current_run: Finds the run that is current.
    """

    def __init__(
        self,
        catalog: Catalog,
        objects: Objects,
        *,
        loader: Loader,
        journal: Journal,
        current_run: Callable[[], Run | None],
    ) -> None:
        self._catalog = catalog
        self.time = CatalogTime(catalog)
        self._objects = objects
        self._loader = loader
        self._note = journal.add
        self._flush = journal.flush
        self._current_run = current_run
        self._warned = set()

    # ------------------------------------------------------------ looking up

    def lookup(self, key: CacheKey | str) -> Lookup:
        """Return the entry of a key if it may be served now; one query where nothing was read.

        An expired entry, one whose payload is gone, and one that read a blob which has changed
        since are misses; the next computation replaces them. Nothing is counted.
        """
        return self._judge(self._catalog.entry(digest_of(key)))

    def glance(self, key: CacheKey | str) -> Lookup:
        """Look up for a caller who keeps the records to himself: others may be given the same."""
        return self._judge(self._catalog.glance(digest_of(key)))

    def _judge(self, found: tuple[CacheEntry, Payload | None] | None) -> Lookup:
        if found is None:
            return Lookup("absent")
        entry, payload = found
        if entry.expires_at is not None and entry.is_expired(self.time.now()):
            return Lookup("expired", entry)
        for read in entry.reads:
            now = self._catalog.find(Ref.parse(read.ref))
            if (now.blob.id if now else "") != read.blob_id:
                return Lookup("read_changed", entry, read=read)
        if payload is None or payload.state not in ("ok", "uploading"):
            return Lookup("gone", entry)
        return _make_lookup("hit", entry, payload, None)

    def get(self, key: CacheKey | str) -> Cached:
        """Return the value of a key; counts a hit or a miss.

        Raises:
            NotFoundError: Nothing may be served: absent, expired, or what it read has changed.
            PayloadError: The stored bytes are missing or damaged.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.cache.put("nightly/rows", 1204, ttl="1d")
            >>> store.cache.get("nightly/rows").value
            1204
        """
        found = self.lookup(key)
        if found.why != "hit" or found.entry is None:
            self.count_miss(key if isinstance(key, str) else key.name)
            raise NotFoundError(f"The cache has no {digest_of(key)}: {found.why}", hint=_LISTED)
        value = self._objects.load(Record(found.entry.blob, found.payload))
        self.count_hit(found.entry, self._current_run())
        return Cached(value, found.entry, self._outputs(found.entry))

    def _outputs(self, entry: CacheEntry) -> dict[str, Lazy]:
        found = {name: self._catalog.find(Ref(id=blob)) for name, blob in entry.outputs.items()}
        gone = [name for name, record in found.items() if record is None]
        if gone:
            raise PayloadMissingError(
                f"The outputs {', '.join(gone)} of {entry.key} were deleted", hint="Compute again"
            )
        return {name: Lazy(self._loader, rec.blob) for name, rec in found.items() if rec}

    def count_hit(self, entry: CacheEntry, run: Run | None) -> None:
        """Record that an entry was served: its use by the run, its hit count, the statistics."""
        name, blob, seconds = entry.name, entry.blob, entry.cost.total_seconds()
        if telemetry.is_counting():
            telemetry.count("cache.hits", function=name)
            telemetry.count("cache.seconds_saved", seconds, function=name)
        now = utc_now()
        self._note(_make_note(now, run, blob.id, "cache_hit", entry.key, name, seconds, blob.size))

    def count_miss(self, name: str) -> None:
        """Record that a look-up was not served."""
        telemetry.count("cache.misses", function=name)
        self._note(Note(utc_now(), role="miss", name=name))

    def key(
        self,
        function: Callable[..., Any] | str,
        inputs: Mapping[str, Any],
        *,
        version: str | None = None,
        name: str | None = None,
    ) -> CacheKey:
        """Return the cache key of a call, as `@cached` and the hosts make it.

        Args:
            function: The plain function; or only its name, where the code is elsewhere: that needs
                `version`, and all of its inputs.
            inputs: Its arguments by name; defaults are filled in.
            version: Stands in the key instead of the code; needs a name.
            name: Stands in the key instead of the function's name.

        Raises:
            InvalidInputError: A name without a version, or an input that cannot be hashed.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> def double(x, by=2):
            ...     return x * by
            >>> store.cache.key(double, {"x": 4}) == store.cache.key(double, {"x": 4, "by": 2})
            True
            >>> store.cache.key("train", {"rows": 3}, version="7").name
            'train'
        """
        from flowblob.keys import Recipe, stand_in

        if isinstance(function, str):
            name, function = name or function, stand_in(function, inputs, version)
        return Recipe(function, name=name, version=version).key((), dict(inputs))

    # ------------------------------------------------------------ writing

    def put(
        self,
        key: CacheKey | str,
        value: Any,
        *,
        overwrite: bool = False,
        max_age: timedelta | str | float | None = None,
        ttl: timedelta | str | float | None = None,
        metadata: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        cost: timedelta | None = None,
        name: str = "",
        reservation: Lease | None = None,
    ) -> CacheEntry:
        """Store a value under a cache key.

        Value and entry become visible together. Of concurrent puts without `overwrite` exactly
        one wins. An overwritten entry keeps `created_at` and moves `updated_at`.

        Args:
            key: A cache key, or any text of your own.
            value: Anything `Store.put` takes.
            overwrite: Replace an entry that stands.
            max_age: Replace an entry that was last written longer ago than this.
            ttl: How long it is served.
            metadata: JSON-able facts, kept with the entry.
            outputs: Further named values, each a blob of its own.
            cost: How long computing it took.
            name: Key under which the value becomes a version; `cache/<key's name>` by default.
            reservation: A lease on the key: the put is refused once somebody else holds it.

        Raises:
            AlreadyExistsError: An entry that may be served stands.
            ReservationLostError: Somebody else holds the lease.
            QuotaExceededError: The quota is used up and nothing may be evicted.
        """
        full = key if isinstance(key, CacheKey) else CacheKey(_checked(key), key, ())
        base = name or f"cache/{quote_segment(full.name)}"
        expires = parse_duration(ttl, what="ttl")
        made = {
            output: self._objects.put(f"{base}/{quote_segment(output)}", item, self._request()).blob
            for output, item in (outputs or {}).items()
        }
        draft = EntryDraft(
            key=full,
            reservation=reservation.reservation if reservation else None,
            cost=cost or timedelta(),
            expires_at=self.time.now() + expires if expires else None,
            metadata=dict(metadata or {}),
            outputs={output: blob.id for output, blob in made.items()},
            overwrite=overwrite,
            max_age=parse_duration(max_age, what="max_age"),
        )
        self._objects.put(base, value, self._request(draft))
        made_now = self.entry(full)
        try:
            self.make_room(keep=made_now.key)
        except QuotaExceededError:
            self._evict(made_now)
            raise
        return made_now

    def _request(self, entry: EntryDraft | None = None) -> PutRequest:
        return PutRequest(run=self._current_run(), entry=entry)

    def delete(self, key: CacheKey | str) -> None:
        """Remove an entry; the version it pointed at stays.

        Raises:
            NotFoundError: There is none.
        """
        self._required(self._catalog.delete_entry(digest_of(key)), key)

    def expire(self, key: CacheKey | str, at: datetime | None = None) -> None:
        """Stop serving an entry from `at` on, now if not given.

        Raises:
            NotFoundError: There is none.
        """
        self._required(self._catalog.expire_entry(digest_of(key), at or self.time.now()), key)

    def touch(self, key: CacheKey | str) -> None:
        """Count an entry as used now, so that eviction and retention leave it longer.

        Raises:
            NotFoundError: There is none.
        """
        self._required(self._catalog.touch_entry(digest_of(key)), key)

    def pin(self, key: CacheKey | str) -> None:
        """Keep an entry from eviction and retention.

        Raises:
            NotFoundError: There is none.
        """
        self._required(self._catalog.pin_entry(digest_of(key), is_pinned=True), key)

    def unpin(self, key: CacheKey | str) -> None:
        """Leave an entry to eviction and retention again.

        Raises:
            NotFoundError: There is none.
        """
        self._required(self._catalog.pin_entry(digest_of(key), is_pinned=False), key)

    def invalidate(self, pattern: str = "*", **filters: Any) -> int:
        """Remove the entries whose function's name matches; their versions stay.

        Args:
            pattern: Name with `*` and `?`, such as `"features*"`.
            **filters: As for `entries`.

        Returns:
            How many were removed.
        """
        found = self._catalog.entries(filters={"pattern": pattern, **filters})
        return sum(self._catalog.delete_entry(entry.key) for entry in found)

    def _required(self, found: bool, key: CacheKey | str) -> None:
        if not found:
            raise NotFoundError(f"No cache entry {digest_of(key)}", hint=_LISTED)

    # ------------------------------------------------------------ listing

    def entry(self, key: CacheKey | str) -> CacheEntry:
        """Return an entry with its ingredients, servable or not.

        Raises:
            NotFoundError: There is none.
        """
        self._flush()
        found = self._catalog.entries(filters={"key": digest_of(key)}, limit=1)
        if not found:
            raise NotFoundError(f"No cache entry {digest_of(key)}", hint=_LISTED)
        return found[0]

    def entries(self, *, limit: int | None = None, **filters: Any) -> list[CacheEntry]:
        """Return entries, last updated first.

        Args:
            limit: At most so many.
            **filters: Equality on `key`, `name`, `system`, `flow`, `task`, `run_id`, `task_run_id`,
                `blob_id`, `pinned` and `tags`; `pattern` on the name; `older_than` and
                `unused_for`, durations; `min_size` and `max_size`, bytes.
        """
        for name in ("older_than", "unused_for"):
            if (length := parse_duration(filters.pop(name, None), what=name)) is not None:
                filters[name] = self._catalog.now() - length
        self._flush()
        return self._catalog.entries(filters=filters, limit=validate_limit(limit))

    def stats(self, *, since: timedelta | str | float | None = None, name: str = "") -> Stats:
        """Return hits, misses and what was saved, by function and by day.

        Args:
            since: Only so far back.
            name: Only this function.
        """
        length = parse_duration(since, what="since")
        self._flush()
        rows = self._catalog.lookups(since=utc_now() - length if length else None, name=name)
        return Stats.of(rows)


def _checked(key: str) -> str:
    if not key or len(key) > 512 or "\x00" in key:
        raise InvalidInputError(
            f"Invalid cache key {key[:80]!r}", hint="Text of 1 to 512 characters"
        )
    return key
