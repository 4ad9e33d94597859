"""Dropping what the keep rules let go, and giving back what nothing references any more.

The collector's protocol; keep the order of steps. Condemn in one transaction, delete exactly that
physical name, drop the row in another. A collector that dies between two steps is continued by any
other; a put that meets a condemned payload writes a new generation, so that a late delete never
takes bytes that are in use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from flowblob.errors import ConflictError, InvalidInputError
from flowblob.retention import Judge, Retention
from flowblob.wording import duration

if TYPE_CHECKING:
    from flowblob.abc import Catalog, Storage
    from flowblob.cache import Cache
    from flowblob.drafts import Payload
    from flowblob.model import Blob, CacheEntry

logger = logging.getLogger(__name__)

_BATCH = 10_000
#: Versions that are dropped in one transaction.
_DROPS = 200
#: A collection that would take more than this share of all payloads is more likely a mistake.
_SUSPICIOUS_SHARE = 0.5
_SUSPICIOUS_COUNT = 20
ORPHAN_AGE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Expired:
    """What one rule lets go.

    Attributes:
        rule: The rule as text; `cache_unused=…` for cache entries.
        versions: How many versions it drops.
        entries: How many cache entries.
        payloads: How many payloads only these versions keep.
        size: Their stored bytes, freed by a collection after the grace period.
    """

    rule: str
    versions: int
    entries: int
    payloads: int
    size: int


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection freed, or would free.

    Attributes:
        payloads: Number of payloads that are gone.
        size: Their stored bytes.
        spools: Number of temporary files left by processes that died.
        expired: What the rules dropped, one for each rule that let something go.
        is_dry_run: Whether nothing was changed.
    """

    payloads: int
    size: int
    spools: int
    is_dry_run: bool
    expired: tuple[Expired, ...] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """Payload files that no record knows.

    Attributes:
        files: How many.
        size: Their bytes.
        is_dry_run: Whether nothing was removed.
    """

    files: int
    size: int
    is_dry_run: bool


