"""Any operator class, made to reuse its results."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred

from flowblob.checks import parse_duration, validate_tags
from flowblob.computation import Computation
from flowblob.errors import InvalidInputError
from flowblob.keys import Recipe
from flowblob.naming import named
from flowblob.results import CacheOptions
from flowblob_airflow import deferrals, references, refusals, runs
from flowblob_airflow.calls import Call, TaskOptions, owner_of, wish_of
from flowblob_airflow.contexts import counted, from_context
from flowblob_airflow.inputs import loaded, settled
from flowblob_airflow.stores import store_if_available
from flowblob_airflow.triggers import ReservationTrigger

if TYPE_CHECKING:
    from flowblob.model import CacheKey, Run, TagValue
    from flowblob.results import OnError

T = TypeVar("T", bound=BaseOperator)

#: No method of any operator: a task comes back under it when it has waited in the triggerer.
_WAITED = "__flowblob_waited__"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCache:
    """How the tasks of an operator class are cached; `cached_operator` documents the fields."""

    operator: type[BaseOperator]
    recipe: Recipe
    options: CacheOptions
    task: TaskOptions
    ignore: frozenset[str]
    name: str
    conn_id: str | None
    deferrable: bool


def cached_operator(
    operator: type[T],
    *,
    name: str | None = None,
    version: str | None = None,
    ignore: Sequence[str] = (),
    salt: str | None = None,
    packages: Sequence[str] = (),
    ttl: timedelta | str | float | None = None,
    kind: str = "",
    tags: Mapping[str, TagValue] | None = None,
    metadata: Mapping[str, Any] | None = None,
    single_flight: bool = True,
    on_error: OnError = "compute",
    on_clear: Literal["refresh", "reuse"] = "refresh",
    on_hit: Literal["return", "skip"] = "return",
    emit_on_hit: bool = True,
    key_context: Sequence[str] = (),
    wait: timedelta | str | float | None = None,
    deferrable: bool | None = None,
    flowblob_conn_id: str | None = None,
) -> type[T]:
    """Return an operator class whose tasks reuse their results.

    The key is the operator, the rendered template fields, and what else the operator itself was
    given (not what every operator takes, such as `retries`). A class of the user's own counts by
    its code. Mapping, retries and deferral work as before, and the UI shows the same operator.

    Args:
        operator: Any operator but sensors, branches, and those that start in the triggerer.
        name: Names the output instead of `<dag>/<task>`: a template over the operator's arguments
            and `flow`, `task`, `run_id`. It also stands in the key.
        version: Stands in the key instead of the operator's code.
        ignore: Arguments of the operator that do not count.
        salt: Text that changes every key.
        packages: Distributions whose versions count, such as the operator's provider.
        ttl: How long a result is served.
        kind: Kind of the blobs.
        tags: Tags of the blobs.
        metadata: Metadata of the blobs.
        single_flight: False lets every task compute.
        on_error: `raise` instead of computing when the store fails.
        on_clear: A cleared task computes anew (`refresh`), or may be served (`reuse`).
        on_hit: Return the stored result, or `skip` the task.
        emit_on_hit: Whether a hit updates the task's outlet assets.
        key_context: Keys of Airflow's context that count too.
        wait: How long to wait in the worker slot for another task that computes the same.
        deferrable: Whether to wait for it in the triggerer after that, instead of looking again
            every now and then; by default what Airflow's `[operators] default_deferrable` says.
        flowblob_conn_id: The connection of the store.

    Raises:
        NotSupportedError: This class cannot be cached; the message says why.

    Example:
        ```python
        CachedBash = cached_operator(BashOperator, ttl="7d")
        CachedBash(task_id="count", bash_command="wc -l {{ params.file }}")
        ```
    """
    refusals.check_class(operator)
    known = name or f"{operator.__module__}.{operator.__qualname__}"
    if deferrable is None:
        deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
    cache = OperatorCache(
        operator=operator,
        recipe=Recipe(
            _standing_for(operator), name=known, version=version, salt=salt, packages=packages
        ),
        options=CacheOptions(
            ttl=parse_duration(ttl, what="ttl"),
            kind=kind,
            tags=validate_tags(tags or {}),
            metadata=dict(metadata or {}),
            single_flight=single_flight,
            on_error=on_error,
            lazy=True,
        ),
        task=TaskOptions(
            on_clear=on_clear,
            on_hit=on_hit,
            emit_on_hit=emit_on_hit,
            key_context=tuple(key_context),
            wait=parse_duration(wait, what="wait"),
        ),
        ignore=frozenset(ignore),
        name=name or "",
        conn_id=flowblob_conn_id,
        deferrable=deferrable,
    )
    names = {
        "__module__": operator.__module__,
        "__qualname__": operator.__qualname__,
        "__doc__": operator.__doc__,
        "flowblob_cache": cache,
    }
    # Airflow's metaclass wraps `__init__` and `execute`, so the class is made by it.
    metaclass: Any = type(operator)
    made: type[T] = metaclass(operator.__name__, (CachedTask, operator), names)
    return made


def _standing_for(operator: type) -> Callable[[], type]:
    """Return a function whose code identity is that of the operator class."""

    def operator_class() -> type:
        return operator

    return operator_class


class CachedTask:
    """What `cached_operator` puts in front of an operator class."""

    flowblob_cache: ClassVar[OperatorCache]
    _flowblob_call: Call | None = None

    def execute(self, context: Any) -> Any:
        call = self._flowblob_begin(context)
        try:
            if call is not None and (served := call.start()) is not None:
                return served.value
        except AirflowRescheduleException as busy:
            if call is None or not self.flowblob_cache.deferrable:
                raise
            raise self._flowblob_wait(call) from busy
        self._flowblob_load()
        return self._flowblob_compute(call, functools.partial(super().execute, context))  # type: ignore[misc]

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any
    ) -> Any:
        if next_method == _WAITED:
            return self.execute(context)
        kwargs, carried = deferrals.taken(next_kwargs)
        call = self._flowblob_begin(context)
        if call is not None and not call.resume(carried):
            call = None
        self._flowblob_load()
        resume = functools.partial(super().resume_execution, next_method, kwargs, context)  # type: ignore[misc]
        return self._flowblob_compute(call, resume)

    def _flowblob_wait(self, call: Call) -> TaskDeferred:
        """Return what sends this task to the triggerer until the other one is done."""
        trigger = ReservationTrigger(
            key=call.key.digest, flowblob_conn_id=self.flowblob_cache.conn_id
        )
        return TaskDeferred(trigger=trigger, method_name=_WAITED)

    def _flowblob_compute(self, call: Call | None, compute: Callable[[], Any]) -> Any:
        if call is None:
            return compute()
        deferred: TaskDeferred | None = None
        value = None
        with call.computing():
            try:
                value = compute()
            except TaskDeferred as raised:
                # No failure: the computation goes on in the triggerer, and so does the lease.
                deferred = raised
        if deferred is not None:
            deferrals.carry(call, deferred)
            raise deferred
        return call.finish(value)

    def _flowblob_begin(self, context: Any) -> Call | None:
        """Return this try's cached call, None where the cache is to be left alone."""
        cache = self.flowblob_cache
        wish = wish_of(context, cache.task)
        if wish.bypass:
            return None
        if problem := refusals.of_task(self):
            refusals.refuse(problem, context)
        store = store_if_available(cache.options.on_error, cache.conn_id)
        if store is None:
            return None
        fields = self._flowblob_fields()
        key = self._flowblob_key(fields, context)
        run = runs.run_of(context["ti"])
        computation = Computation(
            store,
            key,
            output_key=self._flowblob_output(fields, run),
            options=cache.options,
            run=run,
            refresh=wish.refresh,
            owner=owner_of(run),
        )
        return Call(store, key, computation, context, cache.task)

    def _flowblob_output(self, fields: dict[str, Any], run: Run) -> str:
        if name := self.flowblob_cache.name:
            told = {"flow": run.flow, "task": run.task, "run_id": run.run_id}
            return named(name, told | fields)
        return references.output_key(run.flow, run.task, run.map_index)

    def _flowblob_key(self, given: dict[str, Any], context: Any) -> CacheKey:
        cache = self.flowblob_cache
        fields = {name: counted(value) for name, value in given.items()}
        extras = from_context(context, cache.task.key_context)
        if shared := fields.keys() & extras.keys():
            raise InvalidInputError(
                f"key_context names {sorted(shared)}, arguments of the operator"
            )
        return cache.recipe.key((), {}, extras=fields | extras)

    def _flowblob_fields(self) -> dict[str, Any]:
        """Return what counts: rendered template fields, and the operator's own arguments."""
        ignored = self.flowblob_cache.ignore | _common_arguments()
        given = getattr(self, "_BaseOperator__init_kwargs", {})
        fields = {name: value for name, value in given.items() if name not in ignored}
        for name in self.template_fields:  # type: ignore[attr-defined]
            if name not in self.flowblob_cache.ignore:
                setattr(self, name, settled(getattr(self, name)))
                fields[name] = getattr(self, name)
        return fields

    def _flowblob_load(self) -> None:
        for name in self.template_fields:  # type: ignore[attr-defined]
            setattr(self, name, loaded(settled(getattr(self, name))))


@functools.cache
def _common_arguments() -> frozenset[str]:
    return frozenset(inspect.signature(BaseOperator.__init__).parameters)
