"""Lineage that Prefect knows and keeps to itself: which task runs made a task's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowblob.checks import utc_now
from flowblob.drafts import Note
from flowblob.errors import FlowblobError
from flowblob.journal import best_effort
from flowblob.keys import value_digest
from flowblob.model import Blob, Run
from flowblob_prefect.recent import Recent

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

    from flowblob.store import Store

#: Containers are looked into this far: Prefect tracks their elements too.
_ELEMENTS = 100
#: So many task runs of other processes are looked up for one task.
_SOUGHT = 20

_made: Recent[Blob] = Recent()


def remember_made(task_run_id: str, blob: Blob) -> None:
    """Keep what a task run returned, for the links of those that it is passed to."""
    _made.set(task_run_id, blob)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where the arguments of a task come from.

    Attributes:
        known: Versions that this process knows.
        sought: (task-run id, argument) where another process may have stored the value.
    """

    known: tuple[Blob, ...] = ()
    sought: tuple[tuple[str, Any], ...] = ()


def inputs_of(task: TaskRunContext) -> Inputs:
    """Return where a task's arguments come from, as far as Prefect tracked it.

    Prefect recognises a value that is passed directly by its address. Where the type allows no
    weak reference, a later object may have that address, so such an edge is confirmed by content.
    """
    known: dict[str, Blob] = {}
    sought: list[tuple[str, Any]] = []
    with best_effort("Linking the inputs of a task"):
        for argument, sources in (task.task_run.task_inputs or {}).items():
            value = task.parameters.get(argument)
            for task_run_id in (str(source.id) for source in sources if hasattr(source, "id")):
                blob = _made.get(task_run_id)
                if blob is None:
                    sought.append((task_run_id, value))
                elif _is_from(value, blob):
                    known[blob.id] = blob
    return Inputs(tuple(known.values()), tuple(sought[:_SOUGHT]))


def record_inputs(store: Store, run: Run | None, inputs: Inputs) -> None:
    """Record that a run read these versions; nobody waits for it."""
    if run is None:
        return
    with best_effort("Linking the inputs of a task"):
        found = {blob.id: blob for blob in inputs.known}
        for task_run_id, value in inputs.sought:
            found |= {blob.id: blob for blob in _made_elsewhere(store, task_run_id, value)}
        for blob_id in found:
            store.note(Note(utc_now(), run=run, blob_id=blob_id, role="input"))


def _made_elsewhere(store: Store, task_run_id: str, value: Any) -> list[Blob]:
    """Return what a task run of another process stored or was served, if that is this value."""
    uses = store.catalog.uses(run={"system": "prefect", "task_run_id": task_run_id})
    made = [use.blob for use in uses if use.role != "input" and use.blob.value_digest]
    digests = _digests(value) if made else set()
    return [blob for blob in made if blob.value_digest in digests]


def _is_from(value: Any, blob: Blob) -> bool:
    # `__weakrefoffset__` is 0 for types that no weak reference can point at.
    if not blob.value_digest or type(value).__weakrefoffset__:
        return True
    return blob.value_digest in _digests(value)


def _digests(value: Any) -> set[str]:
    """Return the digests of a value and of what it directly contains."""
    elements = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list | tuple | set | frozenset):
        elements = ()
    return {_digest(found) for found in [value, *elements][:_ELEMENTS]} - {""}


def _digest(value: Any) -> str:
    try:
        return value_digest(value)
    except FlowblobError:
        return ""
