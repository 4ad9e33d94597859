"""Between rows and records. Rows come from the column lists in `sql.columns`, in that order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from flowblob.drafts import Payload
from flowblob.errors import CatalogUnavailableError
from flowblob.model import Blob, CacheEntry, Ingredient, Read, Run, maker

Row = tuple[Any, ...]

#: How many columns `to_blob` (with its run), `to_payload`, `to_run` and `to_entry` read.
BLOB_WIDTH, PAYLOAD_WIDTH, RUN_WIDTH, ENTRY_WIDTH = 36, 10, 12, 13

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_decode = json.JSONDecoder().raw_decode
# A row was checked when it was written.
_make_run, _make_blob, _make_entry = maker(Run), maker(Blob), maker(CacheEntry)
_make_payload = maker(Payload)


def _loads(text: str) -> Any:
    """Return what a JSON column holds; `json.loads` spends most of its time on what we know."""
    try:
        value, end = _decode(text)
        return value if end == len(text) else json.loads(text)  # which says what is wrong
    except (ValueError, RecursionError) as error:
        raise CatalogUnavailableError(
            f"a record of the catalog cannot be read: {error}",
            hint="It was damaged, or not written by flowblob; restore a backup of the catalog",
            retryable=False,
        ) from error


def to_micros(moment: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=4096)  # the same few rows are served again and again
def to_datetime(micros: int) -> datetime:
    """Return the aware UTC datetime of a column."""
    return _EPOCH + timedelta(0, 0, micros)


def to_text(value: Any) -> str:
    """Return JSON as it is stored, '{}' where empty."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else "{}"


def from_text(text: str) -> Any:
    """Return what `to_text` stored; most columns are empty, and then nothing is parsed."""
    return {} if text == "{}" else _loads(text)


def to_tag(value: Any) -> str:
    """Return a tag's value as it is stored: JSON text, so that 1, 1.0 and true stay apart."""
    return json.dumps(value, ensure_ascii=False)


def from_tag(text: str) -> Any:
    """Return a tag's value from its stored text."""
    return _loads(text)


def to_run(row: Row, at: int = 0) -> Run | None:
    """Return the run in RUN columns that begin at index `at`, None where a join found none."""
    return None if row[at] is None else _to_run(row[at : at + 12])


@lru_cache(maxsize=1024)  # one run writes and reads many versions
def _to_run(row: Row) -> Run:
    return _make_run(*row[:9], to_datetime(row[9]), from_text(row[10]), from_text(row[11]))


def to_blob(row: Row) -> Blob:
    """Return the blob in BLOB columns at the start of a row."""
    metadata, tags, partitions, aliases, preview = row[13:17] + row[23:24]
    try:
        return _make_blob(
            *row[:10],
            to_datetime(row[10]),
            row[11],
            row[12],
            {} if metadata == "{}" else _loads(metadata),
            {} if tags == "{}" else _loads(tags),
            {} if partitions == "{}" else _loads(partitions),
            tuple(sorted(aliases.split("/"))) if aliases else (),
            to_run(row, 24),
            row[17],
            row[18],
            row[19] != 0,
            *row[20:23],
            _loads(preview) if preview else None,
        )
    except CatalogUnavailableError as error:
        raise named(error, row[1], row[2]) from error


def named(error: CatalogUnavailableError, key: str, version: int) -> CatalogUnavailableError:
    """Return the error of a record that cannot be read, with the version that it is of."""
    return CatalogUnavailableError(
        f"{key}@{version}: {error.message}", hint=error.hint, retryable=error.retryable
    )


def to_payload(row: Row, at: int, data: bytes | None = None) -> Payload | None:
    """Return the payload in PAYLOAD columns that begin at index `at`, None where there is none.

    A part without a payload is what is left of a damaged catalog.
    """
    if row[at] is None or row[at + 1] is None:
        return None
    return _make_payload(
        *row[at : at + 6], data, row[at + 6] != 0, *row[at + 7 : at + 9], row[at + 9] or ""
    )


def to_entry(row: Row, at: int, blob: Blob, run: Run | None, ingredients: str) -> CacheEntry:
    """Return the entry in ENTRY columns that begin at index `at`.

    Args:
        row: The row.
        at: Where the columns begin.
        blob: The version it points at, already made.
        run: The run that computed it, already made.
        ingredients: JSON text, or "" where nobody asked: a hit never reads them.
    """
    (key, name, rev, created, updated, expires, cost, hits, last_hit, pinned, outputs, reads,
     metadata) = row[at : at + ENTRY_WIDTH]  # fmt: skip
    return _make_entry(
        key,
        name,
        rev,
        blob,
        to_datetime(created),
        to_datetime(updated),
        None if expires is None else to_datetime(expires),
        timedelta(0, 0, cost),
        {} if outputs == "{}" else _loads(outputs),
        run,
        () if reads == "{}" else tuple(Read(*pair) for pair in _loads(reads)),
        to_ingredients(ingredients) if ingredients else (),
        hits,
        None if last_hit is None else to_datetime(last_hit),
        pinned != 0,
        {} if metadata == "{}" else _loads(metadata),
    )


def to_ingredients(text: str) -> tuple[Ingredient, ...]:
    """Return the ingredients of a key as they were stored."""
    return tuple(Ingredient(*item) for item in _loads(text)) if text else ()
