"""Which XCom values may stay in Airflow's database: those that JSON gives back exactly."""

from __future__ import annotations

import math
from typing import Any

#: Deeper nesting than this meets recursion limits on Airflow's way to the database.
_DEPTH = 64
#: Outside of it MessagePack, which carries values to the supervisor, refuses an integer.
_INTEGERS = range(-(2**63), 2**63)
#: From here on PostgreSQL's JSONB gives an integral float back as an integer.
_INTEGRAL_FLOATS = 1e16


def is_exact(value: Any, limit: int) -> bool:
    """Say whether a value is small and comes back from Airflow's database as it is.

    Only the exact types count: a subclass, a tuple or a key that is not text would come back as
    something else. Text with NUL breaks PostgreSQL, and NaN any JSON; a key that begins with `__`
    could mean something to Airflow's serializer, or be our own reference.

    Args:
        value: What a task pushes.
        limit: Largest size of its JSON in bytes, counted roughly and without writing it.

    Example:
        >>> is_exact({"rows": [1, 2.5, None]}, 1024), is_exact((1, 2), 1024)
        (True, False)
    """
    left: float = limit
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        left -= _cost(item)
        if left < 0 or depth > _DEPTH:
            return False
        if type(item) is list:
            waiting += [(inner, depth + 1) for inner in item]
        elif type(item) is dict:
            for key, inner in item.items():
                if type(key) is not str or key.startswith("__"):
                    return False
                left -= _text_cost(key)
                waiting.append((inner, depth + 1))
    return left >= 0


def _cost(item: Any) -> float:
    """Return about how many bytes an item takes, infinity for what JSON cannot carry exactly."""
    kind = type(item)
    if item is None or kind is bool:
        return 5
    if kind is str:
        return _text_cost(item)
    if kind is int:
        return len(str(item)) if item in _INTEGERS else math.inf
    if kind is float:
        return len(repr(item)) if _is_plain_float(item) else math.inf
    return 2 + 2 * len(item) if kind in (list, dict) else math.inf


def _text_cost(text: str) -> float:
    if len(text) > 1 << 20 or "\x00" in text:
        return math.inf
    try:
        return len(text.encode()) + 2
    except UnicodeEncodeError:  # a lone surrogate
        return math.inf


def _is_plain_float(number: float) -> bool:
    if not math.isfinite(number) or (number == 0 and math.copysign(1, number) < 0):
        return False
    return not (number.is_integer() and abs(number) >= _INTEGRAL_FLOATS)
