"""A short text about an argument, for people; never a secret's value, never expensive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from flowblob.model import Blob, Ref

if TYPE_CHECKING:
    from flowblob.keys.walk import CodeItem

_LENGTH: Final = 80
_SECRET: Final = re.compile(r"passw|passphrase|secret|token|api_?key|credential|private_?key", re.I)
_LOGIN: Final = re.compile(r"(?<=//)[^/@\s]+@")
_SHAPED: Final = frozenset({"numpy", "pandas", "polars", "pyarrow", "torch"})
_PLAIN: Final = frozenset({type(None), bool, int, float, complex})


def is_secret(name: str) -> bool:
    """Say whether a parameter's name promises a secret.

    Args:
        name: The parameter.
    """
    return _SECRET.search(name) is not None


def summarize(value: Any) -> str:
    """Return at most 80 characters about a value.

    Args:
        value: An argument.
    """
    kind = type(value)
    if kind in _PLAIN:
        text = repr(value) if kind is not int or value.bit_length() < 200 else "a large int"
    elif kind is str:
        text = repr(_LOGIN.sub("***@", value[:200]))
    elif kind is bytes or kind is bytearray:
        text = f"{kind.__name__} of {len(value)}"
    elif kind in (list, tuple) and len(value) <= 8 and all(type(item) in _PLAIN for item in value):
        text = repr(value)
    elif isinstance(value, Blob | Ref):
        text = str(value)
    else:
        text = _shape(value, kind)
    return text if len(text) <= _LENGTH else text[: _LENGTH - 3] + "..."


def summarize_code(items: Iterable[CodeItem]) -> str:
    """Return what code consists of, with the beginning of each digest: `task 1f0c, helper 77aa`.

    Two of these side by side show which helper or constant is another one.

    Args:
        items: What was followed.
    """
    parts = (f"{item.name} {item.digest[3:7]}" for item in items if item.digest)
    text = ", ".join(dict.fromkeys(parts))
    return text if len(text) <= _LENGTH else text[: _LENGTH - 3] + "..."


def _shape(value: Any, kind: type) -> str:
    # Of known libraries only: a property of the user's own class may do anything.
    is_known = kind.__module__.partition(".")[0] in _SHAPED
    shape = getattr(value, "shape", None) if is_known else None
    if isinstance(shape, tuple):
        dtype = getattr(value, "dtype", None)
        sides = "x".join(map(str, shape))
        return f"{kind.__name__} {sides}" + (f" {dtype}" if dtype is not None else "")
    if kind in (list, tuple, dict, set, frozenset):
        return f"{kind.__name__} of {len(value)}"
    return kind.__qualname__