@dataclass(slots=True)
class Collector:
    """One collection; see `Store.gc`.

    Args:
        catalog: Decides everything.
        storage: Has the bytes.
        cache: The entries.
        retention: The keep rules.
        tick: Called after every page of versions and every payload, with their number.
    """

    catalog: Catalog
    storage: Storage
    cache: Cache
    retention: Retention
    tick: Callable[[int], None]

    def run(self, *, grace: timedelta, dry_run: bool, force: bool) -> Collected:
        """Apply the rules, then collect."""
        groups = self._expired()
        expired = tuple(
            Expired(rule, len(ids), entries, *self.catalog.weigh(ids))
            for rule, entries, ids in groups
        )
        idle = self.catalog.condemned(grace=grace, limit=1 << 40, dry_run=True)
        if dry_run:
            return Collected(len(idle), _size(idle), 0, is_dry_run=True, expired=expired)
        every = [blob_id for _, _, ids in groups for blob_id in ids]
        if not force:
            self._refuse_too_much(len(idle) + self.catalog.weigh(every)[0])
        for start in range(0, len(every), _DROPS):
            self.catalog.drop(every[start : start + _DROPS], by="retention")
        if self.retention.cache_unused is not None:
            self.cache.drop_unused(self.retention.cache_unused)
        count, size = self._collect(grace)
        spools = self.storage.sweep_spool()
        logger.info("Collected %d payloads, %d bytes; rules dropped %s", count, size, expired)
        return Collected(count, size, spools, is_dry_run=False, expired=expired)

    def _refuse_too_much(self, planned: int) -> None:
        total = self.catalog.facts()["counts"]["payload"]
        if planned > max(_SUSPICIOUS_COUNT, _SUSPICIOUS_SHARE * total):
            raise ConflictError(
                f"This would remove {planned} of {total} payloads",
                hint="Look at a dry run; if that is what you want, pass force=True",
            )

    def _collect(self, grace: timedelta) -> tuple[int, int]:
        count = size = 0
        while batch := self.catalog.condemned(grace=grace, limit=_BATCH):
            for payload in batch:
                if not payload.is_inline:
                    self.storage.delete(payload.name)
                self.catalog.forget(payload.generation)
                self.tick(1)
            count, size = count + len(batch), size + _size(batch)
        return count, size

    # ------------------------------------------------------------ what the rules let go

    def _expired(self) -> list[tuple[str, int, list[str]]]:
        """Return (rule, number of cache entries, ids of versions) for each that lets any go."""
        found = self._expired_versions() if self.retention.rules else []
        if self.retention.cache_unused is not None:
            unused = self.cache.unused(self.retention.cache_unused)
            taken = {blob_id for _, _, ids in found for blob_id in ids}
            ids = sorted(self._only_used_by(unused) - taken)
            if unused:
                span = duration(self.retention.cache_unused)
                found.append((f"cache_unused={span}", len(unused), ids))
        return found

    def _only_used_by(self, entries: Sequence[CacheEntry]) -> set[str]:
        keys = {entry.key for entry in entries}
        return {
            blob_id
            for blob_id in {entry.blob.id for entry in entries}
            if all(e.key in keys for e in self.catalog.entries(filters={"blob_id": blob_id}))
        }

    def _expired_versions(self) -> list[tuple[str, int, list[str]]]:
        judge = Judge(self.retention, self.catalog.now())
        kept = pinned(self.cache)
        gone: dict[int, list[str]] = {}
        for blob in live(self.catalog, self.tick):
            if blob.aliases:
                kept.add(blob.id)
            verdict = judge.see(blob)
            if verdict is not None:
                gone.setdefault(verdict[0], []).append(verdict[1])
        rules = self.retention.rules
        # An alias may be seen after the verdict, so what it keeps is left out at the end.
        groups = [
            (str(rules[number]), 0, [blob_id for blob_id in ids if blob_id not in kept])
            for number, ids in sorted(gone.items())
        ]
        return [group for group in groups if group[2]]


def pinned(cache: Cache) -> set[str]:
    """Return the ids of the versions that pinned entries point at or name as outputs."""
    entries = cache.entries(pinned=True)
    return {blob_id for e in entries for blob_id in (e.blob.id, *e.outputs.values())}


def live(catalog: Catalog, tick: Callable[[int], None]) -> Iterator[Blob]:
    """Yield every live version, in pages."""
    after = ""
    while page := catalog.live(after=after):
        yield from page
        after = page[-1].id
        tick(len(page))


def _size(payloads: Sequence[Payload]) -> int:
    return sum(payload.stored_size or payload.size for payload in payloads)


# ------------------------------------------------------------------ orphans


def sweep(
    catalog: Catalog,
    storage: Storage,
    *,
    min_age: timedelta,
    dry_run: bool,
    tick: Callable[[int], None],
) -> Swept:
    """Remove payload files that have no row; see `Store.sweep`."""
    if min_age < timedelta(hours=1):
        # A put that was paused writes its bytes after its row was collected, and then places anew.
        raise InvalidInputError(
            f"A minimum age of {min_age} is too short", hint="One hour at least; 7 days is usual"
        )
    count = size = 0
    now = catalog.now()
    known = _generations(catalog)
    suspects = []
    for name, length, changed in storage.names():
        tick(1)
        if changed <= now - min_age and name.rpartition(".")[2] not in known:
            suspects.append((name, length))
    if suspects:
        known = _generations(catalog)  # a row precedes its bytes: now nobody's put is missed
    for name, length in suspects:
        if name.rpartition(".")[2] in known:
            continue
        if not dry_run:
            storage.delete(name)
        count, size = count + 1, size + length
    return Swept(count, size, is_dry_run=dry_run)


def _generations(catalog: Catalog) -> set[str]:
    known: set[str] = set()
    after = ""
    while page := catalog.generations(after=after):
        known.update(payload.generation for payload in page)
        after = page[-1].generation
    return known
