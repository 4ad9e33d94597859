"""Which Prefect run is executing here, as a Run. Reads contexts only: no call to the API."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext
from prefect.utilities.urls import url_for

from flowblob.checks import utc_now
from flowblob.model import Run


def current() -> Run | None:
    """Return the Run of the task or flow that executes here, None outside of any.

    Example:
        >>> current() is None
        True
    """
    context = current_context()
    if isinstance(context, TaskRunContext):
        return of_task(context)
    return None if context is None else of_flow(context)


def current_context() -> TaskRunContext | FlowRunContext | None:
    """Return the context of what executes here: a task, or a flow, also one inside a task."""
    task, flow = TaskRunContext.get(), FlowRunContext.get()
    if task is not None and not _is_inner(flow, task):
        return task
    return flow if flow is not None and flow.flow_run is not None else None


def _is_inner(flow: FlowRunContext | None, task: TaskRunContext) -> bool:
    """Say whether the flow runs inside the task, not the task inside the flow."""
    run = flow.flow_run if flow is not None else None
    return run is not None and run.id != task.task_run.flow_run_id


def of_task(task: TaskRunContext) -> Run:
    """Return the Run of a task run.

    A background task has no flow context: asking the API for it would cost every write a call.
    """
    flow = FlowRunContext.get()
    flow = None if _is_inner(flow, task) else flow
    run = task.task_run
    flow_run = flow.flow_run if flow is not None else None
    names = [flow_run.name if flow_run is not None else "", run.name or ""]
    return Run(
        system="prefect",
        flow=flow_name(flow),
        run_id=str(run.flow_run_id or run.id),
        task=task.task.name,
        task_run_id=str(run.id),
        attempt=max(run.run_count, 1),
        url=_url("task-run", run.id),
        name="/".join(filter(None, names)),
        started_at=_moment(run.start_time),
    )


def of_flow(flow: FlowRunContext) -> Run:
    """Return the Run of a flow run."""
    run = flow.flow_run
    assert run is not None, "a flow context outside of a run"
    return Run(
        system="prefect",
        flow=flow_name(flow),
        run_id=str(run.id),
        attempt=max(run.run_count, 1),
        url=_url("flow-run", run.id),
        name=run.name or "",
        started_at=_moment(run.start_time),
    )


def flow_name(flow: FlowRunContext | None) -> str:
    """Return the name of the flow, empty where none is known."""
    return flow.flow.name if flow is not None and flow.flow is not None else ""


def _moment(moment: datetime | None) -> datetime:
    # Prefect's moments are pendulum's, whose arithmetic refuses a plain timedelta.
    return utc_now() if moment is None else datetime.fromtimestamp(moment.timestamp(), UTC)


@functools.lru_cache(maxsize=1024)
def _url(kind: str, run_id: UUID) -> str:
    # Remembered because it costs 100 us of settings, and every put and get asks which run it is.
    return url_for(kind, obj_id=run_id) or ""
