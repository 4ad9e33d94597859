"""The decorator: a function's result becomes a blob, the same call gets it back."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, get_args, overload

from flowblob import runs
from flowblob.checks import parse_duration, validate_tags
from flowblob.computation import Computation
from flowblob.coroutines import run_async
from flowblob.errors import InvalidInputError
from flowblob.explaining import Explanation
from flowblob.iterating import gathering, is_generator, replaying
from flowblob.model import CacheKey, Run, TagValue
from flowblob.naming import announced, check_template, name_of, named
from flowblob.results import CacheOptions, OnError
from flowblob.store import Store, default_store

if TYPE_CHECKING:
    from flowblob.keys import Recipe

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
StoreSource = Store | str | Callable[[], Store] | None


class CachedFunction(Protocol[P, R_co]):
    """A function whose results are cached; called as before."""

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]
    cached_call: CachedCall

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the stored result, or compute it, once for all callers."""

    @overload
    def __get__(self, instance: None, owner: Any = None, /) -> CachedFunction[P, R_co]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None, /) -> Callable[..., R_co]: ...
    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """Say whether this call would be a hit, and if not, which ingredient differs."""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> CacheKey:
        """Return the cache key of this call."""

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Compute again and store the result, whatever is stored."""


class CachedCall:
    """What the wrapper of a cached function stands on.

    Attributes:
        function: The plain function.
        options: How results are kept and served.
        name: The output's name, a template, or empty.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        options: CacheOptions,
        *,
        name: str,
        store: StoreSource,
        recipe: dict[str, Any],
    ) -> None:
        self.function = function
        self.options = options
        self.name = name
        self._source = store
        self._recipe_options = recipe
        self._recipe: Recipe | None = None
        self._opened: Store | None = None

    def __getstate__(self) -> dict[str, Any]:
        # The recipe is made anew where the function arrives; it holds what does not travel.
        return {**self.__dict__, "_recipe": None, "_opened": None}

    @property
    def compute(self) -> Callable[..., Any]:
        """What computes the value that is stored: the function, for a generator all its items."""
        return gathering(self.function) if is_generator(self.function) else self.function

    @property
    def recipe(self) -> Recipe:
        """The function's part of every key, made at the first call and not at import."""
        if self._recipe is None:
            from flowblob.keys import Recipe

            self._recipe = Recipe(self.function, **self._recipe_options)
        return self._recipe

    @property
    def store(self) -> Store:
        """Where this function's results are kept now."""
        if self._source is None:
            return default_store()
        if isinstance(self._source, Store):
            return self._source
        if callable(self._source):
            return self._source()
        if self._opened is None:
            self._opened = Store(self._source)
        return self._opened

    @property
    def explicit_store(self) -> Store | None:
        """The store that the user named for this function; None leaves it to the host."""
        return None if self._source is None else self.store

    def ignoring(self, names: Sequence[str]) -> CachedCall:
        """Return the same call for a host that passes these arguments in: they do not count."""
        ignore = tuple(dict.fromkeys((*self._recipe_options["ignore"], *names)))
        return CachedCall(
            self.function,
            self.options,
            name=self.name,
            store=self._source,
            recipe={**self._recipe_options, "ignore": ignore},
        )

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CacheKey:
        """Return the cache key of a call."""
        return self.recipe.key(args, dict(kwargs))

    def computation(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        refresh: bool = False,
        store: Store | None = None,
        key: CacheKey | None = None,
    ) -> Computation:
        """Return the steps of one call."""
        chosen = store or self.store
        return Computation(
            chosen,
            key or self.recipe.key(args, dict(kwargs)),
            output_key=lambda: self.output_key(args, kwargs, chosen.current_run()),
            options=self.options,
            refresh=refresh,
        )

    def output_key(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run | None = None
    ) -> str:
        """Return the key under which a new result of this call becomes a version.

        Raises:
            InvalidInputError: The template names something that the call does not have.
        """
        if self.name:
            return self._from_template(args, kwargs, run)
        told = announced.get()
        if told is not None and told[0] is self.function:
            return told[1]
        for ask in runs.ask_hosts("outputs"):
            if (own := ask(self.function)) is not None:
                return str(own)
        return name_of(self.function)

    def _from_template(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], run: Run | None
    ) -> str:
        fields: dict[str, Any] = (
            {"flow": run.flow, "task": run.task, "run_id": run.run_id} if run else {}
        )
        fields |= self.recipe.bind(args, dict(kwargs))
        return named(self.name, fields)


def is_cached(function: Any) -> bool:
    """Say whether a function is wrapped by `cached`."""
    return isinstance(getattr(function, "cached_call", None), CachedCall)


