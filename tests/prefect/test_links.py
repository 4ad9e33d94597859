"""Runs and lineage: who made what out of what, without being told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pandas as pd
import pytest
from engines import everywhere
from prefect import flow, task
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.context import FlowRunContext, TaskRunContext
from prefect.transactions import transaction
from tally import compute

import flowblob
from flowblob import Store
from flowblob_prefect import FLOWBLOB, FlowblobStorage


@task(cache_policy=FLOWBLOB)
def load(day: str) -> pd.DataFrame:
    compute("load")
    return pd.DataFrame({"day": [day, day]})


@task(cache_policy=FLOWBLOB)
def features(table: pd.DataFrame) -> np.ndarray[Any, Any]:
    compute("features")
    return np.arange(len(table))


def inputs_of(store: Store, key: str) -> list[str]:
    made = store.producer(key)
    return sorted(blob.ref for blob in store.blobs_of(made, role="input"))


def test_the_run_of_a_task_says_all_that_prefect_knows(block: FlowblobStorage) -> None:
    @task(name="score it")
    def score() -> tuple[Any, Any, str, str]:
        context = TaskRunContext.get()
        return flowblob.current_run(), context.task_run, FlowRunContext.get().flow_run.name

    @flow(name="daily")
    def daily():
        return score(), flowblob.current_run()

    (run, task_run, flow_run_name), by_flow = daily()
    assert run.system == by_flow.system == "prefect"
    assert (run.flow, run.task) == ("daily", "score it")
    assert (run.run_id, run.task_run_id) == (str(task_run.flow_run_id), str(task_run.id))
    assert run.name == f"{flow_run_name}/{task_run.name}"
    assert run.url.endswith(f"/runs/task-run/{task_run.id}")
    assert (by_flow.task, by_flow.run_id) == ("", run.run_id)
    assert flowblob.current_run() is None


def test_a_subflow_inside_a_task_is_the_current_run() -> None:
    @flow(name="inner")
    def inner():
        return flowblob.current_run()

    @task
    def outer():
        return inner(), flowblob.current_run()

    @flow(name="outer")
    def whole():
        return outer()

    by_subflow, by_task = whole()
    assert (by_subflow.flow, by_subflow.task) == ("inner", "")
    assert (by_task.flow, by_task.task) == ("outer", "outer")


@pytest.mark.parametrize("policy", [FLOWBLOB, INPUTS], ids=["flowblob", "inputs"])
@pytest.mark.parametrize("how", ["direct", "submitted", "in a transaction", "async", "in async"])
def test_results_are_linked_wherever_they_are_written(
    block: FlowblobStorage, store: Store, how: str, policy: Any
) -> None:
    made = task(_plain, cache_policy=policy, name="made")
    amade = task(_aplain, cache_policy=policy, name="made")

    @flow(name="daily", result_storage=block)
    def sync_flow():
        if how == "submitted":
            return made.submit(1).result()
        if how == "in a transaction":
            with transaction():
                return made(1)
        return made(1)

    @flow(name="daily", result_storage=block)
    async def async_flow():
        return await amade(1) if how == "async" else made(1)

    if how.endswith("async"):
        asyncio.run(async_flow())
    else:
        sync_flow()
    run = store.producer("daily/made")
    assert (run.flow, run.task, run.attempt) == ("daily", "made", 1)
    by_flow = store.producer("daily")
    assert (by_flow.flow, by_flow.task, by_flow.run_id) == ("daily", "", run.run_id)


def _plain(x: int) -> list[int]:
    return [x]


async def _aplain(x: int) -> list[int]:
    return [x]


def test_a_task_outside_of_flows_is_linked(block: FlowblobStorage, store: Store) -> None:
    made = task(_plain, cache_policy=FLOWBLOB, result_storage=block, name="alone")
    made(1)
    run = store.producer("test_links/alone")
    assert (run.system, run.flow, run.task) == ("prefect", "", "alone")
    assert run.run_id == run.task_run_id


@everywhere
def test_arguments_draw_the_lineage(block: FlowblobStorage, store: Store) -> None:
    @flow(name="daily", result_storage=block)
    def daily(day: str):
        return features(load(day))

    daily("mon")
    assert inputs_of(store, "daily/features") == ["daily/load@0"]
    daily("mon")  # both served: the second run has the same edges
    latest = store.runs(flow="daily", task="features", limit=1)[0]
    assert [blob.ref for blob in store.blobs_of(latest, role="input")] == ["daily/load@0"]
    assert [blob.ref for blob in store.blobs_of(latest, role="cache_hit")] == ["daily/features@0"]


def test_futures_draw_the_lineage_also_inside_containers(
    block: FlowblobStorage, store: Store
) -> None:
    @task(cache_policy=FLOWBLOB)
    def join(tables: list[pd.DataFrame]) -> int:
        return sum(map(len, tables))

    @flow(name="daily", result_storage=block)
    def daily():
        return join([load.submit("mon"), load.submit("tue")])

    assert daily() == 4
    assert inputs_of(store, "daily/join") == ["daily/load@0", "daily/load@1"]


def test_an_equal_address_is_not_an_edge(block: FlowblobStorage, store: Store) -> None:
    @task(cache_policy=FLOWBLOB)
    def numbers() -> list[int]:
        return [1, 2, 3]

    @task(cache_policy=FLOWBLOB)
    def total(values: list[int]) -> int:
        return sum(values)

    @flow(name="daily", result_storage=block)
    def daily():
        # The list is freed, and the next one may stand where it stood.
        return [total(values) for values in ([9, len(numbers())] for _ in range(3))]

    daily()
    assert inputs_of(store, "daily/total") == []


def test_put_and_get_inside_a_task_are_linked(block: FlowblobStorage, store: Store) -> None:
    store.put("raw", [1, 2])

    @task(cache_policy=NO_CACHE)
    def clean():
        return block.put("clean", block.get("raw"), tags={"ok": True})

    @flow(name="daily")
    def daily():
        return clean()

    blob = daily()
    assert blob.run.task == "clean"
    assert inputs_of(store, "clean") == ["raw@0"]
    assert block.promote(blob, "prod").aliases == ("prod",)
    assert store.get("clean@prod") == [1, 2]


def test_a_store_without_url_is_that_of_the_block(block: FlowblobStorage, store: Store) -> None:
    @task
    def write() -> None:
        Store().put("a", 1)
        flowblob.default_store().put("b", 2)

    @flow(name="daily", result_storage=block)
    def daily():
        write()
        Store().put("c", 3)

    daily()
    assert [store.producer(key).task for key in "abc"] == ["write", "write", ""]


def test_the_block_has_async_verbs(block: FlowblobStorage, store: Store) -> None:
    @flow(name="daily")
    async def daily():
        blob = await block.aput("a", 1)
        await block.apromote(blob, "prod", expect=None)
        return await block.aget("a@prod")

    assert asyncio.run(daily()) == 1
    assert store.producer("a").flow == "daily"


def test_a_read_inside_a_task_is_part_of_its_entry(block: FlowblobStorage, store: Store) -> None:
    store.put("threshold", 5)

    @task(cache_policy=FLOWBLOB)
    def above(x: int) -> bool:
        return x > flowblob.default_store().get("threshold")

    @flow(name="daily", result_storage=block)
    def daily():
        state = above(7, return_state=True)
        return state.name, state.result()

    assert [daily(), daily()] == [("Completed", True), ("Cached", True)]
    store.put("threshold", 9)
    assert daily() == ("Completed", False)


def test_the_log_names_the_run_that_made_the_value(
    block: FlowblobStorage, store: Store, log: pytest.LogCaptureFixture
) -> None:
    @flow(name="daily", result_storage=block)
    def daily():
        load("mon")

    daily()
    first = store.producer("daily/load")
    daily()
    lines = [r.getMessage() for r in log.records if r.name == "prefect.task_runs"]
    stored, hit = (next(line for line in lines if line.startswith(w)) for w in ("stored", "hit"))
    assert stored.startswith("stored daily/load@0 ")
    assert hit.startswith(f"hit daily/load@0 by {first.name}, saved ")
    [entry] = store.cache.entries()
    assert entry.run == first
    store.flush()
    assert store.cache.entry(entry.key).hits == 1


def test_names_that_are_no_keys_are_quoted(block: FlowblobStorage, store: Store) -> None:
    odd = task(_plain, cache_policy=FLOWBLOB, name="a/b@c")

    @flow(name="daily: 1@2", result_storage=block)
    def daily():
        return odd(1)

    daily()
    assert {blob.key for blob in store.ls()} == {"daily: 1%402/a%2Fb%40c", "daily: 1%402"}
