"""Tasks whose output cannot be cached, and why."""

from __future__ import annotations

from typing import Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException

from flowblob.errors import NotSupportedError
from flowblob.iterating import is_generator


def of_class(operator: Any) -> str:
    """Return why no task of this operator class can be cached, empty if it can."""
    name = operator.__name__
    if getattr(operator, "_is_sensor", False):
        return (
            f"{name} is a sensor: it waits for the outside world, which a key cannot see. "
            "Cache the task that reads what it waits for"
        )
    if _can_skip(operator):
        return (
            f"{name} decides which tasks run, and that decision is lost when it is served from the "
            "cache. Cache the task that computes what it decides on"
        )
    if getattr(operator, "start_from_trigger", False):
        return (
            f"{name} starts in the triggerer and never asks the cache. Turn start_from_trigger off"
        )
    return ""


def of_python_task(operator: Any) -> str:
    """Return why this operator cannot run a cached function, empty if it can."""
    from airflow.providers.standard.operators.python import (
        PythonOperator,
        _BasePythonVirtualenvOperator,
    )

    if problem := of_class(operator):
        return problem
    if issubclass(operator, PythonOperator) and not issubclass(
        operator, _BasePythonVirtualenvOperator
    ):
        return ""
    return (
        f"{operator.__name__} runs the source of its function in another environment, "
        "without its decorators. Use cached_operator, or put @cached under @task"
    )


def of_function(function: Any) -> str:
    """Return why the outputs of this function cannot be cached, empty if they can."""
    if is_generator(function):
        return (
            f"{function.__qualname__} is a generator: Airflow runs it for the asset metadata that "
            "it yields, and its result is none of its items. Return the result, and add metadata "
            "to outlet_events"
        )
    return ""


def of_task(task: Any) -> str:
    """Return why this very task cannot be cached although its class can, empty if it can."""
    if getattr(task, "start_from_trigger", False):
        return f"{task.task_id} starts in the triggerer and never asks the cache"
    return ""


def _can_skip(operator: Any) -> bool:
    from airflow.sdk.bases.skipmixin import SkipMixin

    inherits = getattr(operator, "inherits_from_skipmixin", False)
    return bool(inherits is True) or issubclass(operator, SkipMixin)


def check_class(operator: Any) -> None:
    """Refuse an operator class that cannot be cached.

    Raises:
        NotSupportedError: It cannot.
    """
    if problem := of_class(operator):
        raise NotSupportedError(problem)


def refuse(problem: str, context: Any) -> NoReturn:  # noqa: ARG001 - stands in for `execute`
    """Stand in for the execution of a task that cannot be cached; a retry would not help."""
    raise AirflowFailException(problem)
