"""Small pictures of values for people: pages and listings show them without loading a payload.

They are made by whoever writes the value, from its shape and first items only, so that a large
value costs no more than a small one. Of objects only the names of fields are shown: a password
among them must not end on a page.
"""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

LIMIT = 2048
_ITEMS = 8
_TEXT = 80
_DEPTH = 3
_COLUMNS = 40
_TABLES = ("pandas", "polars", "pyarrow")
_LIBRARIES = ("numpy", "torch", *_TABLES)


def describe(value: Any) -> dict[str, Any]:
    """Return a picture of the value as at most 2 KiB of JSON; never raises.

    Args:
        value: Any Python object.

    Example:
        >>> describe([1, 2, 3])
        {'type': 'list', 'length': 3, 'items': [1, 2, 3]}
    """
    picture: dict[str, Any] = {"type": _type_name(value)}
    try:
        picture |= _facts(value)
        while len(json.dumps(picture, allow_nan=False)) > LIMIT:
            # The largest detail goes first; the type always fits.
            largest = max(
                (name for name in picture if name != "type"),
                key=lambda name: len(str(picture[name])),
            )
            picture[largest] = "..." if picture[largest] != "..." else None
            if picture[largest] is None:
                del picture[largest]
    except Exception:  # noqa: BLE001 - the value's own code runs here, and no preview is worth a failed put
        return {"type": _type_name(value)[:200]}
    return picture


def _type_name(value: Any) -> str:
    kind = type(value)
    library = str(kind.__module__).partition(".")[0]
    if library in _LIBRARIES:
        return (
            f"{library}.{kind.__qualname__}"  # not the module inside that it happens to come from
        )
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _facts(value: Any) -> dict[str, Any]:
    library = type(value).__module__.partition(".")[0]
    if library in ("numpy", "torch") and hasattr(value, "shape"):
        return _array(value)
    if library in _TABLES:
        return _table(value)
    if isinstance(value, str | bytes | bytearray | memoryview):
        return _sequence_of_characters(value)
    if isinstance(value, dict):
        return {"length": len(value), "items": _short(value, _DEPTH)}
    if isinstance(value, list | tuple | set | frozenset):
        return {"length": len(value), "items": _short(value, _DEPTH)}
    if type(value).__module__ in ("builtins", "datetime", "decimal", "uuid") and not callable(
        value
    ):
        return {"value": _short(value, 0)}
    if hasattr(value, "__fspath__"):
        return {"name": str(getattr(value, "name", value))[:_TEXT]}
    return _instance(value)


def _sequence_of_characters(value: Any) -> dict[str, Any]:
    size = value.nbytes if isinstance(value, memoryview) else len(value)
    if isinstance(value, str):
        return {"length": size, "value": _clip(value, 400)}
    return {"length": size}


def _array(value: Any) -> dict[str, Any]:
    shape = [int(length) for length in value.shape]
    facts: dict[str, Any] = {"shape": shape, "dtype": str(value.dtype)[:_TEXT]}
    if type(value).__module__.startswith("torch"):
        facts["device"] = str(value.device)
    first = value[tuple(0 for _ in shape[:-1])] if shape and 0 not in shape[:-1] else value
    if shape and hasattr(first, "tolist") and len(shape) > 0 and 0 not in shape:
        facts["items"] = _short(first[:_ITEMS].tolist(), 1)
    elif not shape:
        facts["value"] = _short(value.tolist(), 1)
    return facts


def _table(value: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    shape = getattr(value, "shape", None)
    if shape is not None:
        facts["shape"] = [int(length) for length in shape]
    elif hasattr(value, "__len__"):
        facts["length"] = len(value)
    if (columns := _columns(value)) is not None:
        facts["columns"] = columns
    elif hasattr(value, "dtype"):
        facts["dtype"] = str(value.dtype)[:_TEXT]
        facts["name"] = _short(getattr(value, "name", None), 0)
    elif hasattr(value, "type"):
        facts["dtype"] = str(value.type)[:_TEXT]
    return facts


def _columns(value: Any) -> list[list[str]] | None:
    schema: Any = getattr(value, "schema", None)
    if hasattr(value, "dtypes") and hasattr(value, "columns"):
        pairs = zip(value.columns, value.dtypes, strict=True)
    elif hasattr(schema, "names") and hasattr(schema, "types") and hasattr(schema, "metadata"):
        pairs = zip(schema.names, schema.types, strict=True)
    else:
        return None
    return [
        [_clip(str(name), 60), str(kind)[:60]] for name, kind in itertools.islice(pairs, _COLUMNS)
    ]


def _instance(value: Any) -> dict[str, Any]:
    fields = getattr(value, "__dict__", None)
    if not isinstance(fields, dict):
        return {}
    return {
        "fields": {
            _clip(str(name)): _type_name(item)
            for name, item in itertools.islice(fields.items(), _COLUMNS)
        }
    }


def _short(value: Any, depth: int) -> Any:
    """Return a small JSON-able likeness: clipped text, first items, type names for the rest."""
    kind = type(value)
    if kind in (bool, type(None)):
        return value
    if kind is int:
        return (
            value
            if value.bit_length() <= 53
            else _clip(hex(value) if value.bit_length() > 4096 else str(value))
        )
    if kind is float:
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _clip(str(value))
    if kind.__module__ in ("datetime", "decimal", "uuid", "numpy") and not hasattr(
        value, "__len__"
    ):
        return _clip(str(value))
    if isinstance(value, dict) and depth:
        first = itertools.islice(value.items(), _ITEMS)
        return {_clip(str(_short(name, 0))): _short(item, depth - 1) for name, item in first}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_short(item, depth - 1) for item in itertools.islice(value, _ITEMS)]
    if str(kind.__module__).partition(".")[0] in _LIBRARIES and hasattr(value, "shape"):
        words = [
            _type_name(value),
            " x ".join(str(length) for length in value.shape),
            str(getattr(value, "dtype", "")),
        ]
        return _clip(" ".join(filter(None, words)))
    if hasattr(value, "__len__"):
        return f"{_type_name(value)} of {len(value)}"
    return _type_name(value)


def _clip(text: str, limit: int = _TEXT) -> str:
    clipped = text if len(text) <= limit else text[: limit - 3] + "..."
    # A lone surrogate cannot be sent to a browser.
    return clipped.encode("utf-8", "replace").decode()
