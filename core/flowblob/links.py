"""The facade's verbs for runs and lineage, and the automatic links behind put and get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flowblob import runs
from flowblob.checks import utc_now, validate_filters, validate_limit
from flowblob.drafts import Note
from flowblob.journal import best_effort
from flowblob.lineage import Lineage, walk
from flowblob.model import Blob, Ref, Run, Use
from flowblob.records import Records

if TYPE_CHECKING:
    from flowblob.abc import Catalog


class Links(Records):
    """Runs, uses and lineage of one store."""

    def runs(self, *, limit: int | None = None, **filters: Any) -> list[Run]:
        """Return runs, newest first.

        Args:
            limit: At most so many.
            **filters: Equality on the fields of Run: `system`, `flow`, `run_id`, `task` and others.
        """
        self.flush()
        return self.catalog.runs(filters=validate_filters(filters), limit=validate_limit(limit))

    def blobs_of(self, run: Run | str, *, role: str = "output") -> list[Blob]:
        """Return what a run made, read (`role="input"`) or was served (`role="cache_hit"`).

        Args:
            run: A run, or a run id for all of its tasks, or a task-run id.
            role: Which edges.
        """
        self.flush()
        if isinstance(run, Run):
            system, task_run_id, attempt = run.identity
            which: dict[str, Any] = {
                "system": system,
                "task_run_id": task_run_id,
                "attempt": attempt,
            }
            found = self.catalog.uses(run=which, role=role)
        else:
            found = self.catalog.uses(run={"run_id": run}, role=role) or self.catalog.uses(
                run={"task_run_id": run}, role=role
            )
        return list({use.blob.id: use.blob for use in found}.values())

    def producer(self, ref: str | Ref | Blob) -> Run | None:
        """Return the run that wrote a version, None if none was current."""
        return self.resolve(ref).run

    def consumers(self, ref: str | Ref | Blob) -> list[Use]:
        """Return who read a version or was served it from the cache, oldest first."""
        self.flush()
        uses = self.catalog.uses(blob_id=self.resolve(ref).id)
        return [use for use in uses if use.role != "output"]

    def lineage(self, ref: str | Ref | Blob, *, depth: int = 3) -> Lineage:
        """Return what a version came from and what became of it, across all hosts.

        Args:
            ref: Where to begin.
            depth: How many blobs to go, each way.
        """
        self.flush()
        return walk(self.catalog, self.resolve(ref), depth)

    def run_ended(self, run: Run) -> None:
        """Keep the final `used` and `generated` values of a plain Python run."""
        if run.used or run.generated:
            self.note(Note(utc_now(), run=run))
            self.flush()

    def current_run(self) -> Run | None:
        """Return the run that is current here; what fails in finding it is logged."""
        run = runs.current()
        runs.used(run, self)
        return run

    def note(self, note: Note) -> None:
        """Queue a record that nobody waits for."""
        self._journal.add(note)

    def _note(self, blob: Blob) -> None:
        """Link a read to the current run; nobody waits for it."""
        with best_effort("Linking a read"):
            if (run := self.current_run()) is not None:
                self.note(Note(utc_now(), run=run, blob_id=blob.id, role="input"))


def write_notes(catalog: Catalog, notes: Sequence[Note]) -> None:
    """Write a batch, without what a run holds that the catalog could not keep.

    It is looked at here and not when it was queued: the values of an open run still change.
    """
    met = {id(note.run): note.run for note in notes}
    kept = {each: runs.recordable(run) for each, run in met.items()}
    if all(kept[each] is run for each, run in met.items()):
        catalog.record(notes)
        return
    catalog.record(
        [
            note if kept[id(note.run)] is note.run else replace(note, run=kept[id(note.run)])
            for note in notes
        ]
    )
