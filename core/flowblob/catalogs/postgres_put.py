"""The put that is nearly every put, in one round trip: one inline payload, appended to a key.

The function `put_inline` stands in the schema. What it does not do (parents, cache entries, leases,
damaged copies, unchanged content) is left to the statements of `sql.committing`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flowblob.catalogs import rows
from flowblob.catalogs.content import content_hash
from flowblob.checks import new_id
from flowblob.drafts import Commit, Draft

if TYPE_CHECKING:
    from flowblob.catalogs.postgres_pool import Link
    from flowblob.model import Run

_PARAMETERS = 40


def is_plain(draft: Draft) -> bool:
    """Say whether the function may do all that the draft asks for."""
    return (
        len(draft.parts) == 1
        and not draft.parts[0].name
        and draft.parts[0].data is not None
        and draft.history
        and not (draft.parents or draft.partitions)
        and draft.entry is None
        and draft.reservation is None
    )


def put(link: Link, draft: Draft, *, schema: str, lock: int) -> Commit | None:
    """Commit a plain draft; None, and nothing done, where it needs the longer way."""
    left = link.driver.deadline - time.monotonic()
    [part] = draft.parts
    tags = list(draft.tags), list(map(rows.to_tag, draft.tags.values()))
    link.is_committing = True  # the statement is its own transaction
    found = link.fetch(
        _sql(schema),
        (
            lock, str(max(1, int(800 * left))), draft.expect_version, draft.create,
            draft.new_version, new_id(), new_id(), draft.blob_id, draft.key, draft.op,
            content_hash(draft), part.digest, part.size, part.checksum, part.data, draft.kind,
            draft.media_type, draft.serializer, draft.filename, draft.metadata or "{}",
            *tags, str(draft.run or ""), draft.value_digest, draft.external, draft.signature,
            draft.signature_key, draft.preview, *_run(draft.run),
        ),
    )  # fmt: skip
    link.is_committing = False
    if not found:
        return None
    version, incarnation, previous, at, started = found[0]
    row = (
        draft.blob_id, draft.key, version, incarnation, part.digest, part.size, part.checksum,
        draft.kind, draft.media_type, draft.serializer, at, previous, draft.filename,
        draft.metadata or "{}", rows.to_text(dict(draft.tags)), "{}", None, draft.value_digest, 0,
        1, draft.external, draft.signature, draft.signature_key, draft.preview,
        *_run(draft.run, started),
    )  # fmt: skip
    return Commit(rows.to_blob(row), is_new=True)


def _sql(schema: str) -> str:
    places = ", ".join(f"${number + 1}" for number in range(_PARAMETERS))
    return f'SELECT * FROM "{schema}".put_inline({places})'


def _run(run: Run | None, started: int | None = None) -> tuple[object, ...]:
    """Return a run as its columns."""
    if run is None:
        return (None,) * rows.RUN_WIDTH
    if started is None and run.started_at is not None:
        started = rows.to_micros(run.started_at)
    return (
        run.system, run.flow, run.run_id, run.task, run.task_run_id, run.attempt, run.map_index,
        run.url, run.name, started, rows.to_text(dict(run.used)),
        rows.to_text(dict(run.generated)),
    )  # fmt: skip
