"""What the block does with the bytes that Prefect reads and writes."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext
from prefect.serializers import PickleSerializer, Serializer
from prefect.utilities.callables import parameters_to_args_kwargs

from flowblob.cached import is_cached
from flowblob.checks import utc_now
from flowblob.drafts import Note
from flowblob.errors import NotFoundError
from flowblob.journal import best_effort
from flowblob.model import Blob, Ref
from flowblob.wording import duration
from flowblob_prefect import links, outputs, runs
from flowblob_prefect.calls import name_of, run_logger, tell_stored
from flowblob_prefect.records import Binding, Document, is_metadata
from flowblob_prefect.serializers import SERIALIZER_TYPE, parse_handle

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.results import ResultStore

    from flowblob.store import Store
    from flowblob_prefect.outputs import Output

_NOTHING: Any = object()


def read(store: Store, path: str, block_id: UUID | None) -> bytes:
    """Return what stands under a storage key: a record with a handle, or the bytes as written.

    Raises:
        NotFoundError: Nothing does.
        PayloadError: The bytes are missing or damaged.
    """
    is_first = outputs.remember_reader(path)
    binding = Binding.find(store, path)
    if binding is None:
        raise NotFoundError(
            f"Nothing is stored under {path!r} in {store.url}",
            hint="The run that wrote it used another store, or its result was deleted",
        )
    if not binding.is_native:
        record = store.objects.resolve(Ref(id=binding.blob_id), payload=True)
        # Prefect unpickles what it finds in its records; the binding, and what it points at, may
        # have been written by anybody who can write to the catalog.
        return bytes(store.objects.load(record, is_code=True))
    if is_first:
        _note_hit(store, binding)
    context = runs.current_context()
    is_split = context is not None and _is_split(store, context.result_store)
    return binding.document(store, path, block_id, is_split=is_split)


def write(store: Store, path: str, content: bytes) -> None:
    """Keep what Prefect writes under a storage key: the value where it can be told, else the bytes.

    Raises:
        SerializationError: The value cannot be stored.
        UnavailableError: The store does not answer.
    """
    if is_metadata(path, content) and _is_native(store, path):
        return  # what is read makes it anew
    document = Document.parse(path, content)
    if document is not None and document.serializer == SERIALIZER_TYPE:
        store_id, blob_id = parse_handle(document.result.encode())
        if store_id == store.store_id:  # the value is here already
            blob = store.resolve(Ref(id=blob_id))
            _bound(store, path, blob, document)
            _link(store, outputs.of_path(path), blob)
            return
    began = time.perf_counter()
    value = _value(store, path, content, document)
    output = outputs.of_path(path).of(value)
    own = _own_entry(store, path, output)
    if own is None:
        is_bare = value is _NOTHING
        blob = store.put(
            output.key,
            bytes(content) if is_bare else value,
            run=output.run,
            kind=output.kind,
            serializer="opaque" if is_bare else None,
        )
        tell_stored(run_logger(), blob, output.run, time.perf_counter() - began)
    else:
        blob = own
    is_native = own is not None or value is not _NOTHING
    _bound(store, path, blob, document, is_native=is_native)
    _link(store, output, blob)


def _value(store: Store, path: str, content: bytes, document: Document | None) -> Any:
    """Return the value that this process has just serialised, `_NOTHING` if the bytes must stay.

    A serializer that somebody chose stays in force, and so do bytes that no run has written.
    """
    context = runs.current_context()
    pickler: Serializer[Any] = PickleSerializer()
    value = _NOTHING
    if outputs.is_parameters(path):
        return value
    with best_effort("Reading a result back, which is kept as bytes instead,"):
        if document is not None:
            if document.is_default:
                value = pickler.loads(document.result.encode())
        elif context is not None:
            # A flow's result comes without a record; what made the bytes stands in its context.
            results = context.result_store
            is_result = outputs.is_made_up(path) and results.serializer == pickler
            if is_result or _is_split(store, results):
                value = results.serializer.loads(content)
    return value


def _is_split(store: Store, results: ResultStore) -> bool:
    """Whether the metadata follows under the same key: bytes would then be taken for it."""
    keys = getattr(results.metadata_storage, "store", None)
    return keys is not None and keys.store_id == store.store_id


def _is_native(store: Store, path: str) -> bool:
    found = Binding.find(store, path)
    return found is not None and found.is_native


def _own_entry(store: Store, path: str, output: Output) -> Blob | None:
    """Return the version that a `cached` function has stored for this very task run, if it has.

    Its result must not be stored twice.
    """
    task = runs.current_context()
    if not isinstance(task, TaskRunContext) or not is_cached(task.task.fn):
        return None
    if output.kind == "exception" or output.run is None or output != outputs.of_path(path):
        return None
    args, kwargs = parameters_to_args_kwargs(task.task.fn, task.parameters)
    found = store.cache.lookup(task.task.fn.cached_call.key(args, kwargs))  # type: ignore[attr-defined]  # is_cached
    return found.entry.blob if found.why == "hit" and found.entry is not None else None


def _bound(
    store: Store, path: str, blob: Blob, document: Document | None, *, is_native: bool = True
) -> None:
    task = runs.current_context()
    cost = _seconds(task) if isinstance(task, TaskRunContext) else 0.0
    expiration = document.metadata.get("expiration") if document is not None else None
    run = runs.current()
    name = name_of(run) if run is not None else ""
    is_pickled = document is None or document.is_default
    binding = Binding(
        blob.id,
        blob.ref,
        is_native,
        is_pickled=is_pickled,
        expiration=expiration,
        cost=cost,
        run=name,
    )
    binding.bind(store, path)


def _seconds(task: TaskRunContext) -> float:
    began, state = task.task_run.start_time, task.task_run.state
    return max((state.timestamp - began).total_seconds(), 0.0) if began and state else 0.0


def _link(store: Store, output: Output, blob: Blob) -> None:
    if output.run is None or not output.run.task or output.kind == "exception":
        return
    links.remember_made(output.run.task_run_id, blob)
    task = runs.current_context()
    if isinstance(task, TaskRunContext) and str(task.task_run.id) == output.run.task_run_id:
        links.record_inputs(store, output.run, links.inputs_of(task))


def _note_hit(store: Store, binding: Binding) -> None:
    """Link and log what the engine is served; it asks first of all in a try."""
    run = runs.current()
    if run is None or _is_over(binding.expiration):
        return
    with best_effort("Linking a cache hit"):
        blob = store.resolve(Ref(id=binding.blob_id))
        store.note(Note(utc_now(), run=run, blob_id=blob.id, role="cache_hit"))
        _link(store, outputs.Output(blob.key, run), blob)
        by = f" by {binding.run}" if binding.run else ""
        run_logger().info("hit %s%s, saved %s", binding.ref, by, duration(binding.cost))


def _is_over(expiration: str | None) -> bool:
    return expiration is not None and datetime.fromisoformat(expiration) <= utc_now()
