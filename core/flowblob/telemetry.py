"""OpenTelemetry spans and counters, where the application has set it up; nothing otherwise.

The API package is never imported here first: an application that exports telemetry has loaded it
already, and a hit of some tens of microseconds must not pay for one that does not.
"""

from __future__ import annotations

import functools
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_NOTHING: AbstractContextManager[Any] = nullcontext()


def span(name: str, /, **attributes: Any) -> AbstractContextManager[Any]:
    """Return a span `flowblob.<name>` to use in a `with` statement.

    Args:
        name: What is done: `lookup`, `compute`, `commit`, `put`, `get`.
        attributes: Set on the span as `flowblob.<attribute>`.

    Example:
        >>> with span("lookup", function="features"):
        ...     pass
    """
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return _NOTHING
    tracer = trace.get_tracer("flowblob")
    told = {f"flowblob.{key}": value for key, value in attributes.items()}
    started: AbstractContextManager[Any] = tracer.start_as_current_span(
        f"flowblob.{name}", attributes=told
    )
    return started


def is_counting() -> bool:
    """Say whether the application has set up counters."""
    return "opentelemetry.metrics" in sys.modules


def count(name: str, amount: float = 1, /, **attributes: Any) -> None:
    """Add to the counter `flowblob.<name>`: `cache.hits`, `cache.misses`, `cache.seconds_saved`."""
    if is_counting():
        told = {f"flowblob.{key}": value for key, value in attributes.items()}
        _counter(name).add(amount, told)


@functools.cache
def _counter(name: str) -> Any:
    metrics = sys.modules["opentelemetry.metrics"]
    return metrics.get_meter("flowblob").create_counter(f"flowblob.{name}")
