"""Cache policies: which key a task run has, and who keeps its result."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from prefect.cache_policies import CachePolicy, _None
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE
from prefect.utilities.callables import parameters_to_args_kwargs

from flowblob.cached import CachedCall, is_cached
from flowblob.checks import parse_duration
from flowblob.errors import InvalidInputError
from flowblob.naming import announce
from flowblob.results import CacheOptions
from flowblob_prefect import outputs
from flowblob_prefect.blocks import FlowblobStorage
from flowblob_prefect.calls import CachedRun, Call, run_logger
from flowblob_prefect.locks import FlowblobLockManager
from flowblob_prefect.results import FlowblobResults

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

    from flowblob.model import CacheKey


@dataclass
class FlowblobPolicy(CachePolicy):
    """Reuse results across runs, hosts and machines, by the function's code and its arguments.

    The key is that of `@cached` and of Airflow: the same function with the same arguments is one
    entry everywhere. One run computes, the others wait and take its result.

    `FLOWBLOB - "verbose"` leaves an argument out. `FLOWBLOB + FLOW_PARAMETERS` makes the key depend
    on more, and so leaves the key space that the hosts share.

    Attributes:
        ignore: Arguments that do not count; names that a task does not take are passed over.
        name: Name of the output, a template over the arguments and the run: `"features/{region}"`.
            By default `<flow>/<task>`.
        version: Stands in the key instead of the code; needs `name`.
        code: `deep` follows the user's own functions and classes, `function` stops at the body.
        salt: Text that changes every key.
        packages: Distributions whose versions count.
        ttl: How long a result is served; a task's `cache_expiration` goes before it.
        kind: Kind of the blobs.
        tags: Tags of the blobs.
        metadata: Metadata of the blobs.
        serializer: Format of the results.
        history: False keeps only the newest result of a name.
        others: Policies that were added.

    Example:
        ```python
        @task(cache_policy=FLOWBLOB - "verbose", cache_expiration=timedelta(days=7))
        def embed(texts, verbose=False): ...
        ```
    """

    isolation_level: Any = "SERIALIZABLE"
    lock_manager: Any = field(default_factory=lambda: FlowblobLockManager(required=False))
    ignore: tuple[str, ...] = ()
    name: str = ""
    version: str | None = None
    code: Literal["deep", "function"] = "deep"
    salt: str | None = None
    packages: tuple[str, ...] = ()
    ttl: timedelta | str | float | None = None
    kind: str = ""
    tags: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    serializer: str | None = None
    history: bool = True
    others: tuple[CachePolicy, ...] = ()

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if isinstance(other, _None) or other == self:
            return self
        if isinstance(other, FlowblobPolicy):
            raise InvalidInputError(
                "Two FlowblobPolicy objects cannot be added",
                hint="Give the options to one: FlowblobPolicy(ignore=..., ttl=...)",
            )
        return replace(
            self,
            key_storage=other.key_storage or self.key_storage,
            # What the other policy asks for was written by somebody, ours is a default.
            isolation_level=other.isolation_level or self.isolation_level,
            lock_manager=other.lock_manager or self.lock_manager,
            others=(*self.others, other),
        )

    def __sub__(self, other: str) -> CachePolicy:
        if not isinstance(other, str):
            raise TypeError("Can only subtract strings from key policies.")
        others = tuple(policy - other for policy in self.others)
        return replace(self, ignore=(*self.ignore, other), others=others)

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the key of this task run, and put our results in the place of the task's own.

        Raises:
            InvalidInputError: An argument has no lasting identity; the message names it.
        """
        if task_ctx.task.isgenerator:
            _warn_generator(task_ctx.task.name)
            return None
        extras = self._extras(task_ctx, inputs, flow_parameters, **kwargs)
        function: Any = task_ctx.task.fn
        is_own = is_cached(function) and not extras and self._recipe() == FlowblobPolicy()._recipe()
        call = function.cached_call if is_own else self._call(function)
        args, keywords = parameters_to_args_kwargs(function, inputs)
        key = call.recipe.key(args, keywords, extras)
        for warning in key.warnings:
            run_logger().warning("%s: %s", key.name, warning)
        output = outputs.of_task(task_ctx)
        with announce(call.function, output.key):
            output = replace(output, key=call.output_key(args, keywords, output.run))
        self._install(task_ctx, key, output, call=call, is_cached=is_own)
        return str(key)

    def _extras(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        for number, policy in enumerate(self.others):
            added = policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs)
            if added is not None:
                found[f"{type(policy).__name__} {number}"] = added
        return found

    def _install(
        self,
        task_ctx: TaskRunContext,
        key: CacheKey,
        output: outputs.Output,
        *,
        call: CachedCall,
        is_cached: bool,
    ) -> None:
        storage = task_ctx.result_store.result_storage
        if not isinstance(storage, FlowblobStorage):
            _warn_foreign(task_ctx.task.name, type(storage).__name__)
            return
        task = task_ctx.task
        options = call.options if is_cached else self._options()
        if task.cache_expiration is not None:
            options = replace(options, ttl=task.cache_expiration)
        refresh = task.refresh_cache
        run = CachedRun(
            key,
            output,
            is_cached=is_cached,
            refresh=PREFECT_TASKS_REFRESH_CACHE.value() if refresh is None else refresh,
            context=task_ctx,
            open_store=lambda: storage.store,
            options=options,
        )
        task_ctx.result_store = FlowblobResults.over(task_ctx.result_store, storage, run)

    def _recipe(self) -> tuple[Any, ...]:
        """Return the options that change the key."""
        return (self.name, self.version, self.code, self.ignore, self.salt, self.packages)

    def _call(self, function: Callable[..., Any]) -> CachedCall:
        name, version, code, ignore, salt, packages = self._recipe()
        return _call(
            function, name, version, code, ignore=ignore, salt=salt, packages=tuple(packages)
        )

    def _options(self) -> CacheOptions:
        return CacheOptions(
            ttl=parse_duration(self.ttl, what="ttl"),
            kind=self.kind,
            tags=self.tags,
            metadata=self.metadata,
            serializer=self.serializer,
            history=self.history,
            on_error="raise",  # a Call says what failed, in the log of the run
        )


