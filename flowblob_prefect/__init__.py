"""Use flowblob from Prefect.

```python
from flowblob_prefect import FLOWBLOB, FlowblobStorage

@task(cache_policy=FLOWBLOB)
def features(day): ...

@flow(result_storage="flowblob-storage/default")
def daily(): ...
```

Names are loaded when they are used, because importing Prefect takes seconds and the command line
imports this package to list its commands. The entry point `prefect.collections` names
`flowblob_prefect.blocks`, so that Prefect finds the block without the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowblob_prefect.blocks import FlowblobStorage
    from flowblob_prefect.locks import FlowblobLockManager
    from flowblob_prefect.policies import FLOWBLOB, PERSIST_ONLY, FlowblobPolicy
    from flowblob_prefect.serializers import FlowblobSerializer

__all__ = [
    "FLOWBLOB",
    "PERSIST_ONLY",
    "FlowblobLockManager",
    "FlowblobPolicy",
    "FlowblobSerializer",
    "FlowblobStorage",
]

_HOMES = {
    "FLOWBLOB": "policies",
    "FlowblobLockManager": "locks",
    "FlowblobPolicy": "policies",
    "FlowblobSerializer": "serializers",
    "FlowblobStorage": "blocks",
    "PERSIST_ONLY": "policies",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
