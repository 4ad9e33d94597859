"""The JSON shapes of the command line. Fields are only ever added."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowblob.cli.text import stamp

if TYPE_CHECKING:
    from flowblob.model import Blob, CacheEntry, Run, Use


def blob_record(blob: Blob) -> dict[str, Any]:
    """Return a version as JSON-able data."""
    return {
        "ref": blob.ref,
        "key": blob.key,
        "version": blob.version,
        "id": blob.id,
        "incarnation": blob.incarnation,
        "digest": blob.digest,
        "size": blob.size,
        "checksum": blob.checksum,
        "kind": blob.kind,
        "media_type": blob.media_type,
        "serializer": blob.serializer,
        "filename": blob.filename,
        "metadata": dict(blob.metadata),
        "tags": dict(blob.tags),
        "partitions": dict(blob.partitions),
        "aliases": list(blob.aliases),
        "run": run_record(blob.run) if blob.run else None,
        "created_at": stamp(blob.created_at),
        "prev_version": blob.prev_version,
        "value_digest": blob.value_digest,
        "parts": blob.parts,
        "history": blob.history,
        "external": blob.external,
    }


def run_record(run: Run) -> dict[str, Any]:
    """Return a run as JSON-able data."""
    return {
        "system": run.system,
        "flow": run.flow,
        "run_id": run.run_id,
        "task": run.task,
        "task_run_id": run.task_run_id,
        "attempt": run.attempt,
        "map_index": run.map_index,
        "url": run.url,
        "name": run.name,
        "started_at": stamp(run.started_at),
        "used": dict(run.used),
        "generated": dict(run.generated),
    }


def use_record(use: Use) -> dict[str, Any]:
    """Return an edge between a run and a version as JSON-able data."""
    return {
        "role": use.role,
        "ref": use.blob.ref,
        "id": use.blob.id,
        "run": run_record(use.run),
        "at": stamp(use.at),
    }


def entry_record(entry: CacheEntry) -> dict[str, Any]:
    """Return a cache entry as JSON-able data."""
    return {
        "key": entry.key,
        "name": entry.name,
        "ref": entry.blob.ref,
        "id": entry.blob.id,
        "run": run_record(entry.run) if entry.run else None,
        "created_at": stamp(entry.created_at),
        "updated_at": stamp(entry.updated_at),
        "expires_at": stamp(entry.expires_at) or None,
        "cost_seconds": entry.cost.total_seconds(),
        "hits": entry.hits,
        "saved_seconds": entry.saved.total_seconds(),
        "last_hit_at": stamp(entry.last_hit_at) or None,
    }


def written_by(run: Run | None) -> str:
    """Return who wrote a version, in a few words."""
    if run is None:
        return ""
    task = f"/{run.task}" if run.task else ""
    mapped = f"[{run.map_index}]" if run.map_index >= 0 else ""
    return f"{run.system} {run.flow}{task}{mapped}"
