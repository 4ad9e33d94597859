"""What a cached function saw in the store: records, and that something was absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store, cached
from flowblob.errors import NotFoundError


def absent_or(store: Store) -> object:
    try:
        return store.get("input")
    except NotFoundError:
        return "absent"


def streamed(store: Store) -> object:
    with store.open("input") as stream:
        return stream.read()


SEEN: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get("input"),
    "lazy": lambda store: store.get("input", lazy=True).load(),
    "open": streamed,
    "resolve": lambda store: store.resolve("input").version,
    "head": lambda store: store.head("input").version,
    "versions": lambda store: len(store.versions("input")),
}


@pytest.mark.parametrize("verb", SEEN)
def test_a_new_version_of_what_was_seen_is_a_miss(store: Store, verb: str) -> None:
    @cached(store=store, ignore=["store", "see"])
    def use(verb: str, store: Store, see: Callable[[Store], object]) -> object:
        return see(store)

    store.put("input", b"one")
    before = use(verb, store, SEEN[verb])
    assert use.explain(verb, store, SEEN[verb]).is_hit
    store.put("input", b"other")
    assert use.explain(verb, store, SEEN[verb]).why == "read_changed"
    assert use(verb, store, SEEN[verb]) != before


@pytest.mark.parametrize("see", [absent_or, lambda store: store.exists("input")])
def test_what_was_absent_and_is_there_now_is_a_miss(store: Store, see: Any) -> None:
    @cached(store=store, ignore=["store"])
    def use(store: Store) -> object:
        return see(store)

    before = use(store)
    assert use.explain(store).is_hit
    store.put("input", 1)
    assert use(store) != before
    store.delete("input")
    assert use(store) == before


def test_an_entry_that_saw_nothing_travels(store: Store, tmp_path: Path) -> None:
    @cached(store=store, ignore=["store"])
    def use(store: Store) -> bool:
        return store.exists("input")

    use(store)
    store.export_to(tmp_path / "all.flowblob")
    with Store(tmp_path / "other") as other:
        other.import_from(tmp_path / "all.flowblob")
        (entry,) = other.cache.entries()
        assert [(read.ref, read.blob_id) for read in entry.reads] == [("input", "")]
