"""Use flowblob from Airflow: `from flowblob_airflow import cached, FlowblobHook`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowblob_airflow.cached_operators import cached_operator
    from flowblob_airflow.decorators import cached
    from flowblob_airflow.hooks import FlowblobHook
    from flowblob_airflow.operators import (
        FlowblobGetOperator,
        FlowblobPromoteOperator,
        FlowblobPutOperator,
        FlowblobTagOperator,
    )
    from flowblob_airflow.sensors import BlobSensor
    from flowblob_airflow.triggers import BlobTrigger
    from flowblob_airflow.xcom import FlowblobXCom

# Every Airflow process loads this package for its provider info; the rest waits for its first use.
_HOMES = {
    "BlobSensor": "sensors",
    "BlobTrigger": "triggers",
    "FlowblobGetOperator": "operators",
    "FlowblobHook": "hooks",
    "FlowblobPromoteOperator": "operators",
    "FlowblobPutOperator": "operators",
    "FlowblobTagOperator": "operators",
    "FlowblobXCom": "xcom",
    "cached": "decorators",
    "cached_operator": "cached_operators",
}

__all__ = [
    "BlobSensor",
    "BlobTrigger",
    "FlowblobGetOperator",
    "FlowblobHook",
    "FlowblobPromoteOperator",
    "FlowblobPutOperator",
    "FlowblobTagOperator",
    "FlowblobXCom",
    "cached",
    "cached_operator",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
