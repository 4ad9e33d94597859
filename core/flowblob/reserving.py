"""Leases for people: `with store.reserve("nightly/features"):` on the catalog's reservations."""

from __future__ import annotations

import logging
import os
import socket
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from flowblob.checks import new_id, parse_duration, validate_key
from flowblob.errors import (
    InvalidInputError,
    ReservationHeldError,
    ReservationLostError,
    UnavailableError,
)
from flowblob.heartbeat import Heartbeat
from flowblob.model import CacheKey, Reservation

if TYPE_CHECKING:
    from flowblob.abc import Catalog

logger = logging.getLogger(__name__)

TTL = timedelta(seconds=30)
MAX_HOLD = timedelta(days=1)
_POLL_SECONDS = 0.05


def owner_name() -> str:
    """Return a name for one owner that no other process or call shares."""
    return f"{socket.gethostname()}/{os.getpid()}/{new_id()[:8]}"


def reservation_key(name: str | CacheKey) -> str:
    """Return the row a name stands for; names of your own never meet a cache key."""
    if isinstance(name, CacheKey):
        return name.digest
    return f"lease:{validate_key(name)}"


class Lease:
    """A reservation that is kept alive until it is released.

    Use it as a context manager. Between a pause of this process and the next heartbeat somebody
    else may take over; what is written with `put(…, reservation=lease)` is then refused.

    Attributes:
        name: What was reserved.
        reservation: The catalog's record, with the fencing token.
    """

    def __init__(self, catalog: Catalog, name: str, reservation: Reservation) -> None:
        self.name = name
        self.reservation = reservation
        self._catalog = catalog
        self._until = time.monotonic() + reservation.expires_in.total_seconds()
        self._heart: Heartbeat | None = None
        self._is_lost = False

    @property
    def owner(self) -> str:
        """Who holds it."""
        return self.reservation.owner

    @property
    def token(self) -> int:
        """Fencing token: grows with every new holder."""
        return self.reservation.token

    @property
    def remaining(self) -> timedelta:
        """Time left without another heartbeat, as far as this process knows."""
        return timedelta(seconds=max(0.0, self._until - time.monotonic()))

    def heartbeat(self) -> None:
        """Extend the lease by its ttl.

        Raises:
            ReservationLostError: Somebody else holds it, or `max_hold` is over.
        """
        self.reservation = self._catalog.heartbeat(self.reservation)
        self._until = time.monotonic() + self.reservation.expires_in.total_seconds()

    def release(self) -> bool:
        """End the lease; returns whether it was still held. Releasing twice is no error."""
        if self._heart is not None:
            self._heart.stop()
            self._heart = None
        return self._catalog.release(self.reservation)

    def keep_alive(self) -> Lease:
        """Extend the lease from a thread of its own, until `release`."""
        self._heart = Heartbeat(self.reservation.heartbeat_interval, self._beat).start()
        return self

    def _beat(self) -> bool:
        try:
            self.heartbeat()
        except ReservationLostError as error:
            logger.warning("The lease %r is lost: %s", self.name, error)
            return False
        except UnavailableError as error:
            logger.warning("The lease %r could not be extended: %s", self.name, error)
        return True

    def __enter__(self) -> Lease:
        return self if self._heart is not None else self.keep_alive()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"Lease({self.name!r}, owner={self.owner!r}, token={self.token})"


def reserve(
    catalog: Catalog,
    name: str | CacheKey,
    *,
    owner: str | None,
    ttl: timedelta | str | float,
    wait: timedelta | str | float | None,
    max_hold: timedelta | str | float,
) -> Lease:
    """Take or extend a lease; see `Store.reserve`."""
    key, shown = reservation_key(name), str(name)
    lasting, holding = parse_duration(ttl, what="ttl"), parse_duration(max_hold, what="max_hold")
    if lasting is None or holding is None:
        raise InvalidInputError("A lease needs a ttl and a max_hold", hint="Write ttl='30s'")
    patience = parse_duration(wait, what="wait")
    deadline = time.monotonic() + (patience.total_seconds() if patience else 0.0)
    mine, stale = owner or owner_name(), 0
    while True:
        got = catalog.acquire(key, mine, ttl=lasting, max_hold=holding, stale_rev=stale)
        if got.reservation is not None:
            return Lease(catalog, shown, got.reservation)
        if got.entry is not None:
            stale = got.entry.rev  # a caller who reserves a cached key means to write it anew
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            raise ReservationHeldError(
                f"{shown!r} is held by {got.holder} for {got.remaining.total_seconds():.1f} s more",
                holder=got.holder,
                remaining=got.remaining,
                hint="Pass wait='1m' to wait for it",
            )
        time.sleep(min(left, _POLL_SECONDS, max(0.001, got.remaining.total_seconds())))
