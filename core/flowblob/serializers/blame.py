"""Which part of a value cannot be pickled, said the way one would write it: `value['conn']`."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from typing import Any

from flowblob.errors import SerializationError

_DEPTH = 32
#: So many neighbours are tried on each level: the search must end soon, also in large values.
_WIDTH = 2_000
_SECONDS = 2.0


def blame(value: Any, error: BaseException) -> SerializationError:
    """Return the error that names the innermost part which cannot be pickled.

    Args:
        value: What was to be stored.
        error: What its pickling raised.
    """
    path, part, reason = "value", value, error
    deadline = time.monotonic() + _SECONDS
    for _ in range(_DEPTH):
        found = _failing_child(part, deadline)
        if found is None:
            break
        suffix, part, reason = found
        path += suffix
    kind = f"{type(part).__module__}.{type(part).__qualname__}".removeprefix("builtins.")
    text = re.sub(r" at 0x[0-9a-f]+", "", str(reason)) or type(reason).__name__
    return SerializationError(
        f"{path} is a {kind}, which cannot be stored: {text}",
        hint="Return data instead of live resources (connections, locks, generators), or give the "
        "class a __getstate__ that leaves them out",
    )


def _failing_child(value: Any, deadline: float) -> tuple[str, Any, BaseException] | None:
    try:
        for suffix, child in itertools.islice(_children(value), _WIDTH):
            if time.monotonic() > deadline:
                break
            reason = None if child is value else _failure(child)
            if reason is not None:
                return suffix, child, reason
    except Exception:  # noqa: BLE001 - looking into the value runs its code too
        return None
    return None


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    yield from _items(value)
    fields = getattr(value, "__dict__", None)
    if isinstance(fields, dict) and not isinstance(value, type):
        for name, item in fields.items():
            yield f".{name}", item
    for kind in type(value).__mro__:
        for name in _slots(kind):
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f" key {_shown(key)}", key
            yield f"[{_shown(key)}]", item
    elif isinstance(value, list | tuple):
        names = getattr(value, "_fields", None)
        for position, item in enumerate(value):
            yield (f".{names[position]}" if names else f"[{position}]"), item
    elif isinstance(value, set | frozenset):
        for item in value:
            yield f" item {_shown(item)}", item


def _shown(key: Any) -> str:
    # Only what has a repr of Python's own: another could do anything, also fail.
    return (
        repr(key)[:60]
        if type(key) in (str, int, float, bool, bytes, tuple)
        else f"<{type(key).__name__}>"
    )


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


class _Nowhere:
    def write(self, data: Any) -> int:
        return len(data)


def _failure(value: Any) -> BaseException | None:
    from flowblob.serializers.pickles import trial

    try:
        trial(value, _Nowhere())
    except Exception as error:  # noqa: BLE001 - the value's own code runs here
        return error
    return None
