"""The checks at the door: what a key, an alias, tags, metadata and durations may be. No I/O."""

from __future__ import annotations

import json
import math
import re
import unicodedata
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flowblob.errors import InvalidInputError

if TYPE_CHECKING:
    from flowblob.model import TagValue

KEY_BYTES = 1024
METADATA_BYTES = 1 << 20
#: A tag's value as JSON in UTF-8: with its name, it fits an index of every engine.
TAG_BYTES = 1024
TAG_NAME_LENGTH = 255
LATEST = "latest"
#: More results than anybody lists, and as many as every engine can count.
_MOST = (1 << 31) - 1
_LAST = "\U0010ffff"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\@]")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\Z")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def validate_key(key: object) -> str:
    """Return the key unchanged, or refuse it.

    A key is NFC text of at most 1,024 bytes in UTF-8, made of segments between `/`. Nothing is
    normalised: a normalised key would merge the histories of two names.

    Args:
        key: The name to check.

    Raises:
        InvalidInputError: What is wrong with it, and what a key may look like.

    Example:
        >>> validate_key("models/churn")
        'models/churn'
    """
    problem = _key_problem(key)
    if problem:
        shown = repr(key if not isinstance(key, str) or len(key) <= 80 else key[:77] + "...")
        raise InvalidInputError(
            f"Invalid key {shown}: {problem}",
            hint="A key looks like 'models/churn': segments of text between single slashes",
        )
    assert isinstance(key, str)
    return key


def beyond(prefix: str) -> str:
    """Return the text that follows on all keys that begin with a prefix, by their code points.

    Example:
        >>> beyond("a/")
        'a0'
    """
    head = prefix.rstrip(_LAST)
    if not head:
        return _LAST * KEY_BYTES  # longer than any key
    following = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no text


def _key_problem(key: object) -> str:
    if not isinstance(key, str):
        return f"a key is text, not {type(key).__name__}"
    if not key:
        return "it is empty"
    if key.isascii():
        size = len(key)
    else:
        try:
            size = len(key.encode())
        except UnicodeEncodeError:
            return "it holds a lone surrogate, which UTF-8 cannot carry"
        if not unicodedata.is_normalized("NFC", key):
            return "it is not in Unicode form NFC; normalise it where the name is made"
    return (
        f"it has {size:,} bytes, the limit is {KEY_BYTES:,}"
        if size > KEY_BYTES
        else _form_problem(key)
    )


def _form_problem(key: str) -> str:
    if found := _CONTROL.search(key):
        return f"{found[0]!r} is not allowed"
    if key.startswith(("id:", "sha256:")):
        return "'id:' and 'sha256:' begin other kinds of references"
    if key != key.strip():
        return "it begins or ends with white space"
    for segment in key.split("/"):
        if segment in ("", ".", ".."):
            return f"the segment {segment!r} between slashes is not allowed"
    return ""


def quote_segment(text: str) -> str:
    """Turn any text into one key segment; two texts never share a segment.

    Args:
        text: A flow, task or function name as its host gives it.

    Example:
        >>> quote_segment("a/b@c")
        'a%2Fb%40c'
    """
    plain = text.replace("%", "%25")
    if not text.isascii() and (not unicodedata.is_normalized("NFC", text) or _has_surrogate(text)):
        return quote(text, safe=" ", errors="surrogatepass")
    quoted = "".join(f"%{ord(c):02X}" if _CONTROL.match(c) or c == "/" else c for c in plain)
    if quoted in ("", ".", ".."):
        return {"": "%", ".": "%2E", "..": "%2E%2E"}[quoted]
    if quoted != quoted.strip():
        head, tail = quoted[0], quoted[-1]
        quoted = (
            (quote(head) if head.isspace() else head)
            + quoted[1:-1]
            + (quote(tail) if tail.isspace() else tail)
        )
    return quoted


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def validate_alias(alias: object) -> str:
    """Return the alias, or refuse it: never all digits, never `latest`, no `@`, `/` or `:`."""
    if not isinstance(alias, str) or _key_problem(alias) or "/" in alias or ":" in alias:
        raise InvalidInputError(
            f"Invalid alias {alias!r}", hint="An alias is one word such as 'prod'"
        )
    if alias == LATEST or alias.isdigit():
        raise InvalidInputError(
            f"Invalid alias {alias!r}: it would read as a version",
            hint="Choose a word such as 'prod'",
        )
    return alias


