"""Portable records from outside: every field is checked before any of them is believed."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from typing import Any

from flowblob.checks import (
    validate_alias,
    validate_digest,
    validate_key,
    validate_metadata,
    validate_tags,
)
from flowblob.errors import InvalidInputError
from flowblob.portable import CAUSES, FIELDS, KINDS, Kind, from_moment, to_moment

Check = Callable[[Any], bool]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_HEX = re.compile(r"([0-9a-f]{2})*\Z")
_DAY = re.compile(r"\d{4}-\d\d-\d\d\Z")
_TEXT_LIMIT = 1 << 20


def vet(kind: Kind, record: Any) -> None:
    """Refuse a record that `Catalog.scan` of a sound store could not have returned.

    Raises:
        InvalidInputError: It names the field.
    """
    names = {name.rstrip("?"): name.endswith("?") for name in FIELDS[kind].split()}
    if type(record) is not dict or record.keys() != names.keys():
        raise InvalidInputError(f"A {kind} record has not the fields {', '.join(names)}")
    for name, may_be_null in names.items():
        value = record[name]
        check = _CHECKS.get(f"{kind}.{name}") or _CHECKS[name]
        if not (value is None and may_be_null) and not check(value):
            raise InvalidInputError(
                f"The {name} of a {kind} record is invalid: {str(value)[:80]!r}"
            )
    if kind == "version":
        _vet_version(record)


def _vet_version(record: dict[str, Any]) -> None:
    payloads, previous = record["payloads"], record["prev_version"]
    main = ["", record["digest"], record["size"], record["checksum"]]
    names = [name for name, *_ in payloads]
    wrong = (
        (previous is not None and previous >= record["version"])
        or (record["dropped"] is not None and payloads)
        or len(set(names)) < len(names)
        or ("" in names and payloads[0] != main)
        or (payloads and record["parts"] != len(names) - ("" in names))
        or (payloads and record["digest"] and "" not in names)
    )
    if wrong:
        raise InvalidInputError(f"The version {record['id']} contradicts itself")


# ------------------------------------------------------------------ one value


def _text(value: Any) -> bool:
    if type(value) is not str or len(value) > _TEXT_LIMIT or "\x00" in value:
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _moment(value: Any) -> bool:
    try:
        return type(value) is str and to_moment(from_moment(value)) == value
    except (ValueError, OverflowError):
        return False


def _flag(value: Any) -> bool:
    return type(value) is bool


def _passes(validate: Callable[[Any], object], value: Any) -> bool:
    try:
        validate(value)
    except InvalidInputError:
        return False
    return True


def _facts(value: Any) -> bool:
    return type(value) is dict and _passes(validate_metadata, value)


def _each_a_fact(value: Any) -> bool:
    return type(value) is dict and all(_facts({name: item}) for name, item in value.items())


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: type(value) is str and pattern.match(value) is not None


_uuid, _hex = _matches(_UUID), _matches(_HEX)


def _uuid_if_any(value: Any) -> bool:
    return value == "" or _uuid(value)


def _digest(value: Any) -> bool:
    return type(value) is str and _passes(validate_digest, value)


def _key(value: Any) -> bool:
    return _passes(validate_key, value)


def _base64(value: Any) -> bool:
    try:
        return type(value) is str and bool(base64.b64decode(value, validate=True) or not value)
    except ValueError:
        return False


def _integer(value: Any) -> bool:
    return type(value) is int and -(1 << 31) <= value < 1 << 31


def _seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(values: tuple[str, ...]) -> Check:
    return lambda value: type(value) is str and value in values


def _row(*checks: Check) -> Check:
    def check(value: Any) -> bool:
        return (
            type(value) is list
            and len(value) == len(checks)
            and all(one(item) for one, item in zip(checks, value, strict=True))
        )

    return check


def _rows(*checks: Check) -> Check:
    row = _row(*checks)
    return lambda value: type(value) is list and all(map(row, value))


def _mapping(check: Check) -> Check:
    return lambda value: (
        type(value) is dict and all(map(_text, value)) and all(map(check, value.values()))
    )


def _tag_changes(value: Any) -> bool:
    if not _rows(_text, lambda _: True, _moment, _text)(value):
        return False
    return all(
        _passes(validate_tags, {name: "" if set_to is None else set_to})
        for name, set_to, *_ in value
    )


def _run(value: Any) -> bool:
    return _passes(lambda run: vet("run", run), value)


def _alias(value: Any) -> bool:
    return _passes(validate_alias, value)


_identity = _row(_text, _text, _integer)
_maybe_digest: Check = lambda value: value == "" or _digest(value)  # noqa: E731

#: By field, or by kind and field where a name means several things.
_CHECKS: dict[str, Check] = {
    **dict.fromkeys(("id", "incarnation", "op"), _uuid),
    **dict.fromkeys(("created_at", "ended_at", "started_at", "updated_at", "at"), _moment),
    **dict.fromkeys(("last_hit_at", "expires_at"), _moment),
    **dict.fromkeys(("version", "prev_version", "size", "parts", "rev", "cost"), _number),
    **dict.fromkeys(("hits", "misses"), _number),
    **dict.fromkeys(("attempt", "map_index"), _integer),
    **dict.fromkeys(("history", "pinned"), _flag),
    "metadata": _facts,
    "entry.metadata": _each_a_fact,
    **dict.fromkeys(("used", "generated"), _each_a_fact),
    **dict.fromkeys(("content", "checksum"), _hex),
    "key": _key,
    "entry.key": _text,
    "digest": _maybe_digest,
    "partitions": _mapping(_text),
    "payloads": _rows(_text, _digest, _number, _hex),
    "run": _identity,
    "version.run": _run,
    "system": _one_of(("prefect", "airflow", "python")),
    "role": _one_of(("input", "output", "cache_hit")),
    "cause": _one_of(CAUSES),
    "dropped": _row(_moment, _text, _one_of(CAUSES)),
    "tags.history": _tag_changes,
    "aliases.history": _rows(_alias, _maybe(_number), _moment, _text),
    "standing": _rows(_alias, _number, _flag, _moment, _text),
    "parents": _rows(_uuid, _moment),
    "outputs": _mapping(_uuid),
    "reads": _rows(_text, _uuid_if_any),  # none: it was absent
    "ingredients": _rows(_text, _text, _text, _text),
    "day": _matches(_DAY),
    "seconds": _seconds,
    "record": _base64,
}
_CHECKS |= {
    name.rstrip("?"): _text
    for kind in KINDS
    for name in FIELDS[kind].split()
    if name.rstrip("?") not in _CHECKS
}
