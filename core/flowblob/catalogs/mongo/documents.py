"""Between documents and records.

Text that users choose (tags, aliases, partitions, parameters) never becomes the name of a field:
there a dot or a dollar sign would have a meaning.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from flowblob.catalogs import rows
from flowblob.drafts import Draft, EntryDraft, Part, Payload, Spooled
from flowblob.errors import CatalogUnavailableError
from flowblob.model import Blob, CacheEntry, Read, Run
from flowblob.mongodb import Document

T = TypeVar("T")
P = ParamSpec("P")

MICROSECOND = timedelta(microseconds=1)
MILLISECOND = timedelta(milliseconds=1)

_RUN_FIELDS = (
    "system", "flow", "run_id", "task", "task_run_id", "attempt", "map_index", "url", "name",
)  # fmt: skip

_NO_PART = Part("", "", 0, "")


def to_millis(span: timedelta) -> int:
    """Return whole milliseconds, which is how finely a document's dates tell time."""
    return max(span // MILLISECOND, 1)


def to_items(given: Mapping[str, Any]) -> list[Document]:
    """Return a mapping as a list of names and values."""
    return [{"name": name, "value": value} for name, value in given.items()]


def from_items(found: list[Document]) -> dict[str, Any]:
    """Return the mapping that `to_items` stored."""
    return {item["name"]: item["value"] for item in found}


def made_at(found: Document) -> int:
    """Return when a document was made, in microseconds: the server's date, or what it came with."""
    made = found.get("made")
    return rows.to_micros(found["at"]) if made is None else int(made)


def to_moment(found: datetime) -> datetime:
    """Return a server's date as an aware UTC datetime of Python's own kind."""
    return found.astimezone(UTC)


# ------------------------------------------------------------------ runs


def run_id(run: Run) -> str:
    """Return the `_id` of a run."""
    return rows.to_text(list(run.identity))


def run_document(run: Run) -> Document:
    """Return a run as it is stored first; `started_at` stays null where it is not known."""
    return {
        "_id": run_id(run),
        **{name: getattr(run, name) for name in _RUN_FIELDS},
        "started_at": None if run.started_at is None else rows.to_micros(run.started_at),
        "used": rows.to_text(dict(run.used)),
        "generated": rows.to_text(dict(run.generated)),
        "rev": 0,
    }


def to_run(found: Document) -> Run:
    """Return the run in a document."""
    run = rows.to_run(
        (
            *(found[name] for name in _RUN_FIELDS),
            found["started_at"],
            found["used"],
            found["generated"],
        )
    )
    assert run is not None
    return run


# ------------------------------------------------------------------ versions


def version_document(draft: Draft, content: bytes) -> Document:
    """Return what a put will store, apart from its number."""
    has_main = bool(draft.parts) and not draft.parts[0].name
    main = draft.parts[0] if has_main else _NO_PART
    return {
        "id": draft.blob_id,
        "content": content,
        "digest": main.digest,
        "size": main.size,
        "checksum": main.checksum,
        "kind": draft.kind,
        "media_type": draft.media_type,
        "serializer": draft.serializer,
        "filename": draft.filename,
        "metadata": draft.metadata or "{}",
        "partitions": to_items(draft.partitions),
        "tags": [{"name": n, "value": rows.to_tag(v)} for n, v in draft.tags.items()],
        "parents": [{"id": parent, "at": None} for parent in dict.fromkeys(draft.parents)],
        "parts": len(draft.parts) - has_main,
        "history": draft.history,
        "value_digest": draft.value_digest,
        "external": draft.external,
        "signature": draft.signature,
        "signature_key": draft.signature_key,
        "preview": draft.preview,
        "dead": None,
        "restored": 0,
    }


def readable(read: Callable[Concatenate[Document, P], T]) -> Callable[Concatenate[Document, P], T]:
    """Say which document it was that lacks a field, or has something else there.

    Raises:
        CatalogUnavailableError: It was changed by somebody else than flowblob.
    """

    @functools.wraps(read)
    def named(found: Document, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(found, *args, **kwargs)
        except (KeyError, TypeError, CatalogUnavailableError) as error:
            what, problem = found.get("_id"), f"a record of the catalog cannot be read: {error!r}"
            if "key" in found and "version" in found:
                what = f"{found['key']}@{found['version']}"
            if isinstance(error, CatalogUnavailableError):
                problem = error.message
            raise CatalogUnavailableError(
                f"{what}: {problem}",
                hint="It was damaged, or not written by flowblob; restore a backup of the catalog",
                retryable=False,
            ) from error

    return named


@readable
def to_blob(found: Document, *, aliases: tuple[str, ...] = (), run: Run | None = None) -> Blob:
    """Return the blob in a version's document; aliases and run stand in others."""
    return Blob(
        found["id"],
        found["key"],
        found["version"],
        found["incarnation"],
        found["digest"],
        found["size"],
        found["checksum"],
        found["kind"],
        found["media_type"],
        found["serializer"],
        rows.to_datetime(made_at(found)),
        prev_version=found["prev"],
        filename=found["filename"],
        metadata=rows.from_text(found["metadata"]),
        tags={item["name"]: rows.from_tag(item["value"]) for item in found["tags"]},
        partitions=from_items(found["partitions"]),
        aliases=tuple(sorted(aliases)),
        run=run,
        value_digest=found["value_digest"],
        parts=found["parts"],
        history=found["history"],
        external=found["external"],
        signature=found["signature"],
        signature_key=found["signature_key"],
        preview=rows.from_tag(found["preview"]) if found["preview"] else None,
    )


# ------------------------------------------------------------------ payloads


def payload_document(
    generation: str, part: Spooled | Part, *, state: str, data: bytes | None = None
) -> Document:
    """Return a fresh payload, apart from its times, which are the server's."""
    return {
        "_id": generation,
        "digest": part.digest,
        "size": part.size,
        "checksum": part.checksum,
        "state": state,
        "inline": data is not None,
        "data": data,
        "stored_size": 0 if data is not None else part.size,
        "encoding": "",
    }


@readable
def to_payload(found: Document, name: str = "") -> Payload:
    """Return the payload in a document, with its bytes if they were fetched."""
    data = found.get("data")
    return Payload(
        name,
        found["digest"],
        found["size"],
        found["checksum"],
        found["_id"],
        found["state"],
        None if data is None else bytes(data),
        found["inline"],
        found["stored_size"],
        found["encoding"],
        found.get("base", ""),
    )


# ------------------------------------------------------------------ the cache


def entry_document(draft: EntryDraft, *, run: str | None) -> Document:
    """Return an entry as a put writes it; what earlier ones counted stays beside it."""
    key = draft.key
    return {
        "name": key.name,
        "module": key.module,
        "run": run,
        "cost": draft.cost // MICROSECOND,
        "expires_at": None if draft.expires_at is None else rows.to_micros(draft.expires_at),
        "outputs": to_items(draft.outputs),
        "reads": [[read.ref, read.blob_id] for read in draft.reads],
        "metadata": rows.to_text(dict(draft.metadata)),
        "ingredients": [[i.name, i.kind, i.digest, i.summary] for i in key.ingredients],
    }


def to_entry(slot: Document, blob: Blob, run: Run | None) -> CacheEntry:
    """Return the entry of a slot; its ingredients only if they were fetched."""
    found = slot["entry"]
    ingredients = found.get("ingredients")
    last_hit = found["last_hit_at"]
    return CacheEntry(
        slot["_id"],
        found["name"],
        slot["rev"],
        blob,
        rows.to_datetime(found["created_at"]),
        rows.to_datetime(found["updated_at"]),
        None if found["expires_at"] is None else rows.to_datetime(found["expires_at"]),
        timedelta(0, 0, found["cost"]),
        from_items(found["outputs"]),
        run,
        tuple(Read(*pair) for pair in found["reads"]),
        rows.to_ingredients(rows.to_text(ingredients)) if ingredients else (),
        found["hits"],
        None if last_hit is None else rows.to_datetime(last_hit),
        found["pinned"],
        rows.from_text(found["metadata"]),
    )
