"""A catalog beside the payloads of another store: refused, before anything is read or written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from engines import Engine, pairs

from flowblob import Store
from flowblob.config import Settings
from flowblob.errors import ConflictError

#: Two stores in memory have no places that could be mistaken for each other.
LASTING = [pair for pair in pairs() if not str(pair.id).startswith("memory")]


@pytest.fixture
def stores(pair: tuple[Engine, Engine]) -> Iterator[list[tuple[Settings, str]]]:
    """Two stores of the same engines, and their ids."""
    made = []
    with ExitStack() as stack:
        for _ in range(2):
            url, storage = (stack.enter_context(engine.fresh()) for engine in pair)
            settings = Settings(url=url, storage=storage)
            with Store.from_settings(settings) as store:
                store.put("k", url.encode() * 2_000)
                made.append((settings, store.store_id))
        yield made


@pytest.mark.parametrize("pair", LASTING)
def test_swapped_engines_are_refused_and_nothing_is_harmed(
    stores: list[tuple[Settings, str]],
) -> None:
    for (one, one_id), (other, other_id) in (stores, stores[::-1]):
        with pytest.raises(ConflictError) as refused:
            Store.from_settings(Settings(one.url, storage=other.storage))
        assert one_id in str(refused.value)
        assert other_id in str(refused.value)
    for settings, _ in stores:
        with Store.from_settings(settings) as store:
            assert store.get("k") == settings.url.encode() * 2_000
            assert store.catalog.check() == []
            assert len(list(store.storage.names())) == 1
