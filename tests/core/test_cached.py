"""The decorator: what it computes, what it serves, and what it survives.

Each function takes the list that counts its calls as an ignored argument: a list in its closure
would be an ingredient of its key.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import flowblob
from flowblob import File, Lazy, Store, cached
from flowblob.cached import CachedCall
from flowblob.errors import (
    InvalidInputError,
)

Calls = list[Any]


@pytest.fixture
def doubled(store: Store) -> Any:
    @cached(store=store, ignore=["calls"], name="doubled")
    def double(x: Any, calls: Calls) -> Any:
        calls.append(x)
        return x * 2

    return double


def test_the_second_call_is_served(store: Store, doubled: Any) -> None:
    calls: Calls = []
    assert [doubled(2, calls), doubled(2, calls), doubled(3, calls)] == [4, 4, 6]
    assert calls == [2, 3]
    assert [store.get(blob) for blob in store.versions("doubled")] == [6, 4]


@pytest.mark.parametrize(
    "value", [None, False, 0, "", [], (1, 2), b"x" * 100_000, {"a": (1,)}], ids=type
)
def test_any_result_is_served_as_it_was(store: Store, value: Any) -> None:
    @cached(store=store, ignore=["value", "calls"])
    def make(value: Any, calls: Calls) -> Any:
        calls.append(1)
        return value

    calls: Calls = []
    first, second = make(value, calls), make(value, calls)
    assert len(calls) == 1
    assert (type(first), first) == (type(second), second) == (type(value), value)


def test_equal_looks_of_different_types_are_different_calls(doubled: Any) -> None:
    calls: Calls = []
    for value in (1, 1.0, True, "1"):
        doubled(value, calls)
    assert len(calls) == 4


def test_arguments_are_bound_before_they_count(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    def add(a: int, b: int = 2, *, calls: Calls) -> int:
        calls.append(1)
        return a + b

    calls: Calls = []
    assert {add(1, calls=calls), add(a=1, calls=calls), add(1, b=2, calls=calls)} == {3}
    assert len(calls) == 1


def test_exceptions_are_not_kept(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    def fail(calls: Calls) -> None:
        calls.append(1)
        raise ZeroDivisionError

    calls: Calls = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail(calls)
    assert len(calls) == 2
    assert store.ls() == []


def test_the_name_of_the_output_is_a_template(store: Store) -> None:
    @cached(store=store, name="features/{region}")
    def features(region: str) -> str:
        return region.upper()

    features("eu")
    features("../x y")
    assert sorted(blob.key for blob in store.ls()) == ["features/..%2Fx y", "features/eu"]


def test_without_a_name_the_output_is_called_as_the_function(store: Store) -> None:
    @cached(store=store)
    def some_function() -> int:
        return 1

    some_function()
    [blob] = store.ls()
    assert blob.key.startswith("test_cached/")
    assert blob.key.endswith("some_function")


def test_everything_said_at_the_decorator_stands_on_the_blob(store: Store) -> None:
    @cached(store=store, kind="dataset", tags={"a": 1}, metadata={"m": [1]}, name="k")
    def make() -> int:
        return 1

    make()
    blob = store.head("k")
    assert (blob.kind, dict(blob.tags), blob.metadata) == ("dataset", {"a": 1}, {"m": [1]})


def test_without_history_only_the_newest_result_of_a_name_stays(store: Store) -> None:
    @cached(store=store, name="k", ttl="7d", history=False)
    def make(x: int) -> int:
        return x

    make(1)
    make.refresh(1)
    assert len(store.versions("k")) == 1


# ------------------------------------------------------------------ time to live


def _entry_of(store: Store) -> Any:
    [entry] = store.cache.entries()
    return entry


def test_a_time_to_live_is_kept_with_the_entry(store: Store) -> None:
    @cached(store=store, ttl="90m")
    def make() -> int:
        return 1

    make()
    entry = _entry_of(store)
    lives = entry.expires_at - entry.updated_at
    assert abs(lives - timedelta(minutes=90)) < timedelta(seconds=30)


def test_an_expired_entry_is_computed_again_and_replaced(store: Store) -> None:
    @cached(store=store, ttl="90m", ignore=["calls"])
    def make(calls: Calls) -> int:
        calls.append(1)
        return len(calls)

    calls: Calls = []
    make(calls)
    store.cache.expire(make.key(calls), datetime.now(UTC) - timedelta(seconds=1))
    assert make.explain(calls).why == "expired"
    assert make(calls) == 2
    assert make(calls) == 2
    assert make.explain(calls).why == "hit"


@pytest.mark.parametrize(
    "ttl", ["soon", -1, "-3d", True, object()], ids=lambda ttl: type(ttl).__name__
)
def test_a_time_to_live_that_is_none_is_refused(ttl: Any) -> None:
    with pytest.raises(InvalidInputError, match="ttl"):
        cached(ttl=ttl)


# ------------------------------------------------------------------ keys


def test_salt_and_version_change_the_key(store: Store) -> None:
    def make() -> int:
        return 1

    keys = {
        cached(store=store, **options)(make).key().digest
        for options in (
            {"name": "n"}, {"name": "n", "salt": "1"}, {"name": "n", "version": "1"},
            {"name": "n", "version": "2"},
        )
    }  # fmt: skip
    assert len(keys) == 4


def test_a_version_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="name"):
        cached(version="1")


def test_refresh_computes_again_and_replaces_the_entry(doubled: Any) -> None:
    calls: Calls = []
    doubled(2, calls)
    assert doubled.refresh(2, calls) == 4
    assert len(calls) == 2
    doubled(2, calls)
    assert len(calls) == 2


def test_explain_says_hit_absent_and_what_differs(store: Store, doubled: Any) -> None:
    calls: Calls = []
    assert (doubled.explain(2, calls).why, doubled.explain(2, calls).is_hit) == ("absent", False)
    doubled(2, calls)
    assert doubled.explain(2, calls).is_hit
    told = doubled.explain(3, calls)
    assert (told.why, told.changed) == ("absent", ["x"])
    assert "x" in str(told)
    json.dumps(told.to_dict())
    assert calls == [2]


def test_explain_names_code_that_changed(store: Store) -> None:
    def one() -> int:
        return 1

    first = cached(store=store, name="f")(one)
    first()

    def one() -> int:  # type: ignore[no-redef]
        return 2

    told = cached(store=store, name="f")(one).explain()
    assert told.changed == ["code"]


class Model:
    """Its methods are cached by the value of `self`."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def train(self, epochs: int, calls: Calls) -> float:
        calls.append(1)
        return self.rate * epochs