def validate_tags(tags: Mapping[str, TagValue]) -> dict[str, TagValue]:
    """Return a copy of the tags, or refuse them: text to str, int, float or bool."""
    if not isinstance(tags, Mapping):
        raise InvalidInputError(
            f"Tags are a dict, not {type(tags).__name__}", hint="Write tags={'team': 'growth'}"
        )
    for name, value in tags.items():
        if not isinstance(name, str) or not name or _has_surrogate(name) or "\x00" in name:
            raise InvalidInputError(f"Invalid tag name {name!r}", hint="A tag name is text")
        if len(name) > TAG_NAME_LENGTH:
            raise InvalidInputError(
                f"Invalid tag name {name[:80]!r}…", hint=f"At most {TAG_NAME_LENGTH} characters"
            )
        if type(value) not in (str, int, float, bool) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise InvalidInputError(
                f"Tag {name!r} has the value {value!r} of type {type(value).__name__}",
                hint="A tag value is str, int, finite float or bool; else use metadata",
            )
        if type(value) is int and not -(1 << 63) <= value < 1 << 63:
            raise InvalidInputError(
                f"Tag {name!r} is a number of more than 64 bits", hint="Give it as text"
            )
        if isinstance(value, str):
            _check_tag_text(name, value)
    return dict(tags)


def _check_tag_text(name: str, value: str) -> None:
    if _has_surrogate(value):
        raise InvalidInputError(
            f"Tag {name!r} holds a lone surrogate", hint="Give text that UTF-8 can carry"
        )
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > TAG_BYTES:
        raise InvalidInputError(
            f"Tag {name!r} has {size:,} bytes, the limit is {TAG_BYTES:,}",
            hint="Tags are for finding; use metadata for more",
        )


def validate_metadata(metadata: Mapping[str, Any], *, what: str = "metadata") -> str:
    """Return the JSON text of the metadata, or refuse what JSON would not give back exactly."""
    try:
        text = json.dumps(
            metadata if isinstance(metadata, dict) else dict(metadata),
            allow_nan=False,
            ensure_ascii=False,
        )
        text.encode()
        same = _same_json(
            json.loads(text), metadata if isinstance(metadata, dict) else dict(metadata)
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"The {what} is not JSON: {error}", hint="Use dicts, lists, text, numbers"
        ) from error
    if not same:
        raise InvalidInputError(
            f"JSON would not give this {what} back as it is (tuples, non-text keys, subclasses)",
            hint="Use plain dicts with text keys, lists, text, numbers, booleans and None",
        )
    if len(text) > METADATA_BYTES:
        raise InvalidInputError(
            f"The {what} has {len(text):,} bytes, the limit is {METADATA_BYTES:,}"
        )
    return text


def _same_json(read: Any, given: Any) -> bool:
    if type(read) is not type(given):
        return False
    if isinstance(read, dict):
        return read.keys() == given.keys() and all(_same_json(read[k], given[k]) for k in read)
    if isinstance(read, list):
        return len(read) == len(given) and all(map(_same_json, read, given))
    return bool(read == given)


def parse_duration(
    value: timedelta | str | float | None, *, what: str = "duration"
) -> timedelta | None:
    """Return a duration from a timedelta, seconds, or text such as `"7d"`, `"90s"`, `"1.5h"`.

    Raises:
        InvalidInputError: It is not a duration, or not positive.

    Example:
        >>> parse_duration("90m")
        datetime.timedelta(seconds=5400)
    """
    if value is None or isinstance(value, timedelta):
        result = value
    elif isinstance(value, str) and (match := _DURATION.match(value.strip())):
        result = timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        result = timedelta(seconds=value)
    else:
        raise InvalidInputError(
            f"Invalid {what} {value!r}", hint="Write '30s', '15m', '12h', '7d' or a timedelta"
        )
    if result is not None and result <= timedelta():
        raise InvalidInputError(f"The {what} {value!r} is not positive")
    return result


def validate_limit(limit: object) -> int | None:
    """Return a number of results that is one, None for no limit.

    Raises:
        InvalidInputError: Each engine would take it to mean something else.
    """
    if limit is None or (type(limit) is int and limit >= 0):
        return limit if limit is None else min(limit, _MOST)
    raise InvalidInputError(f"Invalid limit {limit!r}", hint="Give a number, or none for all")


def validate_filters(filters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the filters unchanged, or refuse what no record could equal.

    Raises:
        InvalidInputError: It names the filter.
    """
    for name, value in filters.items():
        if name in ("tags", "partitions"):
            if not isinstance(value, Mapping):
                raise InvalidInputError(f"The filter {name} is a dict, not {value!r}")
        elif not isinstance(value, str | int | float | None):
            raise InvalidInputError(f"The filter {name} is one value, not {value!r}")
    return filters


def new_id() -> str:
    """Return a fresh uuid as text."""
    return str(uuid.uuid4())


def utc_now() -> datetime:
    """Return the present as an aware UTC datetime."""
    return datetime.now(UTC)


def validate_digest(text: str) -> str:
    """Return the digest, or refuse what is not `sha256:<64 hex digits>`."""
    if not _DIGEST.match(text):
        raise InvalidInputError(
            f"Invalid digest {text[:80]!r}",
            hint="A digest is 'sha256:' and 64 hexadecimal digits in lower case",
        )
    return text
