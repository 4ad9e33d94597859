"""Generator functions as functions of a list, which can be stored, and the list as a generator.

A generator that gave its items out while it is cached would hold the reservation for as long as
its consumer likes: `zip(items(), items())` would wait for itself. So its items are computed to the
end and stored before the first of them is given out.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any


def is_generator(function: Any) -> bool:
    """Say whether calling a function gives a generator, or an async one."""
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def gathering(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, async for an async generator, that returns all items as a list."""
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def gather_async(*args: Any, **kwargs: Any) -> list[Any]:
            return [_as_yielded(item) async for item in function(*args, **kwargs)]

        return gather_async

    @functools.wraps(function)
    def gather(*args: Any, **kwargs: Any) -> list[Any]:
        return [_as_yielded(item) for item in function(*args, **kwargs)]

    return gather


def replaying(function: Callable[..., Any], gathered: Callable[..., Any]) -> Callable[..., Any]:
    """Return a generator function like `function` that gives out what `gathered` returns."""
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def replay_async(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            for item in await gathered(*args, **kwargs):
                yield item

        return replay_async

    @functools.wraps(function)
    def replay(*args: Any, **kwargs: Any) -> Iterator[Any]:
        yield from gathered(*args, **kwargs)

    return replay


def _as_yielded(item: Any) -> Any:
    """Return an item as it is now: many a generator yields one buffer again and again."""
    from flowblob.keys.guards import is_immutable

    if is_immutable(item):
        return item
    try:
        return copy.deepcopy(item)
    except (TypeError, copy.Error):
        return item  # nothing that cannot be copied can be stored: the call says so
