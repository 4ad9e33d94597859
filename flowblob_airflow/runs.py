"""Which Airflow task try is running here, as a Run.

In order: the context that Airflow sets while it renders and executes, the task instance that the
listener has seen last (the return value is pushed when the context is gone), and the variables that
Airflow gives to child processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from flowblob.checks import utc_now
from flowblob.model import Run

#: What subprocesses of a task read; Airflow's own variables lack the map index and `ti.id`.
_VARIABLES = (
    ("SYSTEM", "system"),
    ("FLOW", "flow"),
    ("ID", "run_id"),
    ("TASK", "task"),
    ("TASK_RUN_ID", "task_run_id"),
    ("ATTEMPT", "attempt"),
    ("MAP_INDEX", "map_index"),
    ("URL", "url"),
)


class _Capture:
    """The task instance this process runs, and its Run, kept because every put asks for it."""

    ti: Any = None
    ran_here = False
    known: tuple[Any, Run] | None = None


def current() -> Run | None:
    """Return the Run of the task try that this process executes, None outside of any.

    Example:
        >>> current() is None
        True
    """
    ti = current_ti()
    if ti is not None:
        return run_of(ti)
    # In `dag.test()` the variables of a finished task stay in the environment of the process.
    return None if _Capture.ran_here else from_environment(os.environ)


def current_ti() -> Any:
    """Return the task instance of Airflow's current context, else the one last captured."""
    context = current_context()
    return context["ti"] if context and "ti" in context else _Capture.ti


def current_context() -> Mapping[str, Any] | None:
    """Return Airflow's context if a task is being rendered or executed here."""
    module = sys.modules.get("airflow.sdk.definitions.context")
    if module is None:
        return None
    try:
        context: Mapping[str, Any] = module.get_current_context()
    except RuntimeError:
        return None
    return context


def capture(ti: Any) -> None:
    """Remember the task instance that starts to execute, for this process and its children."""
    _Capture.ti, _Capture.ran_here = ti, True
    run = run_of(ti)
    for name, attribute in _VARIABLES:
        os.environ[f"FLOWBLOB_RUN_{name}"] = str(getattr(run, attribute))


def forget() -> None:
    """Forget the captured task instance: the task is over."""
    _Capture.ti = None
    for name, _ in _VARIABLES:
        os.environ.pop(f"FLOWBLOB_RUN_{name}", None)


def run_of(ti: Any) -> Run:
    """Return the Run of a task instance; `task_run_id` is `ti.id`, new for each try and clear."""
    if _Capture.known is not None and _Capture.known[0] is ti:
        return _Capture.known[1]
    run = Run(
        system="airflow",
        flow=ti.dag_id,
        run_id=ti.run_id,
        task=ti.task_id,
        task_run_id=str(ti.id),
        attempt=ti.try_number or 1,
        map_index=-1 if ti.map_index is None else ti.map_index,
        url=_url(ti),
        started_at=utc_now(),
        used=_facts(ti),
    )
    _Capture.known = (ti, run)
    return run


def run_for(
    dag_id: str | None, run_id: str | None, task_id: str | None, map_index: int | None
) -> Run | None:
    """Return the Run of an XCom's coordinates: the current one where it matches them."""
    found = current()
    if not (dag_id and run_id and task_id):
        return found
    index = -1 if map_index is None else map_index
    if found and (found.flow, found.run_id, found.task, found.map_index) == (
        dag_id,
        run_id,
        task_id,
        index,
    ):
        return found
    return Run(
        system="airflow",
        flow=dag_id,
        run_id=run_id,
        task=task_id,
        task_run_id=f"{dag_id}/{run_id}/{task_id}/{index}",
        map_index=index,
        started_at=utc_now(),
    )


def from_environment(environ: Mapping[str, str]) -> Run | None:
    """Return the Run that `AIRFLOW_CTX_*` names; it has neither map index nor `ti.id`."""
    dag_id, run_id = environ.get("AIRFLOW_CTX_DAG_ID"), environ.get("AIRFLOW_CTX_DAG_RUN_ID")
    if not dag_id or not run_id or environ.get("FLOWBLOB_RUN_ID"):
        return None  # FLOWBLOB_RUN_* says more, and the core reads it next
    task_id = environ.get("AIRFLOW_CTX_TASK_ID", "")
    attempt = environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
    return Run(
        system="airflow",
        flow=dag_id,
        run_id=run_id,
        task=task_id,
        task_run_id=f"{dag_id}/{run_id}/{task_id}" if task_id else "",
        attempt=int(attempt) if attempt.isdigit() else 1,
        started_at=utc_now(),
    )


def _url(ti: Any) -> str:
    # A page to open is a convenience: a task instance of a test has none, and that is no failure.
    try:
        return str(ti.log_url)
    except (AttributeError, TypeError, ValueError):
        return ""


def _facts(ti: Any) -> dict[str, Any]:
    """Return the small facts of the DAG run that tell two runs of one task apart."""
    facts: dict[str, Any] = {}
    if version := getattr(ti, "dag_version_id", None):
        facts["dag_version_id"] = str(version)
    # Not a declared field of what Airflow builds in `dag.test()`, hence the default.
    bundle = getattr(ti, "bundle_instance", None)
    if bundle is not None and getattr(bundle, "version", None):
        facts["bundle_version"] = str(bundle.version)
    server = getattr(ti, "_ti_context_from_server", None)
    if (dag_run := getattr(server, "dag_run", None)) is not None:
        facts["run_type"] = str(getattr(dag_run.run_type, "value", dag_run.run_type))
        if dag_run.logical_date is not None:
            facts["logical_date"] = dag_run.logical_date.isoformat()
        if dag_run.partition_key is not None:
            facts["partition_key"] = str(dag_run.partition_key)
    return facts
