"""cache, lineage: what is served, and what came of what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flowblob
from flowblob import Store, cached

Cli = Callable[..., Any]


@pytest.fixture
def twice(store: Store) -> Any:
    @cached(store=store, name="twice", version="1")
    def function(number: int) -> int:
        return number * 2

    return function


def test_cache_lists_entries_with_what_they_saved(cli: Cli, store: Store, twice: Any) -> None:
    twice(1), twice(2), twice(2)
    store.flush()
    told = cli("cache", "ls", "--name", "twice", "--json").json["entries"]
    assert [(entry["ref"], entry["hits"]) for entry in told] == [("twice@1", 1), ("twice@0", 0)]
    assert cli("cache", "ls", "--name", "other").rows == []


@pytest.mark.parametrize("command", ["rm", "expire"])
def test_an_entry_that_was_removed_or_expired_is_computed_again(
    command: str, cli: Cli, store: Store, twice: Any
) -> None:
    twice(1)
    (entry,) = store.cache.entries()
    assert twice.explain(1).is_hit
    assert cli("cache", command, entry.key[:12]).code == 0
    assert not twice.explain(1).is_hit
    assert store.exists("twice@0")


def test_show_tells_everything_about_an_entry(cli: Cli, store: Store) -> None:
    store.cache.put("rows", 7, ttl="1d", metadata={"by": "hand"}, outputs={"side": 8})
    told = cli("cache", "show", "rows", "--json").json["entry"]
    assert (told["ref"], told["metadata"], told["pinned"]) == (
        "cache/rows@0",
        {"by": "hand"},
        False,
    )
    assert store.resolve(f"id:{told['outputs']['side']}").key == "cache/rows/side"
    fields = dict(row[:2] for row in cli("cache", "show", "rows").rows)
    assert fields["key"] == "rows"
    assert fields["expires"]


def test_show_names_the_ingredients(cli: Cli, store: Store, twice: Any) -> None:
    twice(4)
    (entry,) = store.cache.entries()
    told = cli("cache", "show", entry.key[:12], "--json").json["entry"]
    found = {item["name"]: (item["kind"], item["summary"]) for item in told["ingredients"]}
    assert found["number"] == ("argument", "4")


def test_stats_count_by_function_and_by_day(cli: Cli, store: Store, twice: Any) -> None:
    twice(1), twice(1), twice(1), twice(2)
    store.flush()
    told = cli("cache", "stats", "--json").json
    assert (told["hits"], told["misses"], told["hit_rate"]) == (2, 2, 0.5)
    (row,) = told["stats"]
    assert (row["name"], row["hits"], row["misses"]) == ("twice", 2, 2)
    (line,) = cli("cache", "stats", "--by-day", "--since", "2d").rows
    assert (line[0].count("-"), line[1:4]) == (2, ["2", "2", "0.5"])
    assert cli("cache", "stats", "--name", "other", "--json").json["stats"] == []


def test_a_pinned_entry_says_so_until_it_is_unpinned(cli: Cli, store: Store, twice: Any) -> None:
    twice(1)
    (entry,) = store.cache.entries()
    for command, is_pinned in (("pin", True), ("unpin", False)):
        assert cli("cache", command, entry.key[:12]).code == 0
        assert store.cache.entry(entry.key).pinned is is_pinned


def test_cache_why_is_why(cli: Cli, twice: Any) -> None:
    twice(1), twice(2)
    assert cli("cache", "why", "twice@1").out == cli("why", "twice@1").out != ""


def test_the_beginning_of_a_cache_key_must_name_one_entry(cli: Cli, twice: Any) -> None:
    twice(1), twice(2)
    assert cli("cache", "rm", "fb1:").code == 3
    assert cli("cache", "rm", "fb1:zzzzzzzz").code == 3


def test_lineage_crosses_runs(cli: Cli, store: Store) -> None:
    store.put("raw", 1)
    with flowblob.run("nightly"):
        store.get("raw")
        store.put("clean", 2)
    store.flush()
    edges = [(row[0], row[1], row[2]) for row in cli("lineage", "clean").rows]
    assert [(edge[0], edge[1].split()[0], edge[2].split()[0]) for edge in edges] == [
        ("output", "python", "clean@0"),
        ("input", "raw@0", "python"),
    ]
    assert cli("lineage", "clean", "--mermaid").out.startswith("flowchart LR")
    assert set(cli("lineage", "clean", "-q").out.split()) == {"clean@0", "raw@0"}
