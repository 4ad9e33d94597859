"""`@task` over `@cached`: the function's key is the one it has in any other host.

`cached` marks a function; the listener then gives the running task a function that looks up,
waits, replays and stores. Without the plugin a cached function still works, as in plain Python.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypedDict, TypeVar, Unpack, overload

from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

import flowblob
from flowblob.cached import CachedCall, is_cached
from flowblob.checks import parse_duration
from flowblob.computation import Computation
from flowblob.naming import announce
from flowblob_airflow import references, refusals, runs
from flowblob_airflow.calls import Call, TaskOptions, owner_of, wish_of
from flowblob_airflow.contexts import NEVER_COUNTED, counted, from_context
from flowblob_airflow.inputs import loaded, portable, settled
from flowblob_airflow.stores import store_if_available

if TYPE_CHECKING:
    from flowblob.cached import CachedFunction, StoreSource
    from flowblob.model import TagValue
    from flowblob.results import OnError

P = ParamSpec("P")
R = TypeVar("R")


class CacheKeywords(TypedDict, total=False):
    """Keywords of `flowblob.cached`, which documents them."""

    name: str
    version: str | None
    code: Literal["deep", "function"]
    ignore: Sequence[str]
    salt: str | None
    packages: Sequence[str]
    ttl: timedelta | str | float | None
    store: StoreSource
    kind: str
    tags: Mapping[str, TagValue] | None
    metadata: Mapping[str, Any] | None
    serializer: str | None
    history: bool
    single_flight: bool
    on_error: OnError


@overload
def cached(function: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def cached(
    *,
    on_clear: Literal["refresh", "reuse"] = "refresh",
    on_hit: Literal["return", "skip"] = "return",
    emit_on_hit: bool = True,
    key_context: Sequence[str] = (),
    wait: timedelta | str | float | None = None,
    **options: Unpack[CacheKeywords],
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
def cached(
    function: Callable[..., Any] | None = None,
    /,
    *,
    on_clear: Literal["refresh", "reuse"] = "refresh",
    on_hit: Literal["return", "skip"] = "return",
    emit_on_hit: bool = True,
    key_context: Sequence[str] = (),
    wait: timedelta | str | float | None = None,
    **options: Unpack[CacheKeywords],
) -> Any:
    """Cache the output of a task function; stands below `@task`.

    The key is the function's code and its arguments, as everywhere. What Airflow passes in counts
    only where the function names it: `ds` or `params` by value, `ti`, `dag_run` and the like never.

    Args:
        function: The task function.
        on_clear: A cleared task computes anew (`refresh`), or may be served (`reuse`).
        on_hit: Return the stored result, or `skip` the task.
        emit_on_hit: Whether a hit updates the task's outlet assets.
        key_context: Keys of Airflow's context that count although the function does not name them,
            because it reads them through `get_current_context()`.
        wait: How long to wait in the worker slot for another task that computes the same, before
            the task is rescheduled.
        **options: Those of `flowblob.cached`.

    Example:
        ```python
        @task
        @cached(ttl="7d")
        def features(day: str) -> list[float]: ...
        ```
    """
    if on_clear not in ("refresh", "reuse") or on_hit not in ("return", "skip"):
        raise flowblob.errors.InvalidInputError(
            f"on_clear={on_clear!r}, on_hit={on_hit!r}",
            hint="on_clear is 'refresh' or 'reuse', on_hit is 'return' or 'skip'",
        )
    extra = TaskOptions(
        on_clear=on_clear,
        on_hit=on_hit,
        emit_on_hit=emit_on_hit,
        key_context=tuple(key_context),
        wait=parse_duration(wait, what="wait"),
    )

    def decorate(plain: Callable[..., Any]) -> Any:
        if problem := refusals.of_function(plain):
            raise flowblob.errors.InvalidInputError(problem)
        made: Any = flowblob.cached(**options)(plain)
        made.airflow_options = extra
        return made

    return decorate if function is None else decorate(function)


def adopt(task: Any) -> None:
    """Give a task that is about to execute what Airflow knows about its cached function.

    Args:
        task: The rendered task; this try's own copy.
    """
    function = task.python_callable
    if not is_cached(function):
        return
    if problem := refusals.of_python_task(type(task)) or refusals.of_task(task):
        # A listener cannot fail a task, so the task's own execution does.
        task.execute = functools.partial(refusals.refuse, problem)
        return
    if problem := refusals.of_function(function.cached_call.function):
        task.execute = functools.partial(refusals.refuse, problem)
        return
    call = _without_host_arguments(function.cached_call)
    options = getattr(function, "airflow_options", TaskOptions())
    task.python_callable = _hosted(call, options)
    if hasattr(task, "show_return_value_in_logs") and task.show_return_value_in_logs:
        # Airflow would format the whole result for one log line; ours names the version and size.
        task.show_return_value_in_logs = False


def _without_host_arguments(call: CachedCall) -> CachedCall:
    never = NEVER_COUNTED & inspect.signature(call.function).parameters.keys()
    return call.ignoring(sorted(never)) if never else call


def _hosted(call: CachedCall, options: TaskOptions) -> Callable[..., Any]:
    function = call.compute
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def hosted_async(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = settled(args), settled(kwargs)
            made = _call(call, options, args, kwargs)
            if made is None:
                return await function(*loaded(args), **loaded(kwargs))
            if (served := made.start()) is not None:
                return served.value
            with made.computing():
                value = await function(*loaded(args), **loaded(kwargs))
            return made.finish(value)

        return hosted_async

    @functools.wraps(function)
    def hosted(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = settled(args), settled(kwargs)
        made = _call(call, options, args, kwargs)
        if made is None:
            return function(*loaded(args), **loaded(kwargs))
        if (served := made.start()) is not None:
            return served.value
        with made.computing():
            value = function(*loaded(args), **loaded(kwargs))
        return made.finish(value)

    return hosted


def _call(
    call: CachedCall, options: TaskOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Call | None:
    """Return the cached call of this task try, None where the cache is to be left alone."""
    context = runs.current_context()
    if context is None:
        raise RuntimeError("A task's function was called outside of its task")
    wish = wish_of(context, options)
    if wish.bypass:
        return None
    store = call.explicit_store or store_if_available(call.options.on_error)
    if store is None:
        return None
    passed = {
        name: portable(counted(value)) for name, value in kwargs.items() if _counts(call, name)
    }
    extras = from_context(context, options.key_context)
    key = call.recipe.key(tuple(portable(counted(value)) for value in args), passed, extras=extras)
    run = runs.run_of(context["ti"])
    with announce(call.function, references.output_key(run.flow, run.task, run.map_index)):
        output = call.output_key(args, kwargs, run)
    computation = Computation(
        store,
        key,
        output_key=output,
        options=replace(call.options, lazy=True),
        run=run,
        refresh=wish.refresh,
        owner=owner_of(run),
    )
    return Call(store, key, computation, context, options)


def _counts(call: CachedCall, name: str) -> bool:
    """Say whether an argument counts: what Airflow adds to `**kwargs` does not."""
    named = inspect.signature(call.function).parameters
    return name in named or name not in KNOWN_CONTEXT_KEYS
