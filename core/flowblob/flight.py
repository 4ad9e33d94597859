"""The right to compute one cache key: one caller holds it, the others wait for what it makes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import TYPE_CHECKING

from flowblob.errors import ReservationHeldError, ReservationLostError, UnavailableError
from flowblob.heartbeat import Heartbeat
from flowblob.journal import best_effort
from flowblob.reserving import owner_name

if TYPE_CHECKING:
    from flowblob.abc import Catalog
    from flowblob.model import CacheKey, Reservation

logger = logging.getLogger("flowblob.cached")

#: A waiter sleeps this share of what it has waited so far, and no longer than this.
_POLL_SHARE, _POLL_SECONDS = 0.04, 0.05
#: When a waiter asks for the reservation itself, soon and then ever more rarely; between, it only
#: reads the entry. Asking takes the lock of all writers, which sixty waiters would keep busy.
_ACQUIRE_SECONDS, _ACQUIRE_AT_LAST = 0.2, 1.6

#: Keys that are computed here now: who waited for one of them would wait for himself.
_aboard: ContextVar[frozenset[str]] = ContextVar("flowblob_aboard", default=frozenset())

#: Looks at the entry that stands now; returns its revision where that is not served, or None where
#: the wait is over.
Judge = Callable[[], "int | None"]


@contextmanager
def aboard(key: CacheKey) -> Iterator[None]:
    """Note that a key is computed inside the block."""
    token = _aboard.set(_aboard.get() | {key.digest})
    try:
        yield
    finally:
        _aboard.reset(token)


class Flight:
    """One caller's way to the right to compute a key, and that right.

    Args:
        catalog: Where the reservation stands.
        key: What is computed.
        owner: Who reserves; a fresh name if empty.
        lease: How long the reservation holds without a heartbeat.
        max_hold: How long it holds at most.

    Attributes:
        reservation: The reservation, while it is held; it is kept alive by a thread.
    """

    def __init__(
        self,
        catalog: Catalog,
        key: CacheKey,
        *,
        owner: str = "",
        lease: timedelta,
        max_hold: timedelta,
    ) -> None:
        self._catalog = catalog
        self._key = key
        self._owner = owner or owner_name()
        self._lease = lease
        self._max_hold = max_hold
        self._heartbeat: Heartbeat | None = None
        self._is_cancelled = False
        self.reservation: Reservation | None = None

    def take(
        self, judge: Judge, *, stale_rev: int, wait: timedelta | None
    ) -> Generator[float, None, bool]:
        """Take the reservation, or wait for the entry of another holder.

        Gives the seconds to wait before the next step.

        Args:
            judge: Asked when an entry appears.
            stale_rev: Revision of the entry that was judged already, 0 for none.
            wait: How long to wait for another holder; None for as long as it holds.

        Returns:
            Whether the caller may store what it computes: False where it is itself called by the
            holder, who would be waited for in vain.

        Raises:
            ReservationHeldError: Another holder computes still, after `wait`.
        """
        deadline = None if wait is None else time.monotonic() + wait.total_seconds()
        began, patience = time.monotonic(), _ACQUIRE_SECONDS
        judged: int | None = stale_rev
        while judged is not None:
            got = self._catalog.acquire(
                self._key.digest,
                self._owner,
                ttl=self._lease,
                max_hold=self._max_hold,
                stale_rev=judged,
            )
            if got.reservation is not None:
                self.hold(got.reservation)
            if self._is_cancelled:
                self.release()
            if got.reservation is not None or self._is_cancelled:
                return True
            if got.entry is None and self._key.digest in _aboard.get():
                return False
            seconds = min(got.remaining.total_seconds(), patience)
            patience = min(2 * patience, _ACQUIRE_AT_LAST)
            until = _sooner(time.monotonic() + seconds, deadline)
            if got.entry is not None or (yield from self._appears(began, until, judged)):
                judged = judge()
            elif deadline is not None and time.monotonic() >= deadline:
                raise ReservationHeldError(
                    f"{self._key.name} is being computed by {got.holder}",
                    holder=got.holder,
                    remaining=got.remaining,
                    hint="Wait for it, or call again later",
                )
        return True

    def _appears(self, began: float, until: float, judged: int) -> Generator[float, None, bool]:
        """Wait a little for an entry the caller has not judged yet; reading costs no lock."""
        while (now := time.monotonic()) < until:
            pause = min(max((now - began) * _POLL_SHARE, 0.001), _POLL_SECONDS)
            yield min(pause, until - now)
            if self._is_cancelled:
                return False
            found = self._catalog.glance(self._key.digest)
            if found is not None and found[0].rev != judged:
                return True
        return False

    def hold(self, reservation: Reservation) -> None:
        """Keep a reservation alive from now on."""
        self.reservation = reservation
        self._heartbeat = Heartbeat(reservation.heartbeat_interval, self._beat).start()

    def _beat(self) -> bool:
        try:
            if self.reservation is not None:
                self._catalog.heartbeat(self.reservation)
        except ReservationLostError:
            return False  # the commit is refused then, and takes the winner's value
        except UnavailableError as error:
            logger.warning("%s: the reservation could not be extended: %s", self._key.name, error)
        return True

    def land(self) -> None:
        """Forget the reservation, which the commit of the result has released."""
        self.reservation = None

    def release(self) -> None:
        """Give the reservation back; idempotent."""
        if (held := self.let_go()) is not None:
            with best_effort("Releasing a reservation"):
                self._catalog.release(held)

    def cancel(self) -> None:
        """End a wait in another thread, and give back what that thread may get just now."""
        self._is_cancelled = True
        self.release()

    def let_go(self) -> Reservation | None:
        """Stop to keep the reservation alive, and return it."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        held, self.reservation = self.reservation, None
        return held


def _sooner(until: float, deadline: float | None) -> float:
    return until if deadline is None else min(until, deadline)