def test_methods_count_the_value_of_self(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "train", cached(store=store, ignore=["calls"])(Model.train))
    calls: Calls = []
    assert Model(0.5).train(4, calls) == Model(0.5).train(4, calls) == 2.0
    assert Model(0.25).train(4, calls=calls) == 1.0
    assert len(calls) == 2


@pytest.mark.parametrize("wrong", [staticmethod(len), int, 5], ids=repr)
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError):
        cached(wrong)


# ------------------------------------------------------------------ lazy, files, reads


def test_lazy_results_are_fetched_when_asked_and_count_by_value(store: Store) -> None:
    @cached(store=store, lazy=True)
    def make() -> list[int]:
        return [1, 2]

    @cached(store=store, ignore=["calls"])
    def total(numbers: Any, calls: Calls) -> int:
        calls.append(1)
        return sum(numbers.load() if isinstance(numbers, Lazy) else numbers)

    calls: Calls = []
    first = make()
    assert isinstance(first, Lazy)
    assert isinstance(make(), Lazy)
    assert total(first, calls) == total(make(), calls) == total([1, 2], calls) == 3
    assert len(calls) == 1


def test_a_file_as_result_comes_back_with_its_content(store: Store, tmp_path: Path) -> None:
    @cached(store=store, ignore=["folder", "calls"])
    def report(folder: Path, calls: Calls) -> File:
        calls.append(1)
        (folder / "report.txt").write_text("content")
        return File(folder / "report.txt")

    calls: Calls = []
    report(tmp_path, calls)
    (tmp_path / "report.txt").unlink()
    found = report(tmp_path, calls)
    assert (found.name, found.read_text(), len(calls)) == ("report.txt", "content", 1)


