"""The usual pairs of a catalog and a storage; test_machine.py has all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engines import Engine, fresh_store, pairs

from flowblob.testing import StoreTests


@pytest.mark.parametrize("pair", pairs(every=False), scope="class")
class TestStores(StoreTests):
    @pytest.fixture
    def url(self, pair: tuple[Engine, Engine]) -> Iterator[str]:
        with fresh_store(pair) as url:
            yield url
