"""Under which name, and linked to which run, a result is stored.

A task's output is a version of `<flow>/<task>`, a flow's of `<flow>`. Prefect says only a storage
key when it writes, and for a task inside `with transaction():` it writes when the task's context is
gone; what the same key was read by in that context tells the task then.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.transactions import get_transaction

from flowblob.cached import is_cached
from flowblob.checks import KEY_BYTES
from flowblob.model import Run
from flowblob.naming import module_stem
from flowblob.objects import default_key
from flowblob_prefect import runs
from flowblob_prefect.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

#: What Prefect makes up for a result that nobody named: of a flow, or of a failure.
_MADE_UP = re.compile(r"[0-9a-f]{32}\Z")
_PARAMETERS = "parameters/"


@dataclass(frozen=True, slots=True)
class Output:
    """Where a result goes.

    Attributes:
        key: The blob's key.
        run: The run that made it; None outside of any.
        kind: The blob's kind.
    """

    key: str
    run: Run | None = None
    kind: str = ""

    def of(self, value: Any) -> Output:
        """Return where this very value goes: an exception is no output of its task."""
        if isinstance(value, BaseException):
            return replace(self, key=f"{self.key}/failure", kind="exception")
        return self


_readers: Recent[Output] = Recent()
_tries: Recent[str] = Recent()


def of_task(task: TaskRunContext) -> Output:
    """Return where the result of a task goes."""
    run = runs.of_task(task)
    # Outside of a flow the first segment is the one that plain Python uses.
    return Output(default_key(run.flow or module_stem(task.task.fn), task.task.name), run)


def own(function: Callable[..., Any]) -> str | None:
    """Return the key of the current task's output if this is the function that it wraps.

    `cached` asks, so that the results of a cached function that is a task stand under its name.
    """
    task = runs.current_context()
    if isinstance(task, TaskRunContext) and is_cached(task.task.fn):
        wrapped: Any = task.task.fn
        if wrapped.cached_call.function is function:
            return of_task(task).key
    return None


def current() -> Output:
    """Return where a value goes whose storage key is not known."""
    context = runs.current_context()
    if isinstance(context, TaskRunContext):
        return of_task(context)
    if context is None:
        return Output("prefect/results")
    run = runs.of_flow(context)
    if get_transaction() is not None:  # the result of some task that its flow commits
        return Output(default_key(run.flow, "transaction"), run)
    return Output(default_key(run.flow), run)


def of_path(path: str) -> Output:
    """Return where the bytes go that Prefect writes under a storage key now."""
    if is_parameters(path):
        return Output(_keyed("prefect", path), None, "parameters")
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    inner = runs.current_context()
    active = get_transaction()
    if task is not None and inner is task and active is not None and active.key == path:
        return of_task(task)
    if (reader := _readers.get(path)) is not None:
        return reader
    if task is not None and inner is task:
        own = of_task(task)
        return own if is_made_up(path) else replace(own, key=_keyed(own.key, path))
    if flow is not None and flow.flow_run is not None:
        run = runs.of_flow(flow)
        own = Output(default_key(run.flow), run)
        is_result = active is None and is_made_up(path)
        return own if is_result else replace(own, key=_keyed(own.key, path))
    return Output(_keyed("prefect", path))


def remember_reader(path: str) -> bool:
    """Keep which task asks for a storage key; say whether that is the first one of its try.

    The engine asks for the task's own result before anything else does.
    """
    task = runs.current_context()
    if not isinstance(task, TaskRunContext):
        return False
    attempt = (task.task_run.id, task.task_run.run_count)
    if _tries.get(attempt) is not None:
        return False
    _tries.set(attempt, path)
    _readers.set(path, of_task(task))
    return True


def is_parameters(path: str) -> bool:
    """Whether the arguments of a background task stand there."""
    return path.startswith(_PARAMETERS)


def is_made_up(path: str) -> bool:
    """Whether Prefect made the storage key up, for the result of a flow or of a failure."""
    return _MADE_UP.match(path) is not None


def _keyed(prefix: str, path: str) -> str:
    """Return a key below `prefix` for any text; what is too long or no text goes by its hash."""
    try:
        key = f"{prefix}/{default_key(*path.split('/'))}"
        if len(key.encode()) <= KEY_BYTES and not key.endswith("/"):
            return key
    except UnicodeEncodeError:
        pass
    return f"{prefix}/{hashlib.sha256(path.encode(errors='surrogatepass')).hexdigest()}"
