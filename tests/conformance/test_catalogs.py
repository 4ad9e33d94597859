"""Every catalog against the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engines import ENGINES, Engine

from flowblob.abc import Catalog
from flowblob.engines import open_catalog
from flowblob.testing import CatalogTests


@pytest.mark.parametrize("engine", [engine.param() for engine in ENGINES.values()], scope="class")
class TestCatalogs(CatalogTests):
    @pytest.fixture
    def catalog(self, engine: Engine) -> Iterator[Catalog]:
        with engine.fresh() as url:
            catalog = open_catalog(url)
            yield catalog
            catalog.close()

    def reopen(self, catalog: Catalog) -> Catalog:
        return catalog if catalog.url == "memory://" else super().reopen(catalog)
