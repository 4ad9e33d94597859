"""One try of one cached task: serve it, wait for another that computes it, or compute it.

The steps are the core's; here stands what only Airflow has: a cleared task refreshes, a waiter is
rescheduled, a killed task releases its reservation, a hit pushes XComs and tells assets.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException

from flowblob.errors import FlowblobError, ReservationHeldError
from flowblob_airflow.replay import Recorder, replay
from flowblob_airflow.stores import SECTION
from flowblob_airflow.xcom import for_computed, for_xcom

if TYPE_CHECKING:
    from flowblob import Store
    from flowblob.computation import Computation
    from flowblob.model import CacheKey, Reservation, Run
    from flowblob.results import Hit
    from flowblob_airflow.deferrals import Carried

logger = logging.getLogger("flowblob.airflow")

_active: set[Call] = set()
#: A task that is back before the scheduler has seen its last process end is failed by it, since it
#: takes that end for the new one's.
_RESCHEDULE_SECONDS = 15.0
#: How long a killed task may spend on releasing what it holds.
_RELEASE_SECONDS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """What a cached task does in Airflow beyond what it does anywhere.

    Attributes:
        on_clear: Whether a task that somebody cleared computes anew (`refresh`) or may be served
            (`reuse`). A retry is never a clear.
        on_hit: Whether a hit returns the result, or skips the task.
        emit_on_hit: Whether a hit updates the task's outlet assets.
        key_context: Keys of Airflow's context that count although the function does not name them.
        wait: How long to wait in the worker slot for another task that computes the same.
    """

    on_clear: Literal["refresh", "reuse"] = "refresh"
    on_hit: Literal["return", "skip"] = "return"
    emit_on_hit: bool = True
    key_context: tuple[str, ...] = ()
    wait: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A hit, as what the task returns."""

    value: Any


