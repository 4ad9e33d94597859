"""Transactions, result stores and serializers over the block, as Prefect's own suites see them."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ended import final_state
from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore, get_result_store
from prefect.serializers import CompressedSerializer, JSONSerializer, PickleSerializer
from prefect.settings import (
    PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK,
    PREFECT_RESULTS_PERSIST_BY_DEFAULT,
    temporary_settings,
)
from prefect.transactions import CommitMode, IsolationLevel, atransaction, transaction
from tally import compute, computed

from flowblob import Store
from flowblob_prefect import FLOWBLOB, FlowblobLockManager, FlowblobSerializer, FlowblobStorage


@pytest.fixture
def results(block: FlowblobStorage, url: str) -> ResultStore:
    return ResultStore(
        result_storage=block,
        lock_manager=FlowblobLockManager(url),
        cache_result_in_memory=False,
    )


def slug(block: FlowblobStorage) -> str:
    return f"flowblob-storage/{block._block_document_name}"


def test_a_transaction_outside_of_runs_is_read_back(results: ResultStore) -> None:
    with transaction(key="k", store=results, write_on_commit=True) as txn:
        assert not txn.is_committed()
        txn.stage({"foo": "bar"})
    assert txn.read().result == results.read("k").result == {"foo": "bar"}
    assert results.read("k").metadata.storage_key == "k"
    assert results.read("k").metadata.serializer == PickleSerializer()
    assert results.read("k") == txn.read()
    assert results.exists("k")
    assert not results.exists("other")
    with transaction(key="k", store=results) as again:
        assert again.is_committed()
    with transaction(key="k", store=results, overwrite=True) as anew:
        assert not anew.is_committed()
        anew.stage("new")
    assert results.read("k").result == "new"


def test_an_unsaved_block_works_in_a_result_store(url: str) -> None:
    results = ResultStore(result_storage=FlowblobStorage(url=url))
    results.write(key="a/b", obj=[1, 2])
    fresh = ResultStore(result_storage=FlowblobStorage(url=url))
    assert fresh.read("a/b").result == [1, 2]

    async def run() -> Any:
        await results.awrite(key="c", obj="text")
        return (await fresh.aread("c")).result, await fresh.aexists("c")

    assert asyncio.run(run()) == ("text", True)


def test_an_expiration_of_prefects_is_kept(results: ResultStore) -> None:
    now = datetime.now(UTC)
    results.write(key="over", obj=1, expiration=now - timedelta(seconds=1))
    results.write(key="valid", obj=1, expiration=now + timedelta(hours=1))
    assert not results.exists("over")
    assert results.exists("valid")


@pytest.mark.parametrize("commit_mode", [CommitMode.LAZY, CommitMode.EAGER])
def test_transactions_inside_flows_and_tasks_use_the_default_block(
    block: FlowblobStorage, store: Store, commit_mode: CommitMode
) -> None:
    def body(key: str) -> Any:
        with transaction(key=key, commit_mode=commit_mode) as txn:
            txn.stage({"foo": key})
        return txn

    @task(persist_result=True)
    def inside_task() -> Any:
        txn = body("task")
        return txn.read() if commit_mode == CommitMode.EAGER else None

    @flow(name="daily")
    def daily():
        record = body("flow").read()
        assert record.metadata.storage_block_id == block._block_document_id
        inside_task()
        return record.result

    with temporary_settings(
        {
            PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK: slug(block),
            PREFECT_RESULTS_PERSIST_BY_DEFAULT: True,
        }
    ):
        assert daily() == {"foo": "flow"}
    assert block.exists("flow")
    assert block.exists("task")
    assert store.get("daily/flow") == {"foo": "flow"}
    assert store.get("daily/inside_task/task") == {"foo": "task"}


def test_a_transaction_inside_a_cached_task_has_a_record_of_its_own(
    block: FlowblobStorage, store: Store
) -> None:
    @task(cache_policy=FLOWBLOB)
    def outer(x: int) -> int:
        with transaction(key="mine", commit_mode=CommitMode.EAGER) as txn:
            txn.stage("staged")
        return x

    @flow(name="daily", result_storage=block)
    def daily():
        outer(1)

    daily()
    assert ResultStore(result_storage=block).read("mine").result == "staged"
    assert store.get("daily/outer") == 1


def test_async_transactions_are_read_back(results: ResultStore) -> None:
    async def run() -> Any:
        async with atransaction(
            key="k", store=results, isolation_level=IsolationLevel.SERIALIZABLE
        ) as txn:
            txn.stage([1])
        return (await txn.read()).result

    assert asyncio.run(run()) == [1]


@pytest.mark.parametrize("level", [None, IsolationLevel.SERIALIZABLE])
def test_a_competing_transaction_sees_what_the_first_wrote(
    results: ResultStore, level: IsolationLevel | None
) -> None:
    is_open = threading.Event()

    def first() -> None:
        with transaction(
            key="k", store=results, isolation_level=IsolationLevel.SERIALIZABLE
        ) as txn:
            is_open.set()
            txn.stage("first")

    thread = threading.Thread(target=first)
    thread.start()
    is_open.wait()
    if level is None:
        with transaction(key="k", store=results, write_on_commit=False) as reading:
            assert reading.read().result == "first"
    else:
        with transaction(key="k", store=results, isolation_level=level) as second:
            second.stage("second")
    thread.join()
    assert results.read("k").result == "first"


@pytest.mark.parametrize(
    "serializer",
    ["json", "pickle", "compressed/pickle", "compressed/json", "flowblob"],
)
@pytest.mark.parametrize("of", ["flow", "task"])
def test_serializers_are_respected(
    block: FlowblobStorage, store: Store, of: str, serializer: str
) -> None:
    options = {"result_serializer": serializer}

    @task(persist_result=True, **(options if of == "task" else {}))
    def made() -> Any:
        return {"a": [1, 2]}

    @flow(name="daily", result_storage=block, **(options if of == "flow" else {}))
    def daily():
        return made(return_state=True).state_details.task_run_id

    state = final_state("task", daily())
    assert (state.result(), state.data.serializer.type) == ({"a": [1, 2]}, serializer)
    if serializer in ("pickle", "flowblob"):
        assert store.get("daily/made") == {"a": [1, 2]}


@pytest.mark.parametrize(
    "serializer",
    [
        PickleSerializer(),
        JSONSerializer(),
        CompressedSerializer(serializer="json"),
        FlowblobSerializer(),
    ],
    ids=lambda serializer: serializer.type,
)
def test_one_block_may_keep_keys_and_results(block: FlowblobStorage, serializer: Any) -> None:
    @task(cache_policy=INPUTS.configure(key_storage=block), result_serializer=serializer)
    def made(x: int) -> Any:
        compute(x)
        return {"storage_key": x}

    @flow(result_storage=block)
    def daily():
        state = made(1, return_state=True)
        return state.name, state.result(raise_on_failure=False)

    value = {"storage_key": 1}
    assert [daily(), daily()] == [("Completed", value), ("Cached", value)]
    assert computed() == ["1"]


def test_the_block_may_keep_the_keys_of_another_storage(
    block: FlowblobStorage, tmp_path: Any
) -> None:
    storage = LocalFileSystem(basepath=str(tmp_path / "plain"))
    storage.save(f"plain-{block._block_document_name}")

    @task(cache_policy=INPUTS.configure(key_storage=block), result_storage=storage)
    def made(x: int) -> int:
        return x

    @flow
    def daily():
        return made(1, return_state=True).name

    assert [daily(), daily()] == ["Completed", "Cached"]


def test_the_serializer_leaves_values_in_our_store_with_any_storage(
    tmp_path: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBLOB_URL", url)
    storage = LocalFileSystem(basepath=str(tmp_path / "plain"))
    storage.save(f"plain-{tmp_path.name.replace('_', '-')[:40].lower()}", overwrite=True)

    @task(cache_policy=INPUTS, result_storage=storage, result_serializer="flowblob")
    def made(x: int) -> list[int]:
        compute(x)
        return list(range(10_000))

    @flow(name="daily")
    def daily():
        state = made(1, return_state=True)
        return state.name, len(state.result())

    assert [daily(), daily()] == [("Completed", 10_000), ("Cached", 10_000)]
    assert computed() == ["1"]
    assert all(file.stat().st_size < 1000 for file in (tmp_path / "plain").iterdir())


def test_user_values_that_look_like_ours_come_back_verbatim(
    block: FlowblobStorage,
) -> None:
    values = [
        {"flowblob": 1, "store": "x", "id": "y"},
        {"metadata": {"storage_key": "k"}, "result": "r"},
        {"type": "flowblob"},
        "fb1:" + "0" * 64,
        "id:7d248fbb-8148-4b25-9211-d37525f78cb9",
    ]

    @task(cache_policy=FLOWBLOB)
    def same(value: Any) -> Any:
        return value

    @task(cache_policy=INPUTS)
    def same_by_inputs(value: Any) -> Any:
        return value

    @flow(result_storage=block)
    def daily():
        return [made(value) for value in values for made in (same, same_by_inputs)]

    expected = [value for value in values for _ in range(2)]
    assert [daily(), daily()] == [expected, expected]
    assert get_result_store().result_storage is None
