"""Exact rules for types of the standard library.

They are written out, rather than left to pickle, because pickle's view of them differs between
Python versions and, for sets of bits, between processes.
"""

from __future__ import annotations

import collections
import datetime as dt
import enum
import functools
import io
import re
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

from flowblob.keys.canonical import Hashing, unstable
from flowblob.keys.hashes import hash_buffer
from flowblob.keys.kinds import CYTHON_FUNCTION
from flowblob.keys.origin import is_user_module

Parts = tuple[object, ...]
PartsOf = Callable[[Any, Hashing], Parts]


def parts_of(kind: type) -> PartsOf | None:
    """Return the rule for a type of the standard library, or None."""
    if issubclass(kind, enum.Enum):
        return _enum
    found = _RULES.get(kind) or _NAMED.get(f"{kind.__module__}.{kind.__qualname__}")
    if found is not None:
        return found
    if kind.__name__ == CYTHON_FUNCTION:
        return _cython
    if issubclass(kind, type):
        return _class
    if issubclass(kind, _REFUSED) or _is_socket(kind):
        return _refuse
    if kind.__module__ in ("typing", "types", "typing_extensions"):
        return _typing
    if issubclass(kind, dt.tzinfo):
        return _tzinfo
    return None


def _ordered(value: collections.OrderedDict[Any, Any], _: Hashing) -> Parts:
    # Unlike other builtins it takes attributes; torch keeps versions there.
    more = vars(value)
    return ("ordered dict", dict(value), dict(more)) if more else ("ordered dict", dict(value))


def _datetime(value: dt.datetime, _: Hashing) -> Parts:
    zone = value.tzinfo
    if zone is dt.UTC:  # the usual one, in a form that costs no node of its own
        return ("datetime", value.isoformat(), value.fold, "utc")
    return ("datetime", value.replace(tzinfo=None).isoformat(), value.fold, zone)


def _enum(value: enum.Enum, hashing: Hashing) -> Parts:
    return ("enum", hashing.class_id(type(value)), value.name, value.value)


def _class(value: type, hashing: Hashing) -> Parts:
    return ("class", hashing.class_id(value))


def _function(value: Any, hashing: Hashing) -> Parts:
    from flowblob.keys.code import nested_identity

    identity = nested_identity(value)
    if any(item.kind in ("function", "class") for item in identity.items):
        hashing.portable = False  # a library's function alone counts by its name
    for text in identity.warnings:
        hashing.warn(text)
    return ("function", identity.digest)


def _module(value: types.ModuleType, hashing: Hashing) -> Parts:
    if not is_user_module(value):
        return ("module", value.__name__)
    return ("module", value.__name__, *_function(value, hashing))


def _builtin(value: Any, _: Hashing) -> Parts:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return ("builtin", value.__module__ or "builtins", value.__qualname__)
    return ("bound builtin", value.__name__, owner)


def _cython(value: Any, _: Hashing) -> Parts:
    # Not by its type, whose module says with which Cython it was built.
    return ("builtin", value.__module__, value.__qualname__)


def _descriptor(value: Any, hashing: Hashing) -> Parts:
    return ("descriptor", hashing.class_id(value.__objclass__), value.__name__)


def _partial(value: functools.partial[Any], _: Hashing) -> Parts:
    return ("partial", value.func, value.args, tuple(sorted(value.keywords.items(), key=_first)))


def _first(pair: tuple[str, object]) -> str:
    return pair[0]


def _typing(value: Any, _: Hashing) -> Parts:
    origin = typing.get_origin(value)
    if origin is types.UnionType or origin is typing.Union:
        return ("typing", "union", typing.get_args(value))  # two types until Python 3.14
    if origin is not None:
        metadata = getattr(value, "__metadata__", ())
        return ("typing", origin, typing.get_args(value), metadata)
    if isinstance(value, typing.TypeVar):
        return ("typing", "TypeVar", value.__name__, value.__bound__, value.__constraints__)
    return ("typing", str(value))


def _tzinfo(value: dt.tzinfo, hashing: Hashing) -> Parts:
    # Not by the zone's name alone: those of pytz hold an offset too.
    return ("tzinfo", hashing.class_id(type(value)), *value.__reduce_ex__(4)[1:])


def _zone(value: Any, _: Hashing) -> Parts:
    if value.key is None:
        raise unstable(value, "it was read from a file and has no key")
    return ("zone", value.key)


def _is_socket(kind: type) -> bool:
    module = sys.modules.get("socket")
    return module is not None and issubclass(kind, module.socket)


