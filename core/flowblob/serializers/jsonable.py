"""JSON for what JSON gives back exactly, and tagged JSON for what it does not.

Two formats, because then no value can be mistaken for another: in `json` nothing is interpreted,
so a user's dict comes back verbatim whatever it looks like; in `json-typed` every object that
holds the key `$flowblob` is ours, and a user's dict that holds this key is written as pairs.

A value is judged by exact types, never by `isinstance`: an OrderedDict, an IntEnum or an np.float64
would come back as something else. It also goes elsewhere if it is

- nested deeper than 100 levels, or cyclic (the recursion of a parser is not ours to bound);
- sharing one list, dict or set between two places (JSON would make two of it; and n levels of
  sharing would write 2^n copies);
- larger than 200,000 items, or holding bytes of more than 64 KiB or texts of more than 32 Mi
  characters (pickle is several times faster, and copies less);
- text with a lone surrogate.

NaN and the infinities are not JSON, and long integers overflow other parsers: both are tagged.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import sys
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID, SafeUUID

from flowblob.abc import Reader, Writer
from flowblob.errors import SerializationError
from flowblob.serializers.plain import ExactSerializer, is_utf8, no_view

MARK = "$flowblob"
MAX_DEPTH = 100
MAX_ITEMS = 200_000
MAX_BYTES = 1 << 16
MAX_CHARACTERS = 1 << 25
#: More than the limits above can come to; parsed, it would take many times its size.
_MAX_PAYLOAD = 1 << 29
#: 617 digits: below the least limit that Python's own parser can be set to (640).
MAX_BITS = 2048

_CONTAINERS = frozenset({list, dict, tuple, set, frozenset})
_TAGGED_SCALARS = frozenset({date, timedelta, Decimal, UUID})
_TEXT = frozenset({str})
_TOO_LONG = 1 << MAX_BITS
_ENCODER = json.JSONEncoder(
    # No check for cycles: `verdict` has made it.
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    separators=(",", ":"),
)


def verdict(value: Any) -> str:
    """Return `json`, `json-typed` or, for what neither gives back exactly, nothing."""
    judge = _Judge()
    if not judge.fits(value):
        return ""
    return "json-typed" if judge.is_typed else "json"


class _Judge:
    """Walks a value level by level; written for whole levels at once, which C does."""

    def __init__(self) -> None:
        self.is_typed = False
        self._items = 0
        self._bytes = 0
        self._characters = 0
        self._seen: set[int] = set()
        self._keys: set[str] = set()

    def fits(self, value: Any) -> bool:
        level = [value]
        for _ in range(MAX_DEPTH + 1):
            kinds = set(map(type, level))
            by_kind: dict[type, list[Any]] = {
                kind: [item for item in level if type(item) is kind] for kind in kinds
            }
            if not all(self._kind_fits(kind, items) for kind, items in by_kind.items()):
                return False
            below: list[Any] = []
            for kind in kinds & _CONTAINERS:
                self._items += sum(map(len, by_kind[kind]))
                if self._items > MAX_ITEMS:
                    return False
                if kind is dict:
                    below.extend(self._keys_of(by_kind[kind]))
                    for item in by_kind[kind]:
                        below.extend(item.values())
                else:
                    for item in by_kind[kind]:
                        below.extend(item)
            if not below:
                return _are_texts(list(self._keys))
            level = below
        return False

    def _keys_of(self, dicts: list[dict[Any, Any]]) -> list[Any]:
        """Keep the keys that are texts for later, and return those that make their dict typed."""
        others: list[Any] = []
        for item in dicts:
            if MARK in item or not set(map(type, item)) <= _TEXT:
                self.is_typed = True
                others.extend(item)
            else:
                self._keys.update(item)
        return others

    def _kind_fits(self, kind: type, items: list[Any]) -> bool:
        if kind is str:
            self._characters += sum(map(len, items))
            return self._characters <= MAX_CHARACTERS and _are_texts(items)
        if kind is int:
            # Compared as numbers: one look at the largest stands for all.
            self.is_typed |= max(items) >= _TOO_LONG or min(items) <= -_TOO_LONG
            return True
        if kind is float:
            self.is_typed |= not all(map(math.isfinite, items))
            return True
        if kind in (bool, type(None)):
            return True
        if kind in _CONTAINERS:
            return self._containers_fit(kind, items)
        self.is_typed = True
        return self._tags_fit(kind, items)

    def _containers_fit(self, kind: type, items: list[Any]) -> bool:
        self.is_typed |= kind is not list and kind is not dict
        if kind is tuple or kind is frozenset:
            return True  # constants such as the empty tuple are shared by the interpreter itself
        before = len(self._seen)
        self._seen.update(map(id, items))
        return len(self._seen) == before + len(items)

    def _tags_fit(self, kind: type, items: list[Any]) -> bool:
        if kind is bytes:
            self._bytes += sum(map(len, items))
            return self._bytes <= MAX_BYTES
        if kind is datetime or kind is time:
            return all(_zone_fits(item.tzinfo) for item in items)
        if kind.__module__ == "numpy":
            from flowblob.serializers.arrays import is_plain_scalar

            return all(map(is_plain_scalar, items))
        return kind in _TAGGED_SCALARS


def _are_texts(texts: list[str]) -> bool:
    return is_utf8("\n".join(texts))


def _zone_fits(zone: tzinfo | None) -> bool:
    if zone is None or type(zone) is timezone:
        return True
    # zoneinfo is loaded if the value holds one of its zones; one made from a file has no key.
    zoneinfo = sys.modules.get("zoneinfo")
    is_named = zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo
    return is_named and bool(getattr(zone, "key", None))


class JsonSerializer(ExactSerializer):
    """Plain JSON (RFC 8259), for values that it gives back exactly."""

    id: ClassVar[str] = "json"
    media_type: ClassVar[str] = "application/json"

    def accepts(self, value: Any) -> bool:
        return verdict(value) == "json"

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        writer.write(_encode(value))

    def view(self, reader: Reader) -> Any:
        raise no_view(self)

    def load(self, reader: Reader) -> Any:
        try:
            return json.loads(_text_of(reader))
        except (ValueError, RecursionError) as error:
            raise SerializationError(f"The stored JSON cannot be read: {error}") from error


class TypedJsonSerializer(JsonSerializer):
    """JSON whose objects with the key `$flowblob` carry what JSON has no form for."""

    id = "json-typed"

    def accepts(self, value: Any) -> bool:
        return verdict(value) != ""

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        writer.write(_encode(_tagged(value)))

    def load(self, reader: Reader) -> Any:
        try:
            return json.loads(_text_of(reader), object_hook=_untagged)
        except (
            ValueError,
            TypeError,
            KeyError,
            LookupError,
            ArithmeticError,
            RecursionError,
            OSError,  # the name of a time zone that is a folder
            struct.error,
        ) as error:
            raise SerializationError(f"The stored value cannot be read: {error}") from error


def _text_of(reader: Reader) -> str:
    if reader.size > _MAX_PAYLOAD:
        raise ValueError(
            f"it has {reader.size:,} bytes, and no value that is stored so has as many"
        )
    return str(reader.view(), "utf-8")


def _encode(value: Any) -> bytes:
    return _ENCODER.encode(value).encode()


# ------------------------------------------------------------------ writing tags


def _tag(name: str, content: Any) -> dict[str, Any]:
    return {MARK: name, "v": content}


def _tagged(value: Any) -> Any:
    kind = type(value)
    if kind in (str, bool, type(None)):
        return value
    if kind is list:
        return [_tagged(item) for item in value]
    writer = _WRITERS.get(kind)
    if writer is None:
        from flowblob.serializers.arrays import scalar_to_tag

        return _tag("numpy", scalar_to_tag(value))
    return writer(value)


def _write_dict(value: dict[Any, Any]) -> Any:
    if MARK not in value and all(type(key) is str for key in value):
        return {key: _tagged(item) for key, item in value.items()}
    return _tag("dict", [[_tagged(key), _tagged(item)] for key, item in value.items()])


def _write_set(value: set[Any] | frozenset[Any]) -> Any:
    # A set has no order: sorting what is written gives equal sets equal bytes.
    items = sorted((_tagged(item) for item in value), key=_encode)
    return _tag(type(value).__name__, items)


def _write_int(value: int) -> Any:
    return value if value.bit_length() <= MAX_BITS else _tag("int", hex(value))


def _write_float(value: float) -> Any:
    # By its bits: a NaN has a sign and a payload.
    return value if math.isfinite(value) else _tag("float", struct.pack(">d", value).hex())


def _write_zone(zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is timezone:
        name = zone.tzname(None)
        plain = timezone(zone.utcoffset(None)).tzname(None)
        return [*_write_delta(zone.utcoffset(None))["v"], *([name] if name != plain else [])]
    return getattr(zone, "key", None)  # a ZoneInfo: `_zone_fits` has seen to that


def _write_delta(value: timedelta) -> dict[str, Any]:
    return _tag("timedelta", [value.days, value.seconds, value.microseconds])


def _write_moment(value: datetime | time) -> dict[str, Any]:
    bare = value.replace(tzinfo=None, fold=0).isoformat()
    return _tag(type(value).__name__, [bare, _write_zone(value.tzinfo), value.fold])


_WRITERS: dict[type, Callable[[Any], Any]] = {
    dict: _write_dict,
    tuple: lambda value: _tag("tuple", [_tagged(item) for item in value]),
    set: _write_set,
    frozenset: _write_set,
    int: _write_int,
    float: _write_float,
    bytes: lambda value: _tag("bytes", base64.b64encode(value).decode()),
    datetime: _write_moment,
    time: _write_moment,
    date: lambda value: _tag("date", value.isoformat()),
    timedelta: _write_delta,
    Decimal: lambda value: _tag("decimal", str(value)),
    UUID: lambda value: _tag("uuid", [str(value), value.is_safe.value]),
}


# ------------------------------------------------------------------ reading tags


def _untagged(value: dict[str, Any]) -> Any:
    if MARK not in value:
        return value
    reader = _READERS.get(value[MARK])
    if reader is None:
        raise ValueError(f"it holds the unknown type {value[MARK]!r}; upgrade flowblob")
    return reader(value["v"])


def _read_zone(content: Any) -> tzinfo | None:
    if content is None:
        return None
    if isinstance(content, list):
        return timezone(timedelta(*content[:3]), *content[3:])
    from zoneinfo import ZoneInfo

    return ZoneInfo(content)


def _read_datetime(content: list[Any]) -> datetime:
    bare, zone, fold = content
    return datetime.fromisoformat(bare).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_time(content: list[Any]) -> time:
    bare, zone, fold = content
    return time.fromisoformat(bare).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_numpy(content: list[str]) -> Any:
    from flowblob.serializers.arrays import scalar_from_tag

    return scalar_from_tag(content)


_READERS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "int": lambda content: int(content, 16),
    "float": lambda content: struct.unpack(">d", bytes.fromhex(content))[0],
    "bytes": lambda content: base64.b64decode(content, validate=True),
    "datetime": _read_datetime,
    "time": _read_time,
    "date": date.fromisoformat,
    "timedelta": lambda content: timedelta(*content),
    "decimal": Decimal,
    "uuid": lambda content: UUID(content[0], is_safe=SafeUUID(content[1])),
    "numpy": _read_numpy,
}
