"""The facade's verbs that end versions, bring them back, and look after what is stored."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from flowblob import collecting, repairing
from flowblob.checking import Checker, Level, Report
from flowblob.checks import parse_duration
from flowblob.collecting import ORPHAN_AGE, Collected, Collector, Swept
from flowblob.errors import ConflictError, InvalidInputError, NotFoundError
from flowblob.labels import actor
from flowblob.model import Blob, Ref, Run
from flowblob.records import Records
from flowblob.repairing import Repaired
from flowblob.retention import Retention, parse_grace

if TYPE_CHECKING:
    from flowblob.abc import Storage
    from flowblob.cache import Cache
    from flowblob.config import Settings

Tick = Callable[[int], None]
_DROPS = 200


def _silent(_: int) -> None:
    """Show no progress."""


class Upkeep(Records):
    """Deletion, collection, verification and repair of one store."""

    storage: Storage
    settings: Settings
    cache: Cache

    # ------------------------------------------------------------ deleting

    def delete(
        self,
        ref: str | Ref | Blob | None = None,
        *,
        run: Run | str | None = None,
        flow: str | None = None,
    ) -> list[Blob]:
        """Drop one version, with a bare key the key and all its versions, or what a run made.

        The record stays as a tombstone and the number is never given again. `undelete` brings it
        back until a collection frees its payload, unless another version shares that. A later put
        to a deleted key begins a new history at version 0.

        With `run` or `flow`, exactly the versions go that it made: not those that it found
        unchanged or was served from the cache, and not those under an alias or a pinned cache
        entry. Keys stay, and continue their numbers.

        Args:
            ref: Any reference.
            run: A run, a run id for all of its tasks, or a task-run id.
            flow: Name of a flow or DAG, for all of its runs.

        Returns:
            What was dropped.

        Raises:
            NotFoundError: Nothing lives there, or no such run made anything.
            ConflictError: An alias points at the version.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("a", 1), store.put("a", 2)
            >>> [blob.ref for blob in store.delete("a@0")]
            ['a@0']
        """
        if ref is None:
            return self._drop(self.made_by(run=run, flow=flow))
        if run is not None or flow is not None:
            raise InvalidInputError("Delete either a reference, or what a run or flow made")
        return self.catalog.delete(Ref.parse(ref), by=actor())

    def _drop(self, blobs: list[Blob]) -> list[Blob]:
        ids = [blob.id for blob in blobs]
        return [
            blob
            for start in range(0, len(ids), _DROPS)
            for blob in self.catalog.drop(ids[start : start + _DROPS], by=actor())
        ]

    def undelete(
        self,
        ref: str | Ref | Blob | None = None,
        *,
        run: Run | str | None = None,
        flow: str | None = None,
    ) -> list[Blob]:
        """Bring back what was deleted, as long as no collection has taken its payload.

        A version comes back as it was, with its id and number. A bare key comes back with the
        versions and aliases that went with it.

        Args:
            ref: `key`, `key@3`, `id:<uuid>`, or a Blob.
            run: A run, a run id or a task-run id: what it made.
            flow: Name of a flow or DAG: what its runs made.

        Returns:
            What lives again, newest first.

        Raises:
            NotFoundError: Nothing was deleted there, or its payload was collected.
            ConflictError: The name has begun another life.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("a", 1), store.delete("a")
            >>> [blob.ref for blob in store.undelete("a")]
            ['a@0']
        """
        if ref is not None and run is None and flow is None:
            return self.catalog.undelete(Ref.parse(ref), by=actor())
        if ref is not None:
            raise InvalidInputError("Bring back either a reference, or what a run or flow made")
        back = [
            blob
            for made in self.made_by(run=run, flow=flow, dropped=True)
            for blob in self._undelete_one(made)
        ]
        if not back:
            raise NotFoundError(
                f"Nothing that {flow or run} made can be brought back",
                hint="It lives, its payload was collected, or its key has begun another life",
            )
        return back

    def _undelete_one(self, blob: Blob) -> list[Blob]:
        try:
            return self.catalog.undelete(Ref(id=blob.id), by=actor())
        except (NotFoundError, ConflictError):
            return []

    def made_by(
        self, *, run: Run | str | None = None, flow: str | None = None, dropped: bool = False
    ) -> list[Blob]:
        """Return the versions that a run or a flow made, those that live or those that do not.

        A version that was there already, unchanged, was made by the run that wrote it first.

        Args:
            run: A run, a run id for all of its tasks, or a task-run id.
            flow: Name of a flow or DAG, for all of its runs.
            dropped: Return those that were deleted.

        Raises:
            NotFoundError: No such run has written anything.
        """
        self.flush()
        found = [
            {
                use.blob.id: use.blob
                for use in uses
                if use.blob.run is not None and use.blob.run.identity == use.run.identity
            }
            for uses in (
                self.catalog.uses(run=which, role="output") for which in _filters(run, flow)
            )
            if uses
        ]
        if not found:
            raise NotFoundError(
                f"{flow or run} has written nothing here", hint="'flowblob runs' lists runs"
            )
        return [
            blob
            for blob in found[0].values()
            if (self.catalog.find(Ref(id=blob.id)) is None) is dropped
        ]

    # ------------------------------------------------------------ collecting

    def gc(
        self,
        *,
        grace: timedelta | str | float | None = None,
        retention: Retention | None = None,
        dry_run: bool = True,
        force: bool = False,
        tick: Tick = _silent,
    ) -> Collected:
        """Drop what the keep rules let go, and free what no version and no put needs any more.

        Safe beside puts and other collections; one that died is continued by the next. With no
        rule every version is kept. What the rules drop is freed after the grace period, and can be
        brought back until then.

        Args:
            grace: Leave alone what changed or was dropped more recently; from the settings if not
                given, one day by default. `0` is safe too, and ends `undelete`.
            retention: The rules, in place of those in the settings.
            dry_run: Only say what would be dropped and freed.
            force: Also when it would take more than half of all payloads.
            tick: Called with numbers of versions and payloads that were looked at.

        Raises:
            ConflictError: It would take more than half of all payloads.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("a", b"abc"), store.delete("a")
            >>> store.gc(grace=0).size
            3
        """
        rules = self.settings.retention if retention is None else retention
        collector = Collector(self.catalog, self.storage, self.cache, rules, tick)
        return collector.run(grace=parse_grace(grace, rules.grace), dry_run=dry_run, force=force)

    # ------------------------------------------------------------ verifying

    def verify(
        self,
        ref: str | Ref | Blob | None = None,
        *,
        level: Level = "content",
        sample: float = 1.0,
        resume: str = "",
        limit: int | None = None,
        tick: Tick = _silent,
    ) -> Report:
        """Compare what is stored with what the records promise; nothing is changed.

        With a reference, all payloads of that version are read, and what is wrong is raised.
        Without one the whole store is looked at in constant memory, and what is wrong is in the
        report, which also says what was not read.

        Args:
            ref: One version; the whole store if not given.
            level: `catalog`: the records; `presence`: also that each payload is there in its full
                length; `content`: also that each byte is as it was written.
            sample: Share of the payloads to read, chosen by chance.
            resume: Cursor of an earlier report that was not complete.
            limit: Look at so many payloads at most; the report's cursor says where to go on.
            tick: Called with numbers of bytes that were read or passed over.

        Raises:
            PayloadError: A payload of the version is missing or damaged.
            CatalogUnavailableError: The records could not be read.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> store.verify(store.put("a", b"abc")).read
            1
            >>> store.verify().is_clean
            True
        """
        if ref is None:
            checker = Checker(self.catalog, self.storage, level, sample, tick)
            return checker.check_store(resume=resume, limit=limit)
        blob = self._objects.resolve(Ref.parse(ref)).blob
        return Checker(self.catalog, self.storage, "content", tick=tick).check_one(blob)

    def repair(
        self, *, level: Level = "content", dry_run: bool = True, tick: Tick = _silent
    ) -> Repaired:
        """Look for damaged payloads, and have their versions use another copy where there is one.

        What has none is marked: its cache entries are misses from then on, and storing the same
        value again heals every version of it. Damaged bytes are moved aside where the storage can
        do that. Nothing is deleted.

        Args:
            level: How closely to look; see `verify`.
            dry_run: Only say what would be done.
            tick: Called with numbers of bytes that were read or passed over.

        Example:
            >>> from flowblob import Store
            >>> Store("memory://").repair().repairs
            ()
        """
        checker = Checker(self.catalog, self.storage, level, tick=tick)
        return repairing.repair(checker, dry_run=dry_run)

    def sweep(
        self,
        *,
        min_age: timedelta | str | float = ORPHAN_AGE,
        dry_run: bool = True,
        tick: Tick = _silent,
    ) -> Swept:
        """Remove payload files that no record knows, such as those of a put that was killed.

        After an older catalog was restored, the newest payloads look like this: hence the age.
        Files whose names are not ours are never touched.

        Args:
            min_age: Leave alone what is younger; one hour at least.
            dry_run: Only say what would be removed.
            tick: Called with numbers of files that were looked at.

        Raises:
            InvalidInputError: The age is too short.
        """
        age = parse_duration(min_age, what="min_age") or ORPHAN_AGE
        return collecting.sweep(self.catalog, self.storage, min_age=age, dry_run=dry_run, tick=tick)


def _filters(run: Run | str | None, flow: str | None) -> list[dict[str, object]]:
    """Return what to look for in the runs, the likelier first."""
    if not run and not flow:
        raise InvalidInputError("Name a reference, or run= or flow=")
    only: dict[str, object] = {"flow": flow} if flow else {}
    if isinstance(run, Run):
        system, task_run_id, attempt = run.identity
        return [{**only, "system": system, "task_run_id": task_run_id, "attempt": attempt}]
    if run is None:
        return [only]
    return [{**only, "run_id": run}, {**only, "task_run_id": run}]
