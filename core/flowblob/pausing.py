"""Work in steps with pauses between them, for threads and for event loops alike."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def sleep_through(steps: Generator[float, None, T]) -> T:
    """Take the steps, sleep as long as each of them says, and return what they return.

    Args:
        steps: Gives the seconds to wait before the next step.
    """
    while True:
        pause, result = _step(steps)
        if result is not None:
            return result[0]
        time.sleep(pause)


async def wait_through(steps: Generator[float, None, T]) -> T:
    """Take each step in a thread, wait between them without one, and return what they return.

    The loop has few threads, six on two cores. Were waiters to keep them, whoever they wait for
    could not go on.

    Args:
        steps: Gives the seconds to wait before the next step.
    """
    import asyncio  # half of what `import flowblob` would cost

    while True:
        pause, result = await asyncio.to_thread(_step, steps)
        if result is not None:
            return result[0]
        await asyncio.sleep(pause)


def _step(steps: Generator[float, None, T]) -> tuple[float, tuple[T] | None]:
    try:
        return next(steps), None
    except StopIteration as ended:  # it cannot travel through a future
        return 0.0, (ended.value,)
