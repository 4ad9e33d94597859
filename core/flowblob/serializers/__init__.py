"""Which format a value takes, and which format reads it back.

A format is chosen by exact type, and only where it gives the value back exactly; what no open
format can carry goes into the pickle container. The id that was chosen is stored with the version
and decides at reading: bytes are never sniffed. A library is consulted only where the value already
comes from it, so that choosing imports nothing.

| value | id |
|---|---|
| bytes, bytearray, memoryview | `bytes`, `bytearray`, `memoryview` |
| str | `text` |
| None, bool, int, float, list, dict with text keys | `json` |
| the same with tuples, sets, bytes, dates, Decimal, UUID, other keys inside | `json-typed` |
| numpy array, numpy scalar | `npy`, `npy-scalar` |
| pandas | `pandas`, `pandas-series` |
| polars | `polars`, `polars-series` |
| pyarrow | `arrow`, `arrow-batch`, `arrow-array` |
| dict of torch tensors | `safetensors` |
| File, Dir | `file`, `tree` |
| everything else | `pickle5` |
| bytes that their reader may unpickle, where that is asked for | `opaque` |
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from typing import Any

from flowblob.abc import Serializer
from flowblob.errors import InvalidInputError, SerializationError
from flowblob.serializers.plain import ExactSerializer

__all__ = ["by_id", "by_name", "for_value", "names"]

logger = logging.getLogger(__name__)

ENTRY_POINTS = "flowblob.serializers"

#: id -> module and class; a module is imported when its format is first needed.
_BUILTIN = {
    "bytes": "plain:BytesSerializer",
    "bytearray": "plain:BytearraySerializer",
    "memoryview": "plain:MemoryviewSerializer",
    "opaque": "plain:OpaqueSerializer",
    "text": "plain:TextSerializer",
    "json": "jsonable:JsonSerializer",
    "json-typed": "jsonable:TypedJsonSerializer",
    "npy": "arrays:NpySerializer",
    "npy-scalar": "arrays:NpyScalarSerializer",
    "arrow": "tables:ArrowTableSerializer",
    "arrow-batch": "tables:ArrowBatchSerializer",
    "arrow-array": "tables:ArrowArraySerializer",
    "polars": "tables:PolarsSerializer",
    "polars-series": "tables:PolarsSeriesSerializer",
    "pandas": "frames:PandasSerializer",
    "pandas-series": "frames:PandasSeriesSerializer",
    "safetensors": "tensors:SafetensorsSerializer",
    "file": "trees:FileSerializer",
    "tree": "trees:TreeSerializer",
    "pickle5": "pickles:PickleSerializer",
}
_ALIASES = {"pickle": "pickle5", "str": "text", "numpy": "npy"}

#: Exact type -> id, for types that need no further look at the value.
_SCALARS: dict[type, str] = {
    bytes: "bytes",
    bytearray: "bytearray",
    memoryview: "memoryview",
    str: "text",
}
#: First part of a type's module -> ids of the formats that may take it, asked in this order.
_LIBRARIES = {
    "numpy": ("npy", "npy-scalar"),
    "pandas": ("pandas", "pandas-series"),
    "polars": ("polars", "polars-series"),
    "pyarrow": ("arrow", "arrow-batch", "arrow-array"),
    "torch": ("safetensors",),
    "flowblob": ("file", "tree"),
}


def for_value(value: Any) -> Serializer:
    """Return the format that gives this value back exactly.

    Nothing is imported that the value's own type has not imported already.

    Args:
        value: Any Python object.

    Raises:
        SerializationError: The value is of a kind that is refused with a reason, such as a
            polars LazyFrame.

    Example:
        >>> for_value({"rows": [1, 2]}).id, for_value((1, 2)).id
        ('json', 'json-typed')
    """
    kind = type(value)
    library = str(kind.__module__).partition(".")[0]
    candidates: tuple[str, ...] = _LIBRARIES.get(library, ())
    if kind in _SCALARS:
        candidates = (_SCALARS[kind],)
    elif library in _PLAIN:
        from flowblob.serializers.jsonable import verdict

        if found := verdict(value):
            return _exact(found).chosen(value)
    if library in ("builtins", "collections") and "torch" in sys.modules:
        candidates = ("safetensors",)
    for candidate in candidates:
        exact = _exact(candidate)
        if exact.accepts(value):
            return exact.chosen(value)
    for serializer in _plugins().values():
        if serializer.accepts(value):
            return serializer
    return by_id("pickle5")


#: Modules whose types JSON may carry.
_PLAIN = frozenset({"builtins", "datetime", "decimal", "uuid"})


def _exact(id_: str) -> ExactSerializer:
    serializer = by_id(id_)
    assert isinstance(serializer, ExactSerializer)
    return serializer


@functools.cache
def by_id(id: str) -> Serializer:  # noqa: A002 - what the record calls it
    """Return the format with this id, as a stored version names it.

    Raises:
        SerializationError: No such format is installed here.
    """
    target = _BUILTIN.get(id)
    if target is not None:
        module, _, name = target.partition(":")
        found: Serializer = getattr(importlib.import_module(f"{__name__}.{module}"), name)()
        return found
    plugin = _plugins().get(id)
    if plugin is None:
        raise SerializationError(
            f"This value was stored with the serializer {id!r}, which is not installed here",
            hint=f"Install the package that registers it (entry point group {ENTRY_POINTS!r}), "
            "or upgrade flowblob",
        )
    return plugin


def by_name(name: str) -> Serializer:
    """Return the format that a caller asked for by name.

    Args:
        name: An id, or one of the aliases `pickle`, `str` and `numpy`.

    Raises:
        InvalidInputError: No format has this name; the message lists those there are.

    Example:
        >>> by_name("pickle").id
        'pickle5'
    """
    if not isinstance(name, str):
        raise InvalidInputError(
            f"A serializer is chosen by name, not by {type(name).__name__}",
            hint=f"Choose one of {', '.join(names())}",
        )
    id_ = _ALIASES.get(name, name)
    if id_ not in _BUILTIN and id_ not in _plugins():
        raise InvalidInputError(
            f"There is no serializer {name!r}", hint=f"Choose one of {', '.join(names())}"
        )
    return by_id(id_)


def names() -> list[str]:
    """Return the ids of all formats that are installed, sorted."""
    return sorted({*_BUILTIN, *_plugins()})


@functools.cache
def _plugins() -> dict[str, Serializer]:
    """Return what other distributions register; a broken one costs only itself."""
    from importlib.metadata import entry_points

    found: dict[str, Serializer] = {}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            loaded = point.load()
            serializer = loaded() if isinstance(loaded, type) else loaded
        except Exception:  # foreign code: the values of all others must stay readable
            logger.warning(
                "The serializer %s from %s cannot be loaded", point.name, point.value, exc_info=True
            )
            continue
        if (
            not isinstance(serializer, Serializer)
            or serializer.id in _BUILTIN
            or serializer.id in found
        ):
            logger.warning(
                "The serializer %s from %s is ignored: it must be a flowblob.abc.Serializer with "
                "an id of its own",
                point.name,
                point.value,
            )
            continue
        found[serializer.id] = serializer
    return found