class Call:
    """The cached computation of a task try.

    Args:
        store: Where results are kept.
        key: Key of the result.
        computation: The core's steps.
        context: Airflow's context.
        options: What Airflow adds.
    """

    def __init__(
        self,
        store: Store,
        key: CacheKey,
        computation: Computation,
        context: Mapping[str, Any],
        options: TaskOptions,
    ) -> None:
        self._store = store
        self._key = key
        self._computation = computation
        self._context = context
        self._options = options
        self._recorder = Recorder(context, store)
        self._began = 0.0
        self._before = 0.0
        self._reads: list[Any] = []

    @property
    def key(self) -> CacheKey:
        """Key of the result."""
        return self._key

    @property
    def computation(self) -> Computation:
        """The core's steps."""
        return self._computation

    def start(self) -> Served | None:
        """Return the stored result, or None when this task is to compute it.

        Raises:
            AirflowRescheduleException: Another task computes it still; this one frees its slot.
            AirflowSkipException: It is stored, and `on_hit` is `skip`.
        """
        self._drop_lost_payload()
        wait = self._options.wait
        if wait is None:
            wait = timedelta(seconds=conf.getfloat(SECTION, "wait_seconds", fallback=10.0))
        try:
            hit = self._computation.prepare(wait=wait)
        except ReservationHeldError as held:
            asked = conf.getfloat(SECTION, "reschedule_seconds", fallback=30.0)
            seconds = max(asked, _RESCHEDULE_SECONDS)
            logger.info("%s. Looking again in %.0f s", held.message, seconds)
            again = datetime.now(UTC) + timedelta(seconds=seconds)
            raise AirflowRescheduleException(again) from held  # type: ignore[no-untyped-call]
        return None if hit is None else Served(self._serve(hit))

    def _drop_lost_payload(self) -> None:
        """Have an entry whose bytes are gone computed again, though a hit does not read them."""
        try:
            payload = self._store.cache.lookup(self._key).payload
            if payload is None or payload.is_inline:
                return
            if self._store.storage.size(payload.name) != payload.stored_size:
                logger.warning(
                    "%s: the stored result is lost, it is computed again", self._key.name
                )
                self._store.catalog.mark(payload.generation, "suspect")
        except FlowblobError:
            return  # the computation meets the same trouble, and says what it means for the task

    def _serve(self, hit: Hit) -> Any:
        task = self._context["task"]
        replay(hit.entry.metadata, self._context, self._store, events=self._options.emit_on_hit)
        if not self._options.emit_on_hit:
            task.outlets = []
        if self._options.on_hit == "skip":
            raise AirflowSkipException(str(hit))
        return for_xcom(hit.blob, task, store=self._store)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute inside the block; the reservation is given back should it raise or be killed."""
        _active.add(self)
        task = self._context["task"]
        task.on_kill = _releasing(self, task.on_kill)
        try:
            with self._computation.computing() as (began, reads), self._recorder.recording():
                self._began, self._reads = began - self._before, reads
                yield
        finally:
            _active.discard(self)

    def finish(self, value: Any) -> Any:
        """Store the result and return what the task returns: the winner's, if another won."""
        hit = self._computation.keep(
            value, self._began, self._reads, metadata=self._recorder.metadata()
        )
        task = self._context["task"]
        if hit is None:
            return value
        if hit.entry.rev:  # from the catalog, so another caller's
            return for_xcom(hit.blob, task, store=self._store)
        return for_computed(value, hit.blob, task, store=self._store)

    def suspend(self, lease: timedelta) -> Reservation | None:
        """Keep the reservation for a deferral; returns it for `resume`."""
        return self._computation.suspend(lease)

    def resume(self, carried: Carried | None) -> bool:
        """Go on after a deferral, under the reservation that was kept over it.

        `dag.test()` loses what was carried; then the reservation is found by its owner.

        Returns:
            Whether the result is to be stored: not if somebody else has stored it meanwhile.
        """
        if carried is None:
            try:
                return self._computation.begin(wait=timedelta()) is None
            except ReservationHeldError:
                return False
        self._before = carried.seconds
        if carried.reservation is not None:
            self._computation.resume(carried.reservation)
        return True

    @property
    def seconds(self) -> float:
        """How long this result has been computed so far, deferrals included."""
        return time.perf_counter() - self._began

    def release(self) -> None:
        """Let others compute; idempotent, and safe inside a signal handler."""
        # In a thread of its own: the handler may have interrupted a holder of the store's locks.
        thread = threading.Thread(target=self._computation.abort, daemon=True)
        thread.start()
        thread.join(_RELEASE_SECONDS)


def _releasing(call: Call, on_kill: Callable[[], None]) -> Callable[[], None]:
    def release_and_kill() -> None:
        call.release()
        on_kill()

    return release_and_kill


def release_all() -> None:
    """Release every reservation that a task of this process holds."""
    for call in list(_active):
        call.release()
        _active.discard(call)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks of the cache for one task try.

    Attributes:
        bypass: Neither read nor write it.
        refresh: Write it only.
    """

    bypass: bool = False
    refresh: bool = False


def owner_of(run: Run) -> str:
    """Return who reserves: one try of one task, deferrals and reschedules included."""
    return f"{run} {run.task_run_id}"


def wish_of(context: Mapping[str, Any], options: TaskOptions) -> Wish:
    """Say what the run's configuration and a clear ask for.

    `dag_run.conf["flowblob"]` may hold `refresh` and `bypass`, each `true` or a list of task ids.
    """
    task = context["task"]
    dag_run = context.get("dag_run")
    asked = (getattr(dag_run, "conf", None) or {}).get("flowblob")
    asked = asked if isinstance(asked, dict) else {}
    return Wish(
        bypass=_names(asked.get("bypass"), task.task_id),
        refresh=_names(asked.get("refresh"), task.task_id)
        or (options.on_clear == "refresh" and is_cleared(context)),
    )


def _names(asked: Any, task_id: str) -> bool:
    return asked is True or (isinstance(asked, list) and task_id in asked)


def is_cleared(context: Mapping[str, Any]) -> bool:
    """Say whether this is the first try after somebody cleared the task.

    Airflow raises `max_tries` by the tries already made when a task is cleared, never for a retry.
    """
    ti, retries = context["ti"], context["task"].retries or 0
    return bool(ti.try_number > 1 and ti.max_tries - retries + 1 == ti.try_number)
