"""What listings take and give, the same on every engine."""

from __future__ import annotations

from typing import Any

import pytest

from flowblob import Store
from flowblob.errors import InvalidInputError
from flowblob.model import Blob


@pytest.mark.parametrize("limit", [-1, "1", 1.0, True])
def test_a_limit_that_is_no_number_is_refused(store: Store, limit: Any) -> None:
    store.put("k", 1)
    listings = (
        store.ls,
        store.runs,
        store.cache.entries,
        lambda limit: store.versions("k", limit=limit),
    )
    for listing in listings:
        with pytest.raises(InvalidInputError, match="limit"):
            listing(limit=limit)


def test_a_limit_may_be_larger_than_any_engine_counts(store: Store) -> None:
    store.put("k", 1)
    assert [blob.key for blob in store.ls(limit=10**30)] == ["k"]
    assert len(store.versions("k", limit=10**30)) == 1
    assert store.ls(limit=0) == store.versions("k", limit=0) == []


@pytest.mark.parametrize(
    "filters", [{"kind": {"$ne": ""}}, {"alias": ["prod"]}, {"tags": "prod"}, {"flow": b"f"}]
)
def test_a_filter_that_nothing_can_equal_is_refused(store: Store, filters: dict[str, Any]) -> None:
    store.put("k", 1, alias="prod")
    with pytest.raises(InvalidInputError, match=next(iter(filters))):
        store.ls(**filters)


def test_a_key_that_comes_back_while_it_is_listed_is_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = store.catalog.versions

    def versions(key: str, *, limit: int | None = None) -> list[Blob]:
        monkeypatch.undo()
        found = listed(key, limit=limit)
        store.put(key, 1)
        return found

    monkeypatch.setattr(store.catalog, "versions", versions)
    assert [blob.version for blob in store.versions("k")] == [0]


def test_a_cursor_that_no_report_gave_is_refused(store: Store) -> None:
    store.put("k", b"1" * 50_000)
    with pytest.raises(InvalidInputError, match="cursor"):
        store.verify(resume="xyz")
    cursor = store.verify(limit=1).cursor
    assert store.verify(resume=cursor).is_clean
