"""`Store.cache`: entries put, served, listed, pinned, expired and evicted by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowblob import Store, cached, run
from flowblob.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
    ReservationLostError,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def test_what_is_put_is_served(store: Store) -> None:
    store.cache.put("rows", 1204, ttl="1d", metadata={"by": "hand"})
    found = store.cache.get("rows")
    assert (found.value, found.entry.metadata) == (1204, {"by": "hand"})
    assert found.entry.expires_at is not None


def test_a_second_put_is_refused_unless_it_overwrites(store: Store) -> None:
    first = store.cache.put("rows", 1)
    with pytest.raises(AlreadyExistsError):
        store.cache.put("rows", 2)
    second = store.cache.put("rows", 3, overwrite=True)
    assert store.cache.get("rows").value == 3
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at


def test_an_entry_older_than_max_age_may_be_replaced(store: Store) -> None:
    store.cache.put("rows", 1)
    with pytest.raises(AlreadyExistsError):
        store.cache.put("rows", 2, max_age="1h")
    store.cache.put("rows", 3, max_age=0.000001)
    assert store.cache.get("rows").value == 3


def test_of_twenty_puts_at_once_exactly_one_wins(store: Store) -> None:
    answers: list[str] = []

    def put(number: int) -> None:
        try:
            store.cache.put("race", number)
            answers.append("won")
        except AlreadyExistsError:
            answers.append("lost")

    threads = [threading.Thread(target=put, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["lost"] * 19 + ["won"]


def test_named_outputs_come_back_lazily(store: Store) -> None:
    store.cache.put("train", {"accuracy": 0.9}, outputs={"model": [1, 2], "log": "fine"})
    found = store.cache.get("train")
    assert {name: lazy.load() for name, lazy in found.outputs.items()} == {
        "model": [1, 2],
        "log": "fine",
    }


def test_an_absent_key_is_not_found_whatever_is_asked(store: Store) -> None:
    for verb in ("get", "delete", "expire", "touch", "pin", "unpin", "entry"):
        with pytest.raises(NotFoundError):
            getattr(store.cache, verb)("nothing")
    for key in ("", "x" * 513, "nul\x00"):
        with pytest.raises(InvalidInputError):
            store.cache.put(key, 1)


def test_an_expired_entry_is_a_miss_and_can_be_put_again(store: Store) -> None:
    store.cache.put("rows", 1)
    store.cache.expire("rows", datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(NotFoundError, match="expired"):
        store.cache.get("rows")
    store.cache.put("rows", 2)
    assert store.cache.get("rows").value == 2


def test_a_hit_says_which_run_made_the_value(store: Store) -> None:
    with run("nightly"):
        store.cache.put("rows", 1)
    with run("morning"):
        entry = store.cache.get("rows").entry
    assert entry.run is not None
    assert entry.run.flow == "nightly"
    assert [use.run.flow for use in store.consumers(entry.blob)] == ["morning"]


def test_entries_are_found_by_what_made_them(store: Store) -> None:
    with run("nightly"):
        store.cache.put("features-a", "x" * 10)
    store.cache.put("report", "x" * 1000)
    names = lambda **filters: sorted(e.name for e in store.cache.entries(**filters))  # noqa: E731
    assert names(flow="nightly") == ["features-a"]
    assert names(pattern="feat*") == ["features-a"]
    assert names(pattern="f?atures%") == []
    assert names(min_size=500) == ["report"]
    assert names(older_than="1h") == []
    with pytest.raises(InvalidInputError, match="Unknown filter"):
        store.cache.entries(nonsense="1")


def test_invalidate_removes_by_pattern_and_keeps_the_versions(store: Store) -> None:
    store.cache.put("features-a", 1)
    store.cache.put("features-b", 2)
    store.cache.put("report", 3)
    assert store.cache.invalidate("features*") == 2
    assert [entry.name for entry in store.cache.entries()] == ["report"]
    assert store.get("cache/features-a") == 1


def test_statistics_count_hits_misses_and_what_was_saved(store: Store) -> None:
    double = cached(store=store)(_double)
    double(1)
    double(1)
    double(1)
    double(2)
    stats = store.cache.stats(since="1d")
    assert (stats.hits, stats.misses, stats.hit_rate) == (2, 2, 0.5)
    assert stats.by_function["_double"].hits == 2
    assert len(stats.by_day) == 1
    assert stats.seconds_saved > 0


def _double(x: int) -> int:
    return 2 * x


def test_the_key_builder_agrees_with_the_decorator(store: Store) -> None:
    assert store.cache.key(_double, {"x": 3}).digest == cached(_double).key(3).digest
    by_version = store.cache.key(_double, {"x": 3}, version="1", name="double")
    assert (
        by_version.digest != store.cache.key(_double, {"x": 3}, version="2", name="double").digest
    )


def test_a_function_that_is_only_named_has_the_key_of_the_real_one(store: Store) -> None:
    def train(rows: int, depth: int = 3) -> int: ...

    real = store.cache.key(train, {"rows": 1}, name="train", version="7")
    assert store.cache.key("train", {"depth": 3, "rows": 1}, version="7").digest == real.digest
    assert store.cache.key("train", {"depth": 4, "rows": 1}, version="7").digest != real.digest
    with pytest.raises(InvalidInputError, match="Nothing is known of the code of 'train'"):
        store.cache.key("train", {"rows": 1})
    with pytest.raises(InvalidInputError, match="need names"):
        store.cache.key("train", {"rows-x": 1}, version="7")


def test_a_past_run_is_explained_by_what_it_computed_and_was_served(store: Store) -> None:
    @cached(store=store, name="double", version="1")
    def double(x: int) -> int:
        return 2 * x

    with run("first") as first:
        double(4)
    with run("second") as second:
        double(4), double(5)
    assert [call.verdict for call in store.cache.explain_run(first)] == ["computed"]
    made, served = store.cache.explain_run(second.task_run_id)
    assert (made.verdict, served.verdict) == ("recomputed", "hit")
    assert made.because == "argument x changed"
    assert made.to_dict()["changed"] == ["x"]
    assert served.run is not None
    assert served.run.run_id == second.run_id
    assert served.entry.run is not None
    assert served.entry.run.run_id == first.run_id
    assert {call.verdict for call in store.cache.explain_run(flow="first")} == {"computed"}
    with pytest.raises(NotFoundError, match="nobody"):
        store.cache.explain_run("nobody")


def test_the_quota_evicts_what_was_used_least_recently(tmp_path: Path) -> None:
    with Store(f"sqlite://{tmp_path}/store?cache_quota=2500") as store:
        store.cache.put("a", "a" * 1000)
        store.cache.put("b", "b" * 1000)
        store.cache.touch("a")
        store.cache.put("c", "c" * 1000)
        assert sorted(entry.name for entry in store.cache.entries()) == ["a", "c"]
        assert not store.exists("cache/b")


def test_pinned_and_aliased_entries_are_never_evicted(tmp_path: Path) -> None:
    with Store(f"sqlite://{tmp_path}/store?cache_quota=2500") as store:
        store.cache.put("a", "a" * 1000)
        store.cache.pin("a")
        store.promote(store.cache.put("b", "b" * 1000).blob, "prod")
        store.cache.pin("b")
        with pytest.raises(QuotaExceededError):
            store.cache.put("c", "c" * 3000)
        assert sorted(entry.name for entry in store.cache.entries()) == ["a", "b"]


def test_what_nobody_used_for_so_long_is_dropped_unless_pinned(store: Store) -> None:
    store.cache.put("kept", 1)
    store.cache.pin("kept")
    store.cache.put("idle", 2)
    assert store.cache.drop_unused("1h") == 0
    assert store.cache.drop_unused(0.000001) == 1
    assert [entry.name for entry in store.cache.entries()] == ["kept"]


def test_a_put_under_a_lost_lease_is_refused(store: Store) -> None:
    key = store.cache.key(_double, {"x": 1})
    lease = store.reserve(key, ttl="30s")
    lease.release()
    with store.reserve(key, owner="other"), pytest.raises(ReservationLostError):
        store.cache.put(key, 2, reservation=lease)
