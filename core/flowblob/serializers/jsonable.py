"""JSON for what JSON gives back exactly, and tagged JSON for what it does not.

Two formats, because then no value can be mistaken for another: in `json` nothing is interpreted,
so a user's dict comes back verbatim whatever it looks like; in `json-typed` every object that
holds the key `$flowblob` is ours, and a user's dict that holds this key is written as pairs.

A value is judged by exact types, never by `isinstance`: an OrderedDict, an IntEnum or an np.float64
would come back as something else. It also goes elsewhere if it is

- nested deeper than 100 levels, or cyclic (the recursion of a parser is not ours to bound);
- sharing one list, dict or set between two places (JSON would make two of it; and n levels of
  sharing would write 2^n copies);
- larger than 200,000 items, or holding bytes of more than 64 KiB (pickle is several times faster);
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

from flowblob.abc import Reader, Serializer, Writer
from flowblob.errors import SerializationError
from flowblob.serializers.plain import is_utf8, refuse
from flowblob.serializers.previews import describe

MARK = "$flowblob"
MAX_DEPTH = 100
MAX_ITEMS = 200_000
MAX_BYTES = 1 << 16
#: 617 digits: below the least limit that Python's own parser can be set to (640).
MAX_BITS = 2048

_CONTAINERS = frozenset({list, dict, tuple, set, frozenset})
_TAGGED_SCALARS = frozenset({bytes, datetime, date, time, timedelta, Decimal, UUID})


class _Judge:
    """Decides in one walk whether a value is `json`, `json-typed` or neither (empty)."""

    def __init__(self) -> None:
        self._is_typed = False
        self._items = 0
        self._bytes = 0
        self._seen: set[int] = set()

    def verdict(self, value: Any) -> str:
        level = [value]
        for _ in range(MAX_DEPTH + 1):
            below: list[Any] = []
            for container in self._containers(level):
                if type(container) is dict:
                    if any(type(key) is not str for key in container) or MARK in container:
                        self._is_typed = True
                        below.extend(container)
                    elif not self._are_texts(list(container)):
                        return ""
                    below.extend(container.values())
                else:
                    below.extend(container)
            if self._failed or not self._scalars_fit(level):
                return ""
            self._items += len(below)
            if self._items > MAX_ITEMS:
                return ""
            if not below:
                return "json-typed" if self._is_typed else "json"
            level = below
        return ""

    _failed = False

    def _containers(self, level: list[Any]) -> list[Any]:
        found = [item for item in level if type(item) in _CONTAINERS]
        for item in found:
            if type(item) not in (list, dict):
                self._is_typed = True
            # The empty tuple and other constants are shared by the interpreter itself.
            if type(item) in (tuple, frozenset):
                continue
            if id(item) in self._seen:
                self._failed = True
            self._seen.add(id(item))
        return found

    def _scalars_fit(self, level: list[Any]) -> bool:
        kinds = set(map(type, level)) - _CONTAINERS - {bool, type(None)}
        if str in kinds and not self._are_texts([item for item in level if type(item) is str]):
            return False
        if int in kinds and any(
            type(item) is int and item.bit_length() > MAX_BITS for item in level
        ):
            self._is_typed = True
        if float in kinds and not all(
            type(item) is not float or math.isfinite(item) for item in level
        ):
            self._is_typed = True
        rest = kinds - {str, int, float}
        if not rest:
            return True
        self._is_typed = True
        if any(kind not in _TAGGED_SCALARS and kind.__module__ != "numpy" for kind in rest):
            return False
        return all(self._tag_fits(item) for item in level if type(item) in rest)

    def _tag_fits(self, item: Any) -> bool:
        if type(item) is bytes:
            self._bytes += len(item)
            return self._bytes <= MAX_BYTES
        if isinstance(item, datetime | time):
            return _zone_fits(item.tzinfo)
        if type(item).__module__ == "numpy":
            from flowblob.serializers.arrays import is_plain_scalar

            return is_plain_scalar(item)
        return True

    @staticmethod
    def _are_texts(texts: list[str]) -> bool:
        return is_utf8("\n".join(texts))


def _zone_fits(zone: tzinfo | None) -> bool:
    if zone is None or type(zone) is timezone:
        return True
    # zoneinfo is loaded if the value holds one of its zones; one made from a file has no key.
    zoneinfo = sys.modules.get("zoneinfo")
    is_named = zoneinfo is not None and type(zone) is zoneinfo.ZoneInfo
    return is_named and bool(getattr(zone, "key", None))


class JsonSerializer(Serializer):
    """Plain JSON (RFC 8259), for values that it gives back exactly."""

    id: ClassVar[str] = "json"
    media_type: ClassVar[str] = "application/json"

    def accepts(self, value: Any) -> bool:
        return _Judge().verdict(value) == "json"

    def dump(self, value: Any, writer: Writer) -> None:
        if not self.accepts(value):
            raise refuse(self, value)
        writer.write(_encode(value))

    def load(self, reader: Reader) -> Any:
        try:
            return json.loads(str(reader.view(), "utf-8"))
        except (ValueError, RecursionError) as error:
            raise SerializationError(f"The stored JSON cannot be read: {error}") from error

    def describe(self, value: Any) -> dict[str, Any]:
        return describe(value)


class TypedJsonSerializer(JsonSerializer):
    """JSON whose objects with the key `$flowblob` carry what JSON has no form for."""

    id = "json-typed"

    def accepts(self, value: Any) -> bool:
        return _Judge().verdict(value) != ""

    def dump(self, value: Any, writer: Writer) -> None:
        if not self.accepts(value):
            raise refuse(self, value)
        writer.write(_encode(_tagged(value)))

    def load(self, reader: Reader) -> Any:
        try:
            return json.loads(str(reader.view(), "utf-8"), object_hook=_untagged)
        except (
            ValueError,
            TypeError,
            KeyError,
            LookupError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise SerializationError(f"The stored value cannot be read: {error}") from error


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


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
