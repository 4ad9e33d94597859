"""`--filter 'size>1GB'`, `--sort size:desc`, `--tag team=risk`: the small languages of listings."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from flowblob.checks import parse_duration
from flowblob.config import parse_size
from flowblob.errors import InvalidInputError
from flowblob.urls import did_you_mean

if TYPE_CHECKING:
    from flowblob.model import Blob, Run, TagValue

Test = Callable[["Blob"], bool]

_TERM = re.compile(r"\s*([a-z_]+)\s*(>=|<=|!=|==|=|>|<)\s*(.+?)\s*\Z")
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}
_TEXT = ("key", "kind", "media_type", "serializer", "filename", "digest", "id")
_NUMBERS = ("size", "version", "parts")
_FIELDS = (*_TEXT, *_NUMBERS, "age", "created")
_RUN_FIELDS = ("system", "flow", "task", "run_id")
_SORTS = {"key": "asc", "kind": "asc", "size": "desc", "version": "desc", "created": "desc"}


def parse_filter(text: str, now: datetime | None = None) -> Test:
    """Read one condition, such as `size>1GB`, `age<=30d`, `kind=dataset`, `key=models/*`.

    Raises:
        InvalidInputError: It is no condition, or the field or value is unknown.
    """
    match = _TERM.match(text)
    if not match:
        raise InvalidInputError(
            f"Invalid filter {text!r}", hint="Write --filter 'size>1GB' or 'age>30d' or 'key=a/*'"
        )
    name, sign, value = match.groups()
    if name in _NUMBERS:
        limit = parse_size(value, what=f"{name} in filter {text!r}")
        return lambda blob: _ORDER[sign](getattr(blob, name), limit)
    if name == "age":
        span = parse_duration(value, what=f"age in filter {text!r}")
        start = now or datetime.now(UTC)
        return lambda blob: _ORDER[sign](start - blob.created_at, span)
    if name == "created":
        moment = _moment(value, text)
        return lambda blob: _ORDER[sign](blob.created_at, moment)
    if name in _TEXT:
        return _text_test(name, sign, value, text)
    hint = did_you_mean(name, _FIELDS) or f"Fields: {', '.join(_FIELDS)}"
    raise InvalidInputError(f"Unknown field {name!r} in filter {text!r}", hint=hint)


def _text_test(name: str, sign: str, pattern: str, text: str) -> Test:
    if sign not in ("=", "==", "!="):
        raise InvalidInputError(
            f"Filter {text!r} compares text",
            hint=f"Write '{name}={pattern}', * stands for anything",
        )
    wanted = sign != "!="
    return lambda blob: fnmatchcase(getattr(blob, name), pattern) is wanted


def _moment(value: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidInputError(
            f"Invalid date {value!r} in filter {text!r}", hint="Write created>2026-11-20 (UTC)"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_sort(text: str) -> tuple[str, bool]:
    """Return the field and whether the largest comes first; `size`, `version`, `created` do so."""
    name, _, order = text.partition(":")
    if name not in _SORTS or order not in ("", "asc", "desc"):
        hint = did_you_mean(name, _SORTS) if name not in _SORTS else ""
        raise InvalidInputError(
            f"Invalid sort {text!r}",
            hint=hint or f"One of {', '.join(_SORTS)}, with :asc or :desc if need be",
        )
    return name, (order or _SORTS[name]) == "desc"


def sort_blobs(blobs: Iterable[Blob], text: str) -> list[Blob]:
    """Return the blobs in the order that `--sort` asks for."""
    name, is_descending = parse_sort(text)
    field = "created_at" if name == "created" else name
    by_key = sorted(blobs, key=lambda blob: blob.key)
    return sorted(by_key, key=lambda blob: getattr(blob, field), reverse=is_descending)


def parse_tag(text: str) -> tuple[str, TagValue]:
    """Read `name=text`, or `name:=value` for a number or a boolean.

    Text is the default because `1.10` and `0012` are more often names than numbers.

    Raises:
        InvalidInputError: It is neither.
    """
    name, equals, value = text.partition("=")
    if not equals or not name.rstrip(":"):
        raise InvalidInputError(
            f"Invalid tag {text!r}", hint="Write name=text, or name:=3 for a number"
        )
    if not name.endswith(":"):
        return name, value
    try:
        read = json.loads(value)
    except ValueError:
        read = None
    if not isinstance(read, (str, int, float, bool)):
        raise InvalidInputError(
            f"Invalid tag {text!r}: {value!r} is no number and no boolean",
            hint=f"Write {name.rstrip(':')}={value} for text",
        )
    return name.rstrip(":"), read


def tag_test(text: str) -> Test:
    """Return a test for `name=value` or `name`; 3 matches the number and the text."""
    name, equals, value = text.partition("=")
    name = name.rstrip(":")
    if not equals:
        return lambda blob: name in blob.tags
    return lambda blob: name in blob.tags and _tag_text(blob.tags[name]) == value


def _tag_text(value: TagValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def tags_text(tags: dict[str, TagValue] | Any) -> str:
    """Return tags as they are written on the command line."""
    return " ".join(
        f"{name}={value}" if isinstance(value, str) else f"{name}:={json.dumps(value)}"
        for name, value in tags.items()
    )


def by_test(who: str) -> Test:
    """Return a test for who wrote a blob: a system, or a run's id or name."""

    def test(blob: Blob) -> bool:
        run: Run | None = blob.run
        return run is not None and who in (run.system, run.run_id, run.task_run_id, run.name)

    return test


def catalog_filters(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the catalog filters by itself.

    Raises:
        click.UsageError: `--flow` and `--dag` were both given.
    """
    if options.get("flow") and options.get("dag"):
        raise click.UsageError("--flow and --dag exclude each other")
    found = {name: options[name] for name in ("kind", "flow", "task") if options.get(name)}
    if dag := options.get("dag"):
        found |= {"system": "airflow", "flow": dag}
    for option, field in (("run", "run_id"), ("system", "system")):
        if options.get(option):
            found[field] = options[option]
    return found


def field_test(wanted: dict[str, Any]) -> Test:
    """Return the test that the catalog makes of the same filters."""

    def test(blob: Blob) -> bool:
        run = {} if blob.run is None else {f: getattr(blob.run, f) for f in _RUN_FIELDS}
        has = run | {"kind": blob.kind}
        return all(has.get(name) == value for name, value in wanted.items())

    return test


def passes(blob: Blob, tests: Sequence[Test]) -> bool:
    """Say whether a blob meets every condition."""
    return all(test(blob) for test in tests)
