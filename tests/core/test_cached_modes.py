"""The decorator under the modes of the cache, and in the store that is the default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowblob import Store, cached
from flowblob.store import using

Calls = list[Any]


@pytest.mark.parametrize(
    ("mode", "computed", "stored"),
    [("on", 1, 1), ("off", 3, 0), ("refresh", 3, 1), ("readonly", 3, 0)],
)
def test_the_mode_of_the_cache_comes_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str, computed: int, stored: int
) -> None:
    monkeypatch.setenv("FLOWBLOB_CACHE", mode)
    with Store(folder) as store:

        @cached(store=store, ignore=["calls"])
        def make(calls: Calls) -> int:
            calls.append(1)
            return 7

        calls: Calls = []
        assert [make(calls) for _ in range(3)] == [7, 7, 7]
        assert len(calls) == computed
        assert len(store.cache.entries()) == stored


def test_readonly_serves_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(calls: Calls) -> int:
        calls.append(1)
        return 7

    calls: Calls = []
    with Store(folder) as store:
        cached(store=store, ignore=["calls"])(make)(calls)
    monkeypatch.setenv("FLOWBLOB_CACHE", "readonly")
    with Store(folder) as store:
        assert cached(store=store, ignore=["calls"])(make)(calls) == 7
    assert len(calls) == 1


def test_the_default_store_is_asked_at_each_call(tmp_path: Path) -> None:
    @cached(name="k")
    def make() -> int:
        return 7

    for name in ("a", "b"):
        with Store(tmp_path / name) as store, using(store):
            make()
            assert store.get("k") == 7