@overload
def cached(function: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def cached(
    *,
    name: str = "",
    version: str | None = None,
    code: Literal["deep", "function"] = "deep",
    ignore: Sequence[str] = (),
    salt: str | None = None,
    packages: Sequence[str] = (),
    ttl: timedelta | str | float | None = None,
    store: StoreSource = None,
    kind: str = "",
    tags: Mapping[str, TagValue] | None = None,
    metadata: Mapping[str, Any] | None = None,
    serializer: str | None = None,
    history: bool = True,
    lazy: bool = False,
    single_flight: bool = True,
    on_error: OnError = "compute",
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
def cached(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    version: str | None = None,
    code: Literal["deep", "function"] = "deep",
    ignore: Sequence[str] = (),
    salt: str | None = None,
    packages: Sequence[str] = (),
    ttl: timedelta | str | float | None = None,
    store: StoreSource = None,
    kind: str = "",
    tags: Mapping[str, TagValue] | None = None,
    metadata: Mapping[str, Any] | None = None,
    serializer: str | None = None,
    history: bool = True,
    lazy: bool = False,
    single_flight: bool = True,
    on_error: OnError = "compute",
) -> Any:
    """Keep the results of a function, and give them back for the same call.

    The key is the function's code, what it reads from its module, and its bound arguments; the
    same function is one entry in Prefect, Airflow and plain Python. Eight processes that make one
    new call compute it once: the others wait and return that result. Exceptions are not kept. A
    failing cache never fails the call: it is logged and the function runs.

    Args:
        function: A sync or async function, method or generator function. The items of a generator
            are computed and stored, as one list, before the first is given out.
        name: Name of the output, a template over the arguments and the run: `"features/{region}"`.
            By default `<flow or dag>/<task>` for a host's task, else `<module>/<function>`.
        version: Stands in the key instead of the code; needs `name`.
        code: `deep` follows the user's own functions and classes, `function` stops at the body.
        ignore: Arguments that do not count.
        salt: Text that changes every key.
        packages: Distributions whose versions count.
        ttl: How long a result is served: `"7d"`, a timedelta or seconds.
        store: A Store, a URL, or a function that returns a Store; the default store if not given.
        kind: Kind of the blobs.
        tags: Tags of the blobs.
        metadata: Metadata of the blobs.
        serializer: Format of the results.
        history: False keeps only the newest result of this name.
        lazy: Return `Lazy` values.
        single_flight: False lets every caller compute.
        on_error: `raise` instead of computing when the store fails.

    Raises:
        InvalidInputError: An option that cannot be.

    Example:
        >>> from flowblob import Store, cached
        >>> store = Store("memory://")
        >>> @cached(store=store, ttl="7d")
        ... def double(x):
        ...     print("computing")
        ...     return 2 * x
        >>> double(4), double(4)
        computing
        (8, 8)
        >>> double.explain(4).why
        'hit'
    """
    if version is not None and not name:
        raise InvalidInputError(
            "version= replaces the code and therefore requires name=", hint="Give name='features'"
        )
    if on_error not in get_args(OnError):
        raise InvalidInputError(f"Unknown on_error={on_error!r}", hint="Use 'compute' or 'raise'")
    options = CacheOptions(
        ttl=parse_duration(ttl, what="ttl"),
        kind=kind,
        tags=validate_tags(tags or {}),
        metadata=dict(metadata or {}),
        serializer=serializer,
        history=history,
        lazy=lazy,
        single_flight=single_flight,
        on_error=on_error,
    )
    recipe = {
        "name": name or None,
        "version": version,
        "code": code,
        "ignore": (ignore,) if isinstance(ignore, str) else tuple(ignore),
        "salt": salt,
        "packages": (packages,) if isinstance(packages, str) else tuple(packages),
    }

    def decorate(plain: Callable[..., Any]) -> Any:
        _refuse(plain, is_lazy=lazy)
        if name:
            check_template(name, plain)
        return _wrap(CachedCall(plain, options, name=name, store=store, recipe=recipe))

    return decorate if function is None else decorate(function)


def _refuse(function: Any, *, is_lazy: bool) -> None:
    if isinstance(function, staticmethod | classmethod):
        raise InvalidInputError(
            "@cached stands below @staticmethod and @classmethod", hint="Swap the two lines"
        )
    if not callable(function) or isinstance(function, type):
        raise InvalidInputError(f"@cached takes a function, not {type(function).__name__}")
    if is_lazy and is_generator(function):
        raise InvalidInputError(
            f"{function.__qualname__} is a generator, whose items are loaded as it begins",
            hint="Leave lazy= out, or return a list",
        )


def _wrap(call: CachedCall) -> Any:
    function = call.compute
    wrapper: Any
    refresh: Any
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            return await run_async(call, args, kwargs)

        async def refresh_async(*args: Any, **kwargs: Any) -> Any:
            return await run_async(call, args, kwargs, refresh=True)

        wrapper, refresh = call_async, refresh_async
    else:

        @functools.wraps(function)
        def call_now(*args: Any, **kwargs: Any) -> Any:
            return call.computation(args, kwargs).run(lambda: function(*args, **kwargs))

        def refresh_now(*args: Any, **kwargs: Any) -> Any:
            steps = call.computation(args, kwargs, refresh=True)
            return steps.run(lambda: function(*args, **kwargs))

        wrapper, refresh = call_now, refresh_now
    if is_generator(call.function):
        wrapper, refresh = (replaying(call.function, run) for run in (wrapper, refresh))

    def explain(*args: Any, **kwargs: Any) -> Explanation:
        return call.store.cache.explain(call.key(args, kwargs))

    def key(*args: Any, **kwargs: Any) -> CacheKey:
        return call.key(args, kwargs)

    wrapper.cached_call = call
    wrapper.refresh = refresh
    wrapper.explain = explain
    wrapper.key = key
    return wrapper
