"""What of Airflow's context may stand in a key, and in which form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flowblob.errors import InvalidInputError

#: Objects that act for the running try, or change with every one; they never count.
NEVER_COUNTED = frozenset(
    {
        "asset_state_store",
        "conn",
        "dag",
        "dag_run",
        "exception",
        "expanded_ti_count",
        "inlet_events",
        "inlets",
        "macros",
        "map_index_template",
        "outlet_events",
        "outlets",
        "reason",
        "task",
        "task_instance",
        "task_reschedule_count",
        "task_state_store",
        "test_mode",
        "ti",
        "triggering_asset_events",
        "try_number",
        "var",
    }
)


def from_context(context: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the values of context keys that are to count.

    Raises:
        InvalidInputError: One of them never counts, or this run has none of that name.
    """
    for name in names:
        if name in NEVER_COUNTED:
            raise InvalidInputError(
                f"{name!r} cannot count: it changes with every try",
                hint="Name values such as 'ds', 'params' or 'run_id' in key_context",
            )
        if name not in context:
            raise InvalidInputError(f"This DAG run has no {name!r} for key_context")
    return {name: counted(context[name]) for name in names}


def counted(value: Any) -> Any:
    """Return a value as other hosts would have it, with Airflow's own wrappers taken off.

    Airflow's dates are a subclass of datetime, and values that it fetches late are proxies; the
    same date given by Python or Prefect must make the same key.
    """
    if type(value).__module__.startswith("lazy_object_proxy"):
        value = value.__wrapped__
    if isinstance(value, datetime) and type(value) is not datetime:
        return datetime.fromisoformat(value.isoformat())
    if type(value) is dict:
        return {key: counted(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(counted(item) for item in value)
    return value
