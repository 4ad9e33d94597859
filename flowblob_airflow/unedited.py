"""Caching for DAGs that one cannot edit: `[flowblob] cache_tasks` names their tasks.

The listener sees a task after its templates are rendered and before it is executed, which is the
moment to put the cache in between. Its inputs were loaded by then; everything else is as with
`@cached` and `cached_operator`.
"""

from __future__ import annotations

import functools
import logging
from fnmatch import fnmatchcase
from typing import Any

from airflow.sdk.configuration import conf

from flowblob_airflow import refusals
from flowblob_airflow.stores import SECTION

logger = logging.getLogger("flowblob.airflow")


def is_meant(task: Any) -> bool:
    """Say whether the configuration asks for this task to be cached."""
    return any(
        fnmatchcase(f"{task.dag_id}.{task.task_id}", pattern)
        for pattern in _patterns(str(conf.get(SECTION, "cache_tasks", fallback="") or ""))
    )


@functools.cache
def _patterns(listed: str) -> tuple[str, ...]:
    return tuple(pattern.strip() for pattern in listed.split(",") if pattern.strip())


def put_cache_in_front(task: Any) -> None:
    """Cache a task that knows nothing of it; one that cannot be cached runs as ever."""
    from airflow.providers.standard.operators.python import PythonOperator

    from flowblob_airflow.cached_operators import cached_operator
    from flowblob_airflow.decorators import adopt, cached

    if problem := refusals.of_class(type(task)) or refusals.of_task(task):
        logger.warning("[flowblob] cache_tasks names %s: %s", task.task_id, problem)
    elif isinstance(task, PythonOperator) and not refusals.of_python_task(type(task)):
        task.python_callable = cached(task.python_callable)
        adopt(task)
    else:
        task.__class__ = cached_operator(type(task))
