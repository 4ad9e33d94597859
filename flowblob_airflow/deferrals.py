"""A deferring task keeps its reservation: the token travels in the arguments of its next method."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flowblob.model import Reservation

if TYPE_CHECKING:
    from airflow.sdk.exceptions import TaskDeferred

    from flowblob_airflow.calls import Call

_FIELD = "__flowblob__"
_PLAIN = ("key", "owner", "token", "entry_rev")
#: Lease of a trigger that never times out. When it is over, others may compute; nothing breaks.
_LEASE = timedelta(hours=6)
#: Airflow needs a while to bring the task back after its trigger has fired.
_MARGIN = timedelta(minutes=5)


def carry(call: Call, deferred: TaskDeferred) -> None:
    """Extend the reservation over the deferral, and give it to the method that resumes."""
    method: str | None = deferred.method_name
    if method is None:
        # The trigger itself ends the task: its result never comes back to be stored.
        call.release()
        return
    timeout: Any = deferred.timeout
    if isinstance(timeout, int | float):
        timeout = timedelta(seconds=timeout)
    lease = _LEASE if timeout is None else timeout + _MARGIN
    held = call.suspend(lease)
    carried: dict[str, Any] = {"began": time.time() - call.seconds}
    if held is not None:
        carried |= {name: getattr(held, name) for name in _PLAIN} | {
            "ttl": held.ttl.total_seconds()
        }
    deferred.kwargs = {**(deferred.kwargs or {}), _FIELD: carried}


@dataclass(frozen=True, slots=True)
class Carried:
    """What a cached computation took along.

    Attributes:
        seconds: How long it has been going on, the deferral included.
        reservation: What it is computed under; None where the store had none to give.
    """

    seconds: float
    reservation: Reservation | None


def taken(next_kwargs: Mapping[str, Any] | None) -> tuple[dict[str, Any], Carried | None]:
    """Split what was carried from the arguments of the method.

    Returns:
        The arguments, and what was carried; None where no cached computation was deferred.
    """
    kwargs = dict(next_kwargs or {})
    carried = kwargs.pop(_FIELD, None)
    if carried is None:
        return kwargs, None
    seconds = max(0.0, time.time() - carried["began"])
    if "token" not in carried:
        return kwargs, Carried(seconds, None)
    ttl = timedelta(seconds=carried["ttl"])
    plain = {name: carried[name] for name in _PLAIN}
    return kwargs, Carried(seconds, Reservation(**plain, ttl=ttl, expires_in=ttl))
