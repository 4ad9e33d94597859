"""Between rows and records. Rows come from the column lists in `sql.columns`, in that order."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowblob.abc import Payload
from flowblob.model import Blob, CacheEntry, Ingredient, Read, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    Row = Sequence[Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_loads = json.loads


def to_micros(moment: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def to_datetime(micros: int) -> datetime:
    """Return the aware UTC datetime of a column."""
    return _EPOCH + timedelta(0, 0, micros)


def to_text(value: Any) -> str:
    """Return JSON as it is stored, '{}' or '[]' where empty."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else "{}"


def from_text(text: str) -> Any:
    """Return what `to_text` stored; most columns are empty, and then nothing is parsed."""
    return {} if text == "{}" else _loads(text)


def to_run(row: Row, at: int = 0) -> Run | None:
    """Return the run in RUN columns that begin at index `at`."""
    if row[at] is None:
        return None
    system, flow, run_id, task, task_run_id, attempt, map_index, url, name, started, used, made = (
        row[at : at + 12]
    )
    return Run(
        system,
        flow,
        run_id,
        task,
        task_run_id,
        attempt,
        map_index,
        url,
        name,
        to_datetime(started),
        from_text(used),
        from_text(made),
    )


def to_blob(row: Row) -> Blob:
    """Return the blob in BLOB columns at the start of a row."""
    (id_, key, version, incarnation, digest, size, checksum, kind, media_type, serializer, created,
     prev_version, filename, metadata, tags, partitions, aliases, value_digest, parts, history,
     external, signature, signature_key, preview) = row[:24]  # fmt: skip
    return Blob(
        id_,
        key,
        version,
        incarnation,
        digest,
        size,
        checksum,
        kind,
        media_type,
        serializer,
        _EPOCH + timedelta(0, 0, created),
        prev_version,
        filename,
        {} if metadata == "{}" else _loads(metadata),
        {} if tags == "{}" else _loads(tags),
        {} if partitions == "{}" else _loads(partitions),
        tuple(sorted(aliases.split("/"))) if aliases else (),
        None if row[24] is None else to_run(row, 24),
        value_digest,
        parts,
        bool(history),
        external,
        signature,
        signature_key,
        _loads(preview) if preview else None,
    )


#: How many columns `to_blob` reads, those of its run included.
BLOB_WIDTH = 36


def to_payload(row: Row, at: int, data: bytes | None = None) -> Payload | None:
    """Return the payload in PAYLOAD columns that begin at index `at`."""
    if row[at] is None:
        return None
    part, digest, size, checksum, generation, state, inline, stored, encoding, base = (
        row[at : at + 10]
    )
    return Payload(
        part, digest, size, checksum, generation, state, data, bool(inline), stored, encoding,
        base or "",
    )  # fmt: skip


PAYLOAD_WIDTH = 10
ENTRY_WIDTH = 13


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
     metadata) = row[at : at + 13]  # fmt: skip
    return CacheEntry(
        key,
        name,
        rev,
        blob,
        _EPOCH + timedelta(0, 0, created),
        _EPOCH + timedelta(0, 0, updated),
        None if expires is None else to_datetime(expires),
        timedelta(0, 0, cost),
        {} if outputs == "{}" else _loads(outputs),
        run,
        () if reads == "{}" else tuple(Read(*pair) for pair in _loads(reads)),
        to_ingredients(ingredients),
        hits,
        None if last_hit is None else to_datetime(last_hit),
        bool(pinned),
        {} if metadata == "{}" else _loads(metadata),
    )


def to_ingredients(text: str) -> tuple[Ingredient, ...]:
    """Return the ingredients of a key as they were stored."""
    return tuple(Ingredient(*item) for item in _loads(text)) if text else ()


def to_tag(value: Any) -> str:
    """Return a tag's value as it is stored: JSON text, so that 1, 1.0 and true stay apart."""
    return json.dumps(value, ensure_ascii=False)


def from_tag(text: str) -> Any:
    """Return a tag's value from its stored text."""
    return _loads(text)