def test_a_read_inside_that_changed_is_a_miss_that_explain_names(store: Store) -> None:
    @cached(store=store, ignore=["store", "calls"])
    def use(store: Store, calls: Calls) -> int:
        calls.append(1)
        return int(store.get("input@prod")) + 1

    calls: Calls = []
    store.put("input", 1, alias="prod")
    assert use(store, calls) == use(store, calls) == 2
    store.put("input", 5)  # the alias did not move
    assert use(store, calls) == 2
    store.promote("input", "prod")
    told = use.explain(store, calls)
    assert (told.why, told.read.ref) == ("read_changed", "input@prod")
    assert use(store, calls) == 6
    assert len(calls) == 2


def test_a_read_inside_of_a_cached_call_inside_counts_for_both(store: Store) -> None:
    @cached(store=store, ignore=["store", "calls"], name="inner")
    def inner(store: Store, calls: Calls) -> int:
        calls.append("inner")
        return int(store.get("input"))

    @cached(store=store, ignore=["store", "calls"], name="outer", code="function")
    def outer(store: Store, calls: Calls) -> int:
        calls.append("outer")
        return inner(store, calls) + 1

    calls: Calls = []
    store.put("input", 1)
    inner(store, calls)  # the outer call meets a hit, whose reads are its own as well
    assert outer(store, calls) == 2
    store.put("input", 10)
    assert outer(store, calls) == 11
    assert calls == ["inner", "outer", "outer", "inner"]


# ------------------------------------------------------------------ runs and numbers


def test_hits_and_saved_time_are_kept_with_the_entry(store: Store, doubled: Any) -> None:
    calls: Calls = []
    for _ in range(4):
        doubled(2, calls)
    store.flush()
    entry = store.cache.entry(doubled.key(2, calls))
    assert entry.hits == 3
    assert entry.cost > timedelta()
    assert entry.saved == entry.cost * 3
    assert entry.last_hit_at is not None


def test_hits_are_linked_to_the_run_they_serve(store: Store, doubled: Any) -> None:
    with flowblob.run("maker") as maker:
        doubled(2, [])
    with flowblob.run("user") as user:
        doubled(2, [])
    blob = store.head("doubled")
    assert [found.id for found in store.blobs_of(maker)] == [blob.id]
    assert [found.id for found in store.blobs_of(user, role="cache_hit")] == [blob.id]
    assert store.cache.entry(doubled.key(2, [])).run.flow == "maker"  # type: ignore[union-attr]


def test_an_unchanged_result_is_the_older_blob_and_the_entry_knows_its_run(store: Store) -> None:
    @cached(store=store, name="k")
    def constant(x: int) -> str:
        return "same"

    for number in (1, 2):
        with flowblob.run(f"run{number}"):
            constant(number)
    assert len(store.versions("k")) == 1
    entry = store.cache.entry(constant.key(2))
    assert (entry.run.flow, entry.blob.run.flow) == ("run2", "run1")  # type: ignore[union-attr]


def test_a_cached_function_travels_to_another_process(store: Store, doubled: Any) -> None:
    import cloudpickle

    call = doubled.cached_call
    assert isinstance(call, CachedCall)
    assert cloudpickle.dumps(cached(name="n", version="1")(lambda: 1))


def test_deleting_the_result_is_a_miss(store: Store, doubled: Any) -> None:
    calls: Calls = []
    doubled(2, calls)
    store.delete("doubled")
    assert doubled(2, calls) == 4
    assert len(calls) == 2
    assert store.head("doubled").version == 0
