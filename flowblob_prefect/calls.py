"""One try of one task: from the question for a stored result to the storing of a new one.

Prefect's engine takes the steps at different times, and the last one possibly in another context:
`reserving`, `find`, then `take` the stored value, or `enter` the function and `keep` what it
returns, and `release`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from prefect.transactions import get_transaction

from flowblob.cache import reads
from flowblob.checks import utc_now
from flowblob.computation import Computation
from flowblob.errors import FlowblobError, NotFoundError, ReservationHeldError
from flowblob.model import Blob, CacheKey, Read, Run
from flowblob.results import CacheOptions, Hit
from flowblob.wording import duration, size
from flowblob_prefect import links
from flowblob_prefect.records import Binding

if TYPE_CHECKING:
    from prefect.client.schemas.objects import TaskRun
    from prefect.context import TaskRunContext

    from flowblob.store import Store
    from flowblob_prefect.outputs import Output

Logger = logging.Logger | logging.LoggerAdapter[Any]

_REASONS = {
    "expired": "its entry has expired",
    "gone": "the stored payload is missing or damaged, and is made anew",
    "hit": "the stored result cannot be loaded here, and is kept for those who can",
    "read_changed": "a version that it read has changed",
    "unsafe": "nothing here vouches for the stored pickle",
}


class Call:
    """A try whose result is kept and never served to another run: the policy PERSIST_ONLY.

    Args:
        storage_key: The text under which Prefect knows the result.
        output: Where the result goes.
        context: The task run.
        open_store: Opens the store; called when it is needed, since it may be out of reach.
        options: How the result is kept.
    """

    def __init__(
        self,
        storage_key: str,
        output: Output,
        *,
        context: TaskRunContext,
        open_store: Callable[[], Store],
        options: CacheOptions,
    ) -> None:
        self.storage_key = storage_key
        self._output = output
        self._open_store = open_store
        self._options = options
        self._task_run = context.task_run
        self._inputs = links.inputs_of(context)
        self._logger = run_logger()

    def reserving(self) -> Generator[float, None, None]:
        """Look up, and where there is nothing take the right to compute.

        In steps, between which the caller waits for so many seconds: a coroutine without a thread,
        of which a loop has few.
        """
        yield from ()

    def find(self) -> bool:
        """Say whether the result is stored and was loaded; a hit is counted, linked and logged."""
        return False

    def take(self) -> Any:
        """Return the value of the hit, and let go of it.

        Raises:
            NotFoundError: There is none.
        """
        raise NotFoundError(f"The result {self.storage_key} is not served to other runs")

    def enter(self) -> None:
        """Begin to watch what the function reads."""

    def enter_refresh(self) -> None:
        """Do what `enter` does where the engine does not ask whether the result exists."""

    def abandon(self) -> None:
        """Give up while another thread may still be in `reserve`: what it takes, it gives back."""

    def keep(self, value: Any) -> Blob:
        """Store the result and return the version that holds it.

        Raises:
            SerializationError: The value cannot be stored.
            UnavailableError: The store does not answer.
        """
        store, began = self._open_store(), time.perf_counter()
        blob = self._store(store, value)
        Binding(blob.id, blob.ref).bind(store, self.storage_key)
        self._link(blob)
        tell_stored(self._logger, blob, self._output.run, time.perf_counter() - began)
        return blob

    def release(self) -> None:
        """Give back what `reserve` took and forget what `enter` began; idempotent."""

    def _store(self, store: Store, value: Any) -> Blob:
        output, options = self._output.of(value), self._options
        return store.put(
            output.key,
            value,
            run=output.run,
            kind=output.kind or options.kind,
            tags=options.tags,
            metadata=options.metadata,
            serializer=options.serializer,
            history=options.history,
        )

    def _link(self, blob: Blob) -> None:
        """Link the run to its inputs, and let later runs find what it returned."""
        links.remember_made(str(self._task_run.id), blob)
        links.record_inputs(self._open_store(), self._output.run, self._inputs)


class _Reads(list[Read]):
    """What a task reads while it runs: inside a transaction it ends long before it is stored."""

    def __init__(self, task_run: TaskRun) -> None:
        super().__init__()
        self._task_run = task_run

    def append(self, read: Read) -> None:
        if not self._is_over:
            super().append(read)

    def extend(self, found: Iterable[Read]) -> None:
        if not self._is_over:
            super().extend(found)

    @property
    def _is_over(self) -> bool:
        state = self._task_run.state
        return state is not None and state.is_final()


class CachedRun(Call):
    """A try under a cache key: the result may come from another run, and is served to later ones.

    Args:
        key: The cache key.
        output: Where a new result goes.
        is_cached: The task's function is wrapped by `cached`, which reserves and stores by itself.
        refresh: Compute whatever is stored.
        **common: As for Call.
    """

    def __init__(
        self,
        key: CacheKey,
        output: Output,
        *,
        is_cached: bool,
        refresh: bool,
        **common: Any,
    ) -> None:
        super().__init__(str(key), output, **common)
        self._key = key
        self._is_cached = is_cached
        self._is_refresh = refresh
        self._computation: Computation | None = None
        self._hit: Hit | None = None
        self._is_looked_up = False
        self._is_abandoned = False
        self._reads = _Reads(self._task_run)
        self._began = time.perf_counter()

    # ------------------------------------------------------------ before the function

    def reserving(self) -> Generator[float, None, None]:
        """Look up, and where there is nothing wait for whoever computes it, or take the right to.

        Inside a transaction nobody waits: the reservations of its finished tasks are held until it
        commits, so that two transactions could wait for each other for ever.
        """
        if self._is_cached:  # its own reservation would wait for ours
            return
        with self._tolerant("reserve"):
            self._is_looked_up = True
            self._hit = yield from self._prepare(self._steps())
        if self._is_abandoned:
            self.release()

    def _prepare(self, steps: Computation) -> Generator[float, None, Hit | None]:
        try:
            return steps.prepare(wait=timedelta())
        except ReservationHeldError as held:
            if get_transaction() is not None:
                raise
            self._logger.info("waiting for %s, which computes %s", held.holder, self._key.name)
        return (yield from steps.beginning())

    def find(self) -> bool:
        if not self._is_looked_up:
            with self._tolerant("look up"):
                self._is_looked_up = True
                self._hit = self._steps().lookup()
        if self._hit is None:
            self._say_why()
            return False
        self._link(self._hit.blob)
        by = f" by {name_of(self._hit.run)}" if self._hit.run is not None else ""
        saved = duration(self._hit.saved)
        self._logger.info("hit %s%s, saved %s", self._hit.blob.ref, by, saved)
        return True

    def _say_why(self) -> None:
        """Say what is wrong with an entry that there is; that there is none is no news."""
        why = self._computation.why if self._computation is not None else ""
        if why in _REASONS:
            level = logging.WARNING if why == "gone" else logging.INFO
            self._logger.log(level, "miss %s: %s", self._key.name, _REASONS[why])

    def take(self) -> Any:
        hit, self._hit = self._hit, None
        if hit is None and (hit := self._steps().lookup()) is None:
            raise NotFoundError(f"The result {self._key} was removed while it was read")
        return hit.value

    def enter(self) -> None:
        self._began = time.perf_counter()
        if not self._is_cached:
            reads.set(self._reads)

    def enter_refresh(self) -> None:
        if self._is_refresh:
            self.enter()

    def abandon(self) -> None:
        self._is_abandoned = True
        self.release()

    # ------------------------------------------------------------ after the function

    def release(self) -> None:
        if reads.get() is self._reads:
            reads.set(None)
        if self._computation is not None:
            self._computation.abort()

    def _store(self, store: Store, value: Any) -> Blob:
        """Store the result and its entry in one transaction, or find what `cached` has stored."""
        is_served = self._task_run.state is not None and self._task_run.state.is_completed()
        if not is_served:  # a failure that the task returned is nobody else's result
            return super()._store(store, value)
        if self._is_cached:
            return self._by_itself(store) or super()._store(store, value)
        read = tuple(dict.fromkeys(self._reads))
        hit = self._steps().commit(value, cost=self._cost(), read=read)
        return hit.blob if hit is not None else super()._store(store, value)

    def _by_itself(self, store: Store) -> Blob | None:
        """Return what the wrapped function has stored: one entry and one payload are enough."""
        found = store.cache.lookup(self._key)
        if found.why != "hit" or found.entry is None:
            return None
        if self._options.ttl is not None:
            store.cache.expire(self._key, store.cache.time.now() + self._options.ttl)
        return found.entry.blob

    def _cost(self) -> timedelta:
        """Return how long the function ran; a transaction may commit long after it has returned."""
        elapsed = time.perf_counter() - self._began
        state = self._task_run.state
        since = (utc_now() - state.timestamp).total_seconds() if state is not None else 0.0
        return timedelta(seconds=max(elapsed - max(since, 0.0), 0.0))

    def _steps(self) -> Computation:
        if self._computation is None:
            self._computation = Computation(
                self._open_store(),
                self._key,
                output_key=self._output.key,
                options=self._options,
                run=self._output.run,
                refresh=self._is_refresh,
            )
        return self._computation

    @contextmanager
    def _tolerant(self, doing: str) -> Iterator[None]:
        """Let the task compute when the store fails, and say that this was no miss."""
        try:
            yield
        except ReservationHeldError:
            self._logger.debug("%s is computed elsewhere too", self._key.name)
        except FlowblobError as error:
            self._logger.warning(
                "the store failed, so %s is computed without it (this is an outage, not a miss): "
                "could not %s: %s", self._key.name, doing, error,
            )  # fmt: skip


def name_of(run: Run) -> str:
    """Return how a log line calls a run: by its name in Prefect, else by its host and what ran."""
    if run.name:
        return run.name
    return f"{run.system} {'/'.join(filter(None, (run.flow, run.task))) or run.run_id}"


def tell_stored(logger: Logger, blob: Blob, run: Run | None, seconds: float) -> None:
    """Say in the log what a run has stored, or that its result was there already."""
    is_new = run is None or blob.run is None or blob.run.identity == run.identity
    verb = "stored" if is_new else "unchanged"
    logger.info("%s %s %s in %s", verb, blob.ref, size(blob.size), duration(seconds))


def run_logger() -> Logger:
    """Return the logger of the current run, whose lines show in Prefect's pages."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("flowblob")