def _refuse(value: Any, _: Hashing) -> Parts:
    why = "reading it uses it up" if hasattr(value, "__next__") else "it belongs to this process"
    raise unstable(value, why)


def _memoryview(value: memoryview, _: Hashing) -> Parts:
    try:
        body = hash_buffer(value.cast("B")) if value.nbytes else ""
    except (TypeError, ValueError):  # strided, or of a format that cannot be cast
        body = hash_buffer(value.tobytes())
    return ("memoryview", value.format, value.shape, body)


def _array(value: Any, _: Hashing) -> Parts:
    return ("array", value.typecode, len(value), hash_buffer(memoryview(value).cast("B")))


def _range(value: range, _: Hashing) -> Parts:
    return ("range", value.start, value.stop, value.step)


def _text_io(value: Any, _: Hashing) -> Parts:
    return ("buffer", type(value).__name__, value.getvalue(), value.tell())


def _namespace(value: types.SimpleNamespace, _: Hashing) -> Parts:
    return ("namespace", tuple(sorted(vars(value).items(), key=_first)))


_REFUSED: tuple[type, ...] = (
    types.GeneratorType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.FrameType,
    types.TracebackType,
)

_RULES: dict[type, PartsOf] = {
    complex: lambda v, _: ("complex", v.real, v.imag),
    range: _range,
    slice: lambda v, _: ("slice", v.start, v.stop, v.step),
    type(...): lambda *_: ("singleton", "Ellipsis"),
    type(NotImplemented): lambda *_: ("singleton", "NotImplemented"),
    memoryview: _memoryview,
    dt.datetime: _datetime,
    dt.date: lambda v, _: ("date", v.isoformat()),
    dt.time: lambda v, _: ("time", v.replace(tzinfo=None).isoformat(), v.fold, v.tzinfo),
    dt.timedelta: lambda v, _: ("timedelta", v.days, v.seconds, v.microseconds),
    dt.timezone: lambda v, _: ("timezone", v.utcoffset(None), v.tzname(None)),
    re.Pattern: lambda v, _: ("pattern", v.pattern, v.flags),
    collections.OrderedDict: _ordered,
    collections.defaultdict: lambda v, _: ("default dict", v.default_factory, dict(v)),
    collections.Counter: lambda v, _: ("counter", dict(v)),
    collections.deque: lambda v, _: ("deque", list(v), v.maxlen),
    collections.ChainMap: lambda v, _: ("chain map", v.maps),
    type({}.keys()): lambda v, _: ("dict keys", list(v)),
    type({}.values()): lambda v, _: ("dict values", list(v)),
    type({}.items()): lambda v, _: ("dict items", list(v)),
    types.MappingProxyType: lambda v, _: ("mapping proxy", dict(v)),
    types.SimpleNamespace: _namespace,
    types.FunctionType: _function,
    types.BuiltinFunctionType: _builtin,
    types.MethodType: lambda v, _: ("method", v.__func__, v.__self__),
    types.MethodDescriptorType: _descriptor,
    types.WrapperDescriptorType: _descriptor,
    types.ClassMethodDescriptorType: _descriptor,
    types.GetSetDescriptorType: _descriptor,
    types.MemberDescriptorType: _descriptor,
    types.MethodWrapperType: lambda v, _: ("bound builtin", v.__name__, v.__self__),
    types.ModuleType: _module,
    property: lambda v, _: ("property", v.fget, v.fset, v.fdel),
    staticmethod: lambda v, _: ("static method", v.__func__),
    classmethod: lambda v, _: ("class method", v.__func__),
    functools.partial: _partial,
    io.BytesIO: _text_io,
    io.StringIO: _text_io,
}

# By name, so that none of these modules is loaded for a value of another type.
_NAMED: dict[str, PartsOf] = {
    "array.array": _array,
    "_struct.Struct": lambda v, _: ("struct", v.format),
    "decimal.Decimal": lambda v, _: ("decimal", str(v)),
    "fractions.Fraction": lambda v, _: ("fraction", v.numerator, v.denominator),
    "uuid.UUID": lambda v, _: ("uuid", v.hex),
    "zoneinfo.ZoneInfo": _zone,
    "ipaddress.IPv4Address": lambda v, _: ("ip", str(v)),
    "ipaddress.IPv6Address": lambda v, _: ("ip", str(v)),
    "ipaddress.IPv4Network": lambda v, _: ("network", str(v)),
    "ipaddress.IPv6Network": lambda v, _: ("network", str(v)),
}
