"""One call of one function under one cache key: look up, reserve, compute, commit.

`@cached` runs the steps in one go; hosts that compute elsewhere (an engine, a deferred task) take
them one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flowblob import telemetry
from flowblob.cache import Lookup, reads
from flowblob.drafts import EntryDraft, Record
from flowblob.errors import (
    FlowblobError,
    PayloadCorruptError,
    PayloadMissingError,
    PayloadUnsafeError,
    ReservationHeldError,
    ReservationLostError,
    UnavailableError,
)
from flowblob.flight import Flight, aboard
from flowblob.journal import best_effort
from flowblob.lazy import Lazy
from flowblob.model import CacheEntry, CacheKey, Read, Reservation, Run, maker
from flowblob.pausing import sleep_through
from flowblob.results import CacheOptions, Hit
from flowblob.wording import duration, size

if TYPE_CHECKING:
    from flowblob.store import Store

logger = logging.getLogger("flowblob.cached")

_make_hit, _make_record = maker(Hit), maker(Record)


class Computation:
    """The steps of one cached call.

    Args:
        store: Where results are kept.
        key: The cache key of the call.
        output_key: Key under which a new result becomes a version; a function is asked at commit.
        options: How it is kept and served.
        run: The run it belongs to; the current one by default.
        refresh: Compute although a result is stored.
        owner: Who reserves, the same for all steps of one call; a fresh name by default.
    """

    def __init__(
        self,
        store: Store,
        key: CacheKey,
        *,
        output_key: str | Callable[[], str],
        options: CacheOptions,
        run: Run | None = None,
        refresh: bool = False,
        owner: str = "",
    ) -> None:
        self._store = store
        self._owner = owner
        self._key = key
        self._output_key = output_key
        self._options = options
        self._run = run
        self._mode = store.settings.cache
        self._refresh = refresh or self._mode == "refresh"
        self._stale_rev = 0
        self._flight: Flight | None = None  # a hit never has one
        self._is_cancelled = False
        #: False when the result must not be stored: the cache is off, failing, or keeps an entry
        #: that this process cannot load.
        self._keeps = self._mode in ("on", "refresh")
        self._why = "absent"
        self._look_up = store.cache.lookup

    @property
    def reservation(self) -> Reservation | None:
        """The reservation this call computes under, if it holds one."""
        return None if self._flight is None else self._flight.reservation

    @property
    def why(self) -> str:
        """Why the call is computed.

        `absent`, `expired`, `refresh`, `read_changed`, `gone`, or `unsafe`: nothing vouches for it.
        """
        return self._why

    # ------------------------------------------------------------ the steps

    def lookup(self) -> Hit | None:
        """Return the stored result if it may be served; records the use and counts the hit."""
        hit = None
        if self._mode != "off":
            with telemetry.span("lookup", function=self._key.name), self._tolerant("looking up"):
                hit = self._serve(self._look_up(self._key))
                if hit is None:
                    self._store.cache.count_miss(self._key.name)
        return hit

    def begin(self, *, wait: timedelta | None = None) -> Hit | None:
        """Take the reservation, or return the result that another holder made meanwhile.

        Args:
            wait: How long to wait for another holder; None for as long as it holds.

        Raises:
            ReservationHeldError: Another holder computes still, after `wait`.
        """
        return sleep_through(self.beginning(wait))

    def beginning(self, wait: timedelta | None = None) -> Generator[float, None, Hit | None]:
        """Begin in steps, and give the seconds to wait before the next; returns as `begin`."""
        if self._key.warnings and self._keeps:
            self._store.cache.warn(self._key)
        hit: Hit | None = None

        def judge() -> int | None:
            nonlocal hit
            hit = self._serve(self._look_up(self._key))
            return self._stale_rev if hit is None and self._keeps else None

        if self._keeps and self._options.single_flight:
            with self._tolerant("reserving"):
                flight = self._board()
                if not (yield from flight.take(judge, stale_rev=self._stale_rev, wait=wait)):
                    self._keeps = False  # the caller further up stores the result
        return hit

    def _board(self) -> Flight:
        lease, max_hold = self._options.lease, self._options.max_hold
        self._flight = Flight(
            self._store.catalog, self._key, owner=self._owner, lease=lease, max_hold=max_hold
        )
        if self._is_cancelled:  # meanwhile, by another thread, which saw none yet
            self._flight.cancel()
        return self._flight

    def commit(
        self,
        value: Any,
        *,
        cost: timedelta,
        read: tuple[Read, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> Hit | None:
        """Store the result and its entry in one transaction; None where nothing could be stored.

        Returns:
            What the cache now holds: this result, or the winner's where the reservation was lost.
        """
        hit = None
        try:
            if self._keeps:
                with self._tolerant("storing the result of"):
                    hit = self._put(value, cost, read, metadata or {})
        finally:
            self.abort()
        return hit

    def cancel(self) -> None:
        """End a wait in another thread, and give back what that thread may get just now."""
        self._is_cancelled = True
        if self._flight is not None:
            self._flight.cancel()

    def abort(self) -> None:
        """Give the reservation back; idempotent."""
        if self._flight is not None:
            self._flight.release()

    def suspend(self, lease: timedelta) -> Reservation | None:
        """Keep the reservation for so long without heartbeats, for `resume` in another process."""
        held = None if self._flight is None else self._flight.let_go()
        if held is not None:
            with self._tolerant("suspending"):
                held = self._store.catalog.heartbeat(replace(held, ttl=lease))
        return held

    def resume(self, reservation: Reservation) -> None:
        """Go on under a suspended reservation; if it was lost, the commit finds out."""
        self._board().hold(replace(reservation, ttl=self._options.lease))

    def prepare(self, *, wait: timedelta | None = None) -> Hit | None:
        """Look up, then reserve: None means the caller is to compute.

        Args:
            wait: How long to wait for another holder; None for as long as it holds.

        Raises:
            ReservationHeldError: Another holder computes still, after `wait`.
        """
        hit = self._find()
        if hit is None:
            hit = self.begin(wait=wait)
        self._say(hit)
        return hit

    def preparing(self) -> Generator[float, None, Hit | None]:
        """Prepare in steps, and give the seconds to wait before the next; returns as `prepare`."""
        hit = self._find()
        if hit is None:
            hit = yield from self.beginning()
        self._say(hit)
        return hit

    def _find(self) -> Hit | None:
        if not self._refresh:
            return self.lookup()
        if self._keeps:
            self._note_stale()
        return None

    def _say(self, hit: Hit | None) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        if hit is not None:
            logger.info("%s", hit, extra=hit.told("hit", self._why))
        elif self._why == "absent":
            with best_effort("Explaining a miss"):
                self._why = self._store.cache.explain(self._key).because

    def finish(self, value: Any, began: float, read: list[Read]) -> Any:
        """Commit what was computed and return what the caller of the function gets."""
        hit = self.keep(value, began, read)
        return value if hit is None else hit.value

    def keep(
        self,
        value: Any,
        began: float,
        read: list[Read],
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> Hit | None:
        """Commit what was computed and say so in the log; None where nothing could be stored."""
        seconds = time.perf_counter() - began
        outer = reads.get()
        if outer is not None:
            outer.extend(read)
        hit = self.commit(
            value,
            cost=timedelta(seconds=seconds),
            read=tuple(dict.fromkeys(read)),
            metadata=metadata,
        )
        if hit is not None and logger.isEnabledFor(logging.INFO):
            logger.info(
                "miss %s: %s; stored %s %s (%s)",
                self._key.name,
                self._why,
                hit.blob.ref,
                size(hit.blob.size),
                duration(seconds),
                extra=hit.told("miss", self._why),
            )
        return hit

    def run(self, compute: Callable[[], Any]) -> Any:
        """Return the stored result, or compute it, once for all callers."""
        if not self._options.lazy:
            self._look_up = self._store.cache.glance  # only the value leaves this method
        hit = self.prepare()
        if hit is not None:
            return hit.value
        with telemetry.span("compute", function=self._key.name), self.computing() as (began, read):
            value = compute()
        return self.finish(value, began, read)

    @contextmanager
    def computing(self) -> Iterator[tuple[float, list[Read]]]:
        """Track what the function reads, and give the reservation back should it raise."""
        tracked: list[Read] = []
        token = reads.set(tracked)
        try:
            with aboard(self._key):
                yield time.perf_counter(), tracked
        except BaseException:
            self.abort()
            raise
        finally:
            reads.reset(token)

    # ------------------------------------------------------------ serving

    def _serve(self, found: Lookup) -> Hit | None:
        self._why = found.why
        if found.entry is not None:
            self._stale_rev = found.entry.rev
        if found.why != "hit" or found.entry is None:
            return None
        try:
            value = self._value(found)
        except (PayloadMissingError, PayloadCorruptError) as error:
            # The next commit replaces the entry and its payload: the store heals itself.
            logger.warning("%s: %s. It is computed again.", self._key.name, error)
            self._why = "gone"
            return None
        except UnavailableError:
            raise
        except PayloadUnsafeError as error:
            # Kept until one that can be loaded takes its place, which only a signed one could.
            logger.warning("%s: %s. It is computed again.", self._key.name, error)
            self._why = "unsafe"
            self._keeps = self._keeps and self._store.objects.trust.can_sign
            return None
        except FlowblobError as error:
            logger.warning(
                "%s: the stored result cannot be loaded here, and is kept: %s",
                self._key.name,
                error,
            )
            self._keeps = False
            return None
        self._count(found.entry)
        return _make_hit(value, found.entry)

    def _value(self, found: Lookup) -> Any:
        assert found.entry is not None
        if self._options.lazy:
            self._store.objects.check_trust(found.entry.blob)
            return Lazy(self._store, found.entry.blob)
        return self._store.objects.load(_make_record(found.entry.blob, found.payload))

    def _count(self, entry: CacheEntry) -> None:
        self._store.cache.count_hit(entry, self._run or self._store.current_run())
        outer = reads.get()
        if outer is not None:
            outer.extend(entry.reads)

    def _note_stale(self) -> None:
        with self._tolerant("looking up"):
            found = self._store.cache.lookup(self._key)
            self._stale_rev = found.entry.rev if found.entry else 0
            self._why = "refresh"

    # ------------------------------------------------------------ storing

    def _put(
        self, value: Any, cost: timedelta, read: tuple[Read, ...], metadata: Mapping[str, Any]
    ) -> Hit | None:
        options, run = self._options, self._run or self._store.current_run()
        entry = EntryDraft(
            key=self._key,
            reservation=self.reservation,
            cost=cost,
            expires_at=None if options.ttl is None else self._store.cache.time.now() + options.ttl,
            reads=read,
            metadata=dict(metadata),
        )
        request = options.request(
            entry, run=run, value_digest=_digest(value), new_version=self._why == "unsafe"
        )
        name = self._output_key if isinstance(self._output_key, str) else self._output_key()
        try:
            commit = self._store.objects.put(name, value, request)
        except ReservationLostError:
            logger.info("%s: another caller was faster, its result is taken", self._key.name)
            return self._serve(self._look_up(self._key))
        if self._flight is not None:
            self._flight.land()
        with best_effort("Keeping the cache within its quota"):
            self._store.cache.make_room(keep=self._key.digest)
        made = entry.made(commit.blob, run)
        return Hit(Lazy(self._store, commit.blob) if options.lazy else value, made)

    def _tolerant(self, doing: str) -> _Tolerance:
        """Turn a failing cache into an uncached call, said aloud, unless errors were asked for."""
        return _Tolerance(self, doing)

    def _failed(self, doing: str, error: BaseException) -> bool:
        """Say whether the call goes on without the cache."""
        if not isinstance(error, FlowblobError) or isinstance(error, ReservationHeldError):
            return False
        if self._options.on_error == "raise":
            return False
        self._keeps = False
        logger.warning("%s is not cached: %s it failed: %s", self._key.name, doing, error)
        return True


class _Tolerance:
    """A context manager; one made by a generator takes 1.5 us more of every hit."""

    __slots__ = ("_computation", "_doing")

    def __init__(self, computation: Computation, doing: str) -> None:
        self._computation = computation
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return error is not None and self._computation._failed(self._doing, error)


def _digest(value: Any) -> str:
    """Hash the value now that it is in memory: a lazy reader never fetches it for that."""
    from flowblob.keys import portable_digest

    try:
        # Where the user's own code counts in the digest, it may change, and nothing is kept.
        return portable_digest(value)
    except FlowblobError:
        return ""  # not hashable by our rules: only lazy arguments need it, and they say so then
