"""Refuse tasks that cannot be cached while their DAG is parsed, not when they run.

Airflow loads this module in every process, so it imports nothing of ours until there is a reason.
`dag.test()` asks no policies; there such a task fails when it starts.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.policies import hookimpl


@hookimpl
def task_policy(task: Any) -> None:
    """Refuse a sensor, a branch and the like over a cached function.

    Raises:
        AirflowClusterPolicyViolation: The DAG has an import error that says why.
    """
    cached = sys.modules.get("flowblob.cached")
    function = getattr(task, "python_callable", None)
    if function is None or cached is None or not cached.is_cached(function):
        return
    from airflow.exceptions import AirflowClusterPolicyViolation

    from flowblob_airflow import refusals

    if problem := refusals.of_python_task(task.operator_class):
        raise AirflowClusterPolicyViolation(f"{task.task_id}: {problem}")
