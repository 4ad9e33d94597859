"""Prefect's lock manager on the catalog: one that a crashed holder cannot block for ever.

A lock is a reservation with a heartbeat of this process: it ends when it is released, when the
process dies (30 seconds later), or when `hold_timeout` is over.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from prefect.locking.protocol import LockManager
from prefect.transactions import get_transaction

from flowblob.errors import FlowblobError, ReservationLostError, UnavailableError
from flowblob.heartbeat import Heartbeat
from flowblob.model import Reservation
from flowblob.pausing import sleep_through, wait_through
from flowblob_prefect import stores
from flowblob_prefect.calls import run_logger

if TYPE_CHECKING:
    from flowblob.store import Store

_LEASE = timedelta(seconds=30)
_MAX_HOLD = timedelta(days=7)
#: A holder that says how long it holds needs no heartbeat; anything shorter could not be measured.
_MIN_HOLD = timedelta(milliseconds=1)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05


@dataclass(slots=True)
class _Grant:
    """A lock that this process holds.

    Attributes:
        reservation: None where the holder was let through without the lock.
        heartbeat: Extends it; None where its end was fixed when it was taken.
        ends: When a fixed lock ends, on the monotonic clock.
        is_lost: The catalog gave it to somebody else.
    """

    reservation: Reservation | None = None
    heartbeat: Heartbeat | None = None
    ends: float | None = None
    is_lost: bool = False

    @property
    def is_held(self) -> bool:
        return not self.is_lost and (self.ends is None or time.monotonic() < self.ends)


class _Grants:
    """The locks of this process by (store, key, holder); managers are copied, locks are not."""

    lock = threading.Lock()
    held: dict[tuple[str, str, str], _Grant] = {}  # noqa: RUF012 - one table per process


def _forked() -> None:
    # The parent goes on holding its locks; a child has none.
    _Grants.lock, _Grants.held = threading.Lock(), {}


os.register_at_fork(after_in_child=_forked)


class FlowblobLockManager(LockManager):
    """Locks for transactions with the isolation level SERIALIZABLE, on all machines of a store.

    Any text is a key. A lock survives pickling and copying of its manager, and ends 30 seconds
    after the process that holds it has died.

    Args:
        url: The store; empty for that of the current run's block, else the one that hosts find.
        required: Whether a task must have its lock. If not, a store that fails or a lock that
            another transaction of the same run may hold lets it through: computing twice is
            better than failing, or than waiting for ever.

    Example:
        ```python
        one_at_a_time = INPUTS.configure(
            isolation_level="SERIALIZABLE", lock_manager=FlowblobLockManager()
        )
        ```
    """

    def __init__(self, url: str = "", *, required: bool = True) -> None:
        self.url = url
        self.required = required

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FlowblobLockManager) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.url, self.required))

    def __repr__(self) -> str:
        return f"FlowblobLockManager(required={self.required})"

    # ------------------------------------------------------------ taking and giving back

    def acquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Take the lock, waiting for whoever holds it; the same holder may ask again.

        Args:
            key: What is locked.
            holder: Who asks.
            acquire_timeout: Seconds to wait; None for as long as it takes.
            hold_timeout: Seconds until the lock ends by itself; None to hold it until released.

        Returns:
            Whether the lock was taken.

        Raises:
            UnavailableError: The store does not answer, and the lock is required.
        """
        return sleep_through(self._take(key, holder, acquire_timeout, hold_timeout))

    def _take(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None,
        hold_timeout: float | None,
        stop: threading.Event | None = None,
    ) -> Generator[float, None, bool]:
        if not self.required and get_transaction() is not None:
            acquire_timeout = 0
        try:
            taken = yield from self._acquire(key, holder, acquire_timeout, hold_timeout, stop)
        except FlowblobError as error:
            if self.required:
                raise
            run_logger().warning("%s is computed without a lock: %s", key, error)
            taken = False
        if not taken and not self.required and not (stop is not None and stop.is_set()):
            self._keep(key, holder, _Grant())
            return True
        return taken

    async def aacquire_lock(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None = None,
        hold_timeout: float | None = None,
    ) -> bool:
        """Take the lock without blocking the event loop; see `acquire_lock`."""
        stop = threading.Event()
        try:
            return await wait_through(self._take(key, holder, acquire_timeout, hold_timeout, stop))
        except asyncio.CancelledError:  # a step goes on in a thread, and sees that nobody waits
            stop.set()
            self._drop(key, holder)
            raise

    def _acquire(
        self,
        key: str,
        holder: str,
        acquire_timeout: float | None,
        hold_timeout: float | None,
        stop: threading.Event | None,
    ) -> Generator[float, None, bool]:
        grant = self._granted(key, holder)
        if grant is not None and grant.is_held:
            return True
        ttl = _LEASE if hold_timeout is None else max(timedelta(seconds=hold_timeout), _MIN_HOLD)

        def attempt() -> bool:
            # Counted from before the question: the lock must not end here after it ended there.
            ends = None if hold_timeout is None else time.monotonic() + ttl.total_seconds()
            got = self._store.catalog.acquire(_name(key), holder, ttl=ttl, max_hold=_MAX_HOLD)
            if got.reservation is not None:
                self._hold(key, holder, got.reservation, ends)
            return got.reservation is not None

        taken = yield from _poll(attempt, acquire_timeout)
        if taken and stop is not None and stop.is_set():
            self._drop(key, holder)
        return taken

    def _hold(self, key: str, holder: str, reservation: Reservation, ends: float | None) -> None:
        if ends is not None:
            self._keep(key, holder, _Grant(reservation, ends=ends))
            return
        grant, store = _Grant(reservation), self._store

        def beat() -> bool:
            try:
                store.catalog.heartbeat(reservation)
            except ReservationLostError:
                grant.is_lost = True
            except UnavailableError:
                pass  # the lease outlives two missed beats
            return not grant.is_lost

        grant.heartbeat = Heartbeat(reservation.heartbeat_interval, beat).start()
        self._keep(key, holder, grant)

    def release_lock(self, key: str, holder: str) -> None:
        """Give the lock back; giving back one that has ended is no error.

        Raises:
            ValueError: Another holder has it.
        """
        if not self._drop(key, holder) and self._holder(key) not in ("", holder):
            raise ValueError(f"No lock held by {holder} for transaction with key {key}")

    def _drop(self, key: str, holder: str) -> bool:
        """End the grant of this process, if it has one."""
        with _Grants.lock:
            grant = _Grants.held.pop(self._entry(key, holder), None)
        if grant is None:
            return False
        if grant.heartbeat is not None:
            grant.heartbeat.stop()
        if grant.reservation is not None:
            try:
                self._store.catalog.release(grant.reservation)
            except FlowblobError as error:  # it ends by itself; a finished task must not fail here
                run_logger().warning("The lock %s ends by itself, in 30 seconds: %s", key, error)
        return True

    # ------------------------------------------------------------ asking

    def is_locked(self, key: str) -> bool:
        """Say whether anybody holds the lock."""
        return self._is_held_here(key) or self._holder(key) != ""

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Say whether this holder has the lock; answered from this process's own table."""
        grant = self._granted(key, holder)
        return grant is not None and grant.is_held

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock.

        Args:
            key: What is locked.
            timeout: Seconds to wait; None for as long as it takes.

        Returns:
            Whether it is free.
        """
        return sleep_through(_poll(lambda: not self.is_locked(key), timeout))

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the lock, without blocking the event loop."""
        return await wait_through(_poll(lambda: not self.is_locked(key), timeout))

    def _holder(self, key: str) -> str:
        """Return who holds the lock, anywhere; empty if nobody does."""
        held = self._store.catalog.holder(_name(key))
        return "" if held is None else held[0]

    # ------------------------------------------------------------ this process's table

    @property
    def _store(self) -> Store:
        if self.url:
            return stores.store_for(self.url)
        return stores.current() or stores.store_for()

    def _entry(self, key: str, holder: str) -> tuple[str, str, str]:
        return (self.url, key, holder)

    def _granted(self, key: str, holder: str) -> _Grant | None:
        return _Grants.held.get(self._entry(key, holder))

    def _keep(self, key: str, holder: str, grant: _Grant) -> None:
        with _Grants.lock:
            _Grants.held[self._entry(key, holder)] = grant

    def _is_held_here(self, key: str) -> bool:
        with _Grants.lock:
            return any(
                grant.is_held and grant.reservation is not None
                for (url, locked, _), grant in _Grants.held.items()
                if locked == key and url == self.url
            )


def _name(key: str) -> str:
    """Return the reservation's key: never that of a cache entry, and of a length for any engine."""
    return f"lock:{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()}"


def _poll(attempt: Callable[[], bool], timeout: float | None) -> Generator[float, None, bool]:
    """Repeat until it succeeds or the time is over, with pauses; one attempt is always made."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while not attempt():
        left = _LONGEST_PAUSE if deadline is None else deadline - time.monotonic()
        if left <= 0:
            return False
        yield min(pause, left)
        pause = min(pause * 2, _LONGEST_PAUSE)
    return True
