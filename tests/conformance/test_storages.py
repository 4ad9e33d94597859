"""Every storage against the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engines import STORAGES, Engine

from flowblob.abc import Storage
from flowblob.engines import open_storage
from flowblob.testing import StorageTests


@pytest.mark.parametrize("engine", [engine.param() for engine in STORAGES.values()], scope="class")
class TestStorages(StorageTests):
    @pytest.fixture
    def storage(self, engine: Engine) -> Iterator[Storage]:
        with engine.fresh() as url:
            storage = open_storage(url)
            yield storage
            storage.close()

    def reopen(self, storage: Storage) -> Storage:
        return storage if storage.url == "memory://" else super().reopen(storage)
