"""Lineage that Prefect knows and keeps to itself: which task runs made a task's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowblob.abc import Note
from flowblob.errors import FlowblobError
from flowblob.journal import best_effort
from flowblob.keys import value_digest
from flowblob.model import Blob, Run, utc_now
from flowblob_prefect.recent import Recent

if TYPE_CHECKING:
    from prefect.context import TaskRunContext

    from flowblob.store import Store

#: Containers are looked into this far: Prefect tracks their elements too.
_ELEMENTS = 100

_made: Recent[Blob] = Recent()


def remember_made(task_run_id: str, blob: Blob) -> None:
    """Keep what a task run returned, for the links of those that it is passed to."""
    _made.set(task_run_id, blob)


def inputs_of(task: TaskRunContext) -> list[Blob]:
    """Return the versions that a task's arguments came from, as far as this process knows.

    Prefect recognises a value that is passed directly by its address. Where the type allows no
    weak reference, a later object may have that address, so such an edge is confirmed by content.
    """
    found: dict[str, Blob] = {}
    with best_effort("Linking the inputs of a task"):
        for argument, sources in (task.task_run.task_inputs or {}).items():
            for source in sources:
                blob = _made.get(str(getattr(source, "id", "")))
                if blob is not None and _is_from(task.parameters.get(argument), blob):
                    found[blob.id] = blob
    return list(found.values())


def record_inputs(store: Store, run: Run | None, inputs: list[Blob]) -> None:
    """Record that a run read these versions; nobody waits for it."""
    with best_effort("Linking the inputs of a task"):
        for blob in inputs if run is not None else ():
            store.note(Note(utc_now(), run=run, blob_id=blob.id, role="input"))


def _is_from(value: Any, blob: Blob) -> bool:
    # `__weakrefoffset__` is 0 for types that no weak reference can point at.
    if not blob.value_digest or type(value).__weakrefoffset__:
        return True
    elements = list(value.values()) if isinstance(value, dict) else value
    if isinstance(elements, list | tuple | set | frozenset):
        return any(_digest(found) == blob.value_digest for found in [value, *elements][:_ELEMENTS])
    return _digest(value) == blob.value_digest


def _digest(value: Any) -> str:
    try:
        return value_digest(value)
    except FlowblobError:
        return ""
