"""Giving back what nothing references: the collector's protocol. Keep the order of steps.

Condemn in one transaction, delete exactly that physical name, drop the row in another. A collector
that dies between two steps is continued by any other; a put that meets a condemned payload writes
a new generation, so that a late delete never takes bytes that are in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from flowblob.abc import Catalog, Storage
from flowblob.drafts import Payload
from flowblob.errors import ConflictError

GRACE = timedelta(hours=1)
_BATCH = 1000
#: A collection that would take more than this share of all payloads is more likely a mistake.
_SUSPICIOUS_SHARE = 0.5
_SUSPICIOUS_COUNT = 20


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection freed, or would free.

    Attributes:
        payloads: Number of payloads.
        size: Their stored bytes.
        spools: Number of temporary files left by processes that died.
        is_dry_run: Whether nothing was removed.
    """

    payloads: int
    size: int
    spools: int
    is_dry_run: bool


def collect(
    catalog: Catalog, storage: Storage, *, grace: timedelta, dry_run: bool, force: bool
) -> Collected:
    """Free payloads that no version references; see `Store.gc`."""
    planned = catalog.condemned(grace=grace, limit=1 << 40, dry_run=True)
    total = catalog.facts()["counts"]["payload"]
    if not (dry_run or force) and len(planned) > max(_SUSPICIOUS_COUNT, _SUSPICIOUS_SHARE * total):
        raise ConflictError(
            f"This would remove {len(planned)} of {total} payloads",
            hint="Look at a dry run; if that is what you want, pass force=True",
        )
    if dry_run:
        return Collected(len(planned), _size(planned), 0, is_dry_run=True)
    count = size = 0
    while batch := catalog.condemned(grace=grace, limit=_BATCH):
        for payload in batch:
            if not payload.is_inline:
                storage.delete(payload.name)
            catalog.forget(payload.generation)
        count, size = count + len(batch), size + _size(batch)
    return Collected(count, size, storage.sweep_spool(), is_dry_run=False)


def _size(payloads: list[Payload]) -> int:
    return sum(payload.stored_size or payload.size for payload in payloads)
