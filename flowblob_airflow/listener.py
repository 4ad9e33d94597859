"""What Airflow tells us about the tasks of this process.

Airflow swallows what a listener raises, but logs it as an error of the task; linking must not.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.listeners import hookimpl
from airflow.sdk.configuration import conf

from flowblob.journal import best_effort
from flowblob_airflow import runs
from flowblob_airflow.stores import SECTION


@hookimpl
def on_task_instance_running(task_instance: Any) -> None:
    """Remember the task instance, and give cached functions what Airflow knows about them."""
    if not _runs_here(task_instance):
        return
    with best_effort("Linking to the Airflow task"):
        runs.capture(task_instance)
    _adopt(task_instance.task)


@hookimpl
def on_task_instance_failed(task_instance: Any) -> None:
    """Let whoever waits for what the task was computing start at once."""
    calls = sys.modules.get("flowblob_airflow.calls")
    if calls is not None and _runs_here(task_instance):
        with best_effort("Releasing what the task was computing"):
            calls.release_all()


@hookimpl
def before_stopping() -> None:
    """Write what waits in memory and forget the task, however it ended, deferred included.

    A worker's process does not end as others do, and `dag.test()` goes on with the next task.
    """
    if (stores := sys.modules.get("flowblob_airflow.stores")) is not None:
        with best_effort("Writing what the task has read"):
            stores.flush_all()
    if (xcom := sys.modules.get("flowblob_airflow.xcom")) is not None:
        xcom.forget_returned()
    runs.forget()


def _adopt(task: Any) -> None:
    """Put the cache in front of a task that is to be cached."""
    if (cached := sys.modules.get("flowblob.cached")) is not None and cached.is_cached(
        getattr(task, "python_callable", None)
    ):
        from flowblob_airflow.decorators import adopt

        adopt(task)
    elif getattr(task, "flowblob_cache", None) is None and conf.get(
        SECTION, "cache_tasks", fallback=""
    ):
        from flowblob_airflow import unedited

        if unedited.is_meant(task):
            unedited.put_cache_in_front(task)


def _runs_here(task_instance: Any) -> bool:
    # The API server calls the same hooks with a row of its database when a person sets a state.
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return runner is not None and isinstance(task_instance, runner.RuntimeTaskInstance)
