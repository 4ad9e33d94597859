"""A cached call inside of an event loop: its waits take none of the loop's threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from flowblob.pausing import wait_through

if TYPE_CHECKING:
    from flowblob.computation import Computation


class Call(Protocol):
    """What is asked of a cached function."""

    @property
    def compute(self) -> Callable[..., Any]:
        """The coroutine function."""

    def computation(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, refresh: bool = False
    ) -> Computation:
        """Return the steps of one call; it may take long, since it hashes the arguments."""


async def run_async(
    call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, refresh: bool = False
) -> Any:
    """Return the stored result of a call, or compute it, once for all callers.

    Args:
        call: The cached function.
        args: Positional arguments.
        kwargs: Arguments by name.
        refresh: Compute although a result is stored.
    """
    import asyncio

    computation = await asyncio.to_thread(call.computation, args, kwargs, refresh=refresh)
    try:
        hit = await wait_through(computation.preparing())
    except asyncio.CancelledError:
        # The thread goes on; a reservation that nobody gave back would stop every other caller.
        computation.cancel()
        raise
    if hit is not None:
        return hit.value
    with computation.computing() as (began, read):
        value = await call.compute(*args, **kwargs)
    return await asyncio.to_thread(computation.finish, value, began, read)
