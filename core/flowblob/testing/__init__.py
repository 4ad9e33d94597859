"""Proof that a storage or a catalog keeps its contract: `pip install 'flowblob[testing]'`.

```python
class TestMyStorage(StorageTests):
    @pytest.fixture
    def storage(self, tmp_path):
        yield MyStorage(tmp_path)
```

See `docs/how-to/testing-an-engine.md`.
"""

from __future__ import annotations

from flowblob.errors import MissingDependencyError

try:
    import hypothesis  # noqa: F401 - asked for here, that its absence is said well
    import pytest
except ImportError as _error:
    raise MissingDependencyError(
        f"flowblob.testing needs {_error.name}", hint="pip install 'flowblob[testing]'"
    ) from _error

# What a failed assertion compared is only shown in modules that pytest was told of.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "caching", "contract", "keeping", "leases", "linking", "machine", "moving", "naming",
            "payloads", "rough", "storages", "stores", "versions",
        )
    )
)  # fmt: skip

from flowblob.testing.catalogs import CatalogTests  # noqa: E402 - after the registration
from flowblob.testing.faults import FlakyCatalog, FlakyStorage, Plan, open_flaky  # noqa: E402
from flowblob.testing.machine import StoreMachine  # noqa: E402
from flowblob.testing.making import Make  # noqa: E402
from flowblob.testing.storages import StorageTests  # noqa: E402
from flowblob.testing.stores import StoreTests  # noqa: E402

__all__ = [
    "CatalogTests",
    "FlakyCatalog",
    "FlakyStorage",
    "Make",
    "Plan",
    "StorageTests",
    "StoreMachine",
    "StoreTests",
    "open_flaky",
]
