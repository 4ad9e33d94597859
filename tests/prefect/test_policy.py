"""The FLOWBLOB policy: its keys, how it composes, and what it does beside `cached`."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import FLOW_PARAMETERS, INPUTS, NO_CACHE, TASK_SOURCE
from prefect.context import TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.locking.memory import MemoryLockManager
from tally import compute, computed

from flowblob import Store, cached
from flowblob.keys import Recipe
from flowblob_prefect import FLOWBLOB, PERSIST_ONLY, FlowblobPolicy, FlowblobStorage


def double(x: int, verbose: bool = False) -> int:
    compute(x)
    return 2 * x


def names(states: list[Any]) -> list[str]:
    return [state.name for state in states]


def twice(block: FlowblobStorage, made: Any, *calls: dict[str, Any], **options: Any) -> list[str]:
    """Run the calls of a task in a flow run each, and return the names of their states."""

    @flow(name="daily", result_storage=block, **options)
    def daily(arguments: dict[str, Any]):
        return made(**arguments, return_state=True).name

    return [daily(call) for call in calls or ({"x": 4}, {"x": 4})]


def test_the_key_is_that_of_the_plain_function(block: FlowblobStorage, store: Store) -> None:
    assert twice(block, task(double, cache_policy=FLOWBLOB)) == ["Completed", "Cached"]
    [entry] = store.cache.entries()
    assert entry.key == Recipe(double).key((4,), {}).digest
    assert entry.blob.ref == "daily/double@0"


def test_python_and_prefect_share_one_entry(block: FlowblobStorage, store: Store) -> None:
    by_python = cached(store=store)(double)
    assert by_python(4) == 8
    assert twice(block, task(double, cache_policy=FLOWBLOB), {"x": 4}) == ["Cached"]
    assert twice(block, task(double, cache_policy=FLOWBLOB), {"x": 5}) == ["Completed"]
    assert by_python(5) == 10
    assert computed() == ["4", "5"]


def test_minus_ignores_an_argument(block: FlowblobStorage) -> None:
    policy = FLOWBLOB - "verbose" - "nobody takes this"
    calls = {"x": 4}, {"x": 4, "verbose": True}
    assert twice(block, task(double, cache_policy=policy), *calls) == ["Completed", "Cached"]
    assert twice(block, task(double, cache_policy=FLOWBLOB), *calls) == ["Completed", "Completed"]


def test_plus_makes_a_key_of_its_own(block: FlowblobStorage, store: Store) -> None:
    made = task(double, cache_policy=FLOWBLOB + TASK_SOURCE)
    assert twice(block, made) == ["Completed", "Cached"]
    [entry] = store.cache.entries()
    assert entry.key != Recipe(double).key((4,), {}).digest
    assert [found.kind for found in entry.ingredients].count("extra") == 1


def test_plus_flow_parameters_tells_flow_runs_apart(block: FlowblobStorage) -> None:
    made = task(double, cache_policy=FLOWBLOB + FLOW_PARAMETERS)

    @flow(name="daily", result_storage=block)
    def daily(day: str):
        return made(4, return_state=True).name

    assert [daily("mon"), daily("tue"), daily("mon")] == ["Completed", "Completed", "Cached"]


def test_other_policies_may_come_first(block: FlowblobStorage, store: Store) -> None:
    made = task(double, cache_policy=TASK_SOURCE + FLOWBLOB)
    assert twice(block, made) == ["Completed", "Cached"]
    assert store.get("daily/double") == 8


def test_policies_are_copied_pickled_and_configured() -> None:
    policy = FlowblobPolicy(ignore=("verbose",), ttl="7d") + INPUTS
    assert pickle.loads(pickle.dumps(policy)) == copy.deepcopy(policy) == policy
    assert FLOWBLOB + NO_CACHE == FLOWBLOB
    assert FLOWBLOB.configure(isolation_level="READ_COMMITTED") != FLOWBLOB
    manager = MemoryLockManager()
    assert (FLOWBLOB + INPUTS.configure(lock_manager=manager)).lock_manager is manager
    with pytest.raises(ValueError, match="cannot be added"):
        FLOWBLOB + FlowblobPolicy(ttl="1d")


def test_without_isolation_every_caller_computes(block: FlowblobStorage) -> None:
    made = task(double, cache_policy=FLOWBLOB.configure(isolation_level="READ_COMMITTED"))
    assert twice(block, made) == ["Completed", "Cached"]
    assert computed() == ["4"]


def test_a_lock_manager_of_the_users_is_used(block: FlowblobStorage) -> None:
    made = task(double, cache_policy=FLOWBLOB.configure(lock_manager=MemoryLockManager()))
    assert twice(block, made) == ["Completed", "Cached"]


def test_none_is_a_result(block: FlowblobStorage) -> None:
    @task(cache_policy=FLOWBLOB)
    def nothing(x: int) -> None:
        compute(x)

    assert twice(block, nothing) == ["Completed", "Cached"]
    assert computed() == ["4"]


def test_a_refresh_computes_and_the_next_run_is_served_its_result(
    block: FlowblobStorage, store: Store
) -> None:
    made = task(draw, cache_policy=FLOWBLOB)
    assert twice(block, made, {"x": 4}) == ["Completed"]
    assert twice(block, made.with_options(refresh_cache=True), {"x": 4}) == ["Completed"]
    assert twice(block, made, {"x": 4}) == ["Cached"]
    assert [blob.ref for blob in store.versions("daily/draw")] == ["daily/draw@1", "daily/draw@0"]
    assert store.get("daily/draw") == 2


def draw(x: int) -> int:
    compute(x)
    return len(computed())


def test_the_ttl_of_a_task_ends_its_entry(block: FlowblobStorage, store: Store) -> None:
    made = task(double, cache_policy=FLOWBLOB, cache_expiration=timedelta(days=7))
    assert twice(block, made) == ["Completed", "Cached"]
    [entry] = store.cache.entries()
    assert entry.expires_at is not None
    assert entry.expires_at - entry.updated_at == pytest.approx(
        timedelta(days=7), abs=timedelta(seconds=9)
    )
    store.cache.expire(entry.key)
    assert twice(block, made, {"x": 4}) == ["Completed"]


def test_a_policy_has_a_ttl_and_names(block: FlowblobStorage, store: Store) -> None:
    policy = FlowblobPolicy(name="doubles/{x}", ttl="1h", kind="number", tags={"team": "a"})
    assert twice(block, task(double, cache_policy=policy)) == ["Completed", "Cached"]
    blob = store.head("doubles/4")
    assert (blob.kind, blob.tags) == ("number", {"team": "a"})
    assert store.cache.entries()[0].expires_at is not None


def test_a_cached_function_as_a_task_makes_one_entry_and_one_payload(
    block: FlowblobStorage, store: Store
) -> None:
    for policy in (FLOWBLOB, INPUTS):
        made = task(cached_double, cache_policy=policy)
        assert twice(block, made) == ["Completed", "Cached"]
    assert computed() == ["4"]
    assert len(store.cache.entries()) == 1
    assert [blob.ref for blob in store.ls("daily/")] == ["daily/cached_double@0"]
    digest = store.head("daily/cached_double").digest
    assert [found.digest for found in store.catalog.generations()].count(digest) == 1


def test_a_cached_function_keeps_its_value_whatever_serializer_the_task_has(
    block: FlowblobStorage, store: Store
) -> None:
    made = task(cached_double, cache_policy=INPUTS, result_serializer="json", name="json_double")

    @flow(name="daily", result_storage=block)
    def daily():
        state = made(4, return_state=True)
        return state.name, state.result()

    assert [daily(), daily()] == [("Completed", 8), ("Cached", 8)]
    assert store.get("daily/json_double") == 8


def test_a_cached_function_called_inside_a_task_is_linked_to_it(
    block: FlowblobStorage, store: Store
) -> None:
    @task(cache_policy=NO_CACHE)
    def outer(x: int) -> int:
        return cached_double(x)

    assert twice(block, outer) == ["Completed", "Completed"]
    assert computed() == ["4"]
    [entry] = store.cache.entries()
    assert (entry.run.flow, entry.run.task) == ("daily", "outer")
    assert [use.role for use in store.consumers(entry.blob)] == ["cache_hit"]


@cached
def cached_double(x: int) -> int:
    compute(x)
    return 2 * x


def test_persist_only_keeps_every_result_and_serves_none(
    block: FlowblobStorage, store: Store
) -> None:
    made = task(draw, cache_policy=PERSIST_ONLY)
    assert twice(block, made) == ["Completed", "Completed"]
    assert [store.get(blob) for blob in store.versions("daily/draw")] == [2, 1]
    assert store.cache.entries() == []


def test_a_foreign_storage_caches_by_itself_and_is_told_about(
    tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    storage = LocalFileSystem(basepath=str(tmp_path / "plain"))
    storage.save(f"plain-{tmp_path.name.replace('_', '-')}".lower()[:60], overwrite=True)

    @task(cache_policy=FLOWBLOB, result_storage=storage)
    def foreign(x: int) -> int:
        compute(x)
        return 2 * x

    @flow
    def daily():
        state = foreign(4, return_state=True)
        return state.name, state.result()

    assert [daily(), daily()] == [("Completed", 8), ("Cached", 8)]
    told = [record for record in log.records if "flowblob prefect setup" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]


def test_tasks_inside_a_cached_task_keep_results_of_their_own(
    block: FlowblobStorage, store: Store
) -> None:
    @task
    def inner(x: int) -> int:
        return x + 1

    @task(cache_policy=FLOWBLOB)
    def inner_cached(x: int) -> int:
        return x + 2

    @task(cache_policy=FLOWBLOB)
    def outer(x: int) -> list[int]:
        return [inner(x), inner_cached(x)]

    assert twice(block, outer, {"x": 1}) == ["Completed"]
    found = {blob.key: store.get(blob) for blob in store.ls("daily/")}
    assert found == {"daily/inner": 2, "daily/inner_cached": 3, "daily/outer": [2, 3]}


def test_a_generator_is_run_and_not_cached(
    block: FlowblobStorage, store: Store, log: pytest.LogCaptureFixture
) -> None:
    @task(cache_policy=FLOWBLOB)
    def numbers(x: int) -> Any:
        compute(x)
        yield from range(x)

    @flow(name="daily", result_storage=block)
    def daily():
        return list(numbers(3))

    assert [daily(), daily()] == [[0, 1, 2], [0, 1, 2]]
    assert computed() == ["3", "3"]
    assert "is a generator and is not cached" in log.text


def test_an_argument_without_identity_runs_uncached_and_says_why(
    block: FlowblobStorage, log: pytest.LogCaptureFixture
) -> None:
    @task(cache_policy=FLOWBLOB)
    def lengths(x: Any) -> int:
        compute()
        return 1

    assert twice(block, lengths, {"x": object()}) == ["Completed"]
    assert "computing cache key" in log.text


def test_a_task_that_times_out_while_it_waits_takes_nothing(
    block: FlowblobStorage, store: Store
) -> None:
    async def slow(x: int) -> int:
        return x

    made = task(slow, cache_policy=FLOWBLOB, timeout_seconds=0.5)
    key = Recipe(slow).key((4,), {}).digest
    lease = timedelta(minutes=5)
    held = store.catalog.acquire(key, "somebody", ttl=lease, max_hold=lease).reservation

    @flow(name="daily", result_storage=block)
    async def daily():
        return (await made(4, return_state=True)).name

    assert asyncio.run(daily()) == "TimedOut"
    assert store.catalog.release(held)
    mine = store.catalog.acquire(key, "me", ttl=lease, max_hold=lease)
    assert mine.reservation is not None


def test_more_tasks_than_the_loop_has_threads_compute_once(block: FlowblobStorage) -> None:
    @task(cache_policy=FLOWBLOB)
    async def slow(x: int) -> int:
        compute(x)
        await asyncio.sleep(0.05)
        return x

    @flow(name="daily", result_storage=block)
    async def daily():
        return await asyncio.wait_for(asyncio.gather(*(slow(4) for _ in range(40))), 60)

    assert asyncio.run(daily()) == [4] * 40
    assert computed() == ["4"]


def test_a_retry_is_a_new_try_under_the_same_key(block: FlowblobStorage, store: Store) -> None:
    @task(cache_policy=FLOWBLOB, retries=2)
    def flaky(x: int) -> int:
        compute(x)
        if len(computed()) < 3:
            raise RuntimeError("not yet")
        return TaskRunContext.get().task_run.run_count

    assert twice(block, flaky) == ["Completed", "Cached"]
    assert store.get("daily/flaky") == 3
    assert store.producer("daily/flaky").attempt == 3


@pytest.mark.parametrize(("mode", "expected"), [("off", 2), ("refresh", 2), ("readonly", 2)])
def test_the_cache_is_steered_from_the_environment(
    block: FlowblobStorage, store: Store, monkeypatch: pytest.MonkeyPatch, mode: str, expected: int
) -> None:
    monkeypatch.setenv("FLOWBLOB_CACHE", mode)
    made = task(double, cache_policy=FLOWBLOB)
    assert twice(block, made) == ["Completed", "Completed"]
    assert len(computed()) == expected
    assert store.get("daily/double") == 8
    assert len(store.cache.entries()) == (1 if mode == "refresh" else 0)