@functools.lru_cache(maxsize=1024)
def _call(
    function: Callable[..., Any],
    name: str,
    version: str | None,
    code: str,
    *,
    ignore: tuple[str, ...],
    salt: str | None,
    packages: tuple[str, ...],
) -> CachedCall:
    """Return what `cached` would make of a function; remembered because its code is walked."""
    known = inspect.signature(function).parameters
    takes_any = any(found.kind is found.VAR_KEYWORD for found in known.values())
    recipe = {
        "name": name or None,
        "version": version,
        "code": code,
        "ignore": tuple(found for found in ignore if takes_any or found in known),
        "salt": salt,
        "packages": packages,
    }
    return CachedCall(function, CacheOptions(), name=name, store=None, recipe=recipe)


@functools.cache
def _warn_foreign(task: str, storage: str) -> None:
    run_logger().warning(
        "%s has the policy FLOWBLOB and the result storage %s: its results stay there, in "
        "Prefect's format, and are shared with nobody. Give it a result_storage such as "
        "'flowblob-storage/default', which 'flowblob prefect setup' makes",
        task, storage,
    )  # fmt: skip


@functools.cache
def _warn_generator(task: str) -> None:
    run_logger().warning("%s is a generator and is not cached: let it return a list", task)


@dataclass
class PersistOnlyPolicy(CachePolicy):
    """Keep every result as a version of `<flow>/<task>`, and never serve one to another run."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return a key that no other try has."""
        key = f"run/{task_ctx.task_run.id}/{task_ctx.task_run.run_count}"
        storage = task_ctx.result_store.result_storage
        if isinstance(storage, FlowblobStorage):
            call = Call(
                key,
                outputs.of_task(task_ctx),
                context=task_ctx,
                open_store=lambda: storage.store,
                options=CacheOptions(),
            )
            task_ctx.result_store = FlowblobResults.over(task_ctx.result_store, storage, call)
        return key


FLOWBLOB = FlowblobPolicy()
PERSIST_ONLY = PersistOnlyPolicy()
