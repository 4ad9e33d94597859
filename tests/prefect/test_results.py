"""The block as result storage, in every place where Prefect writes and reads results."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ended import final_state
from engines import everywhere
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.transactions import transaction
from tally import compute, computed

from flowblob import Store
from flowblob_prefect import FLOWBLOB, FlowblobStorage


@task(cache_policy=FLOWBLOB)
def score(x: int) -> pd.DataFrame:
    compute(x)
    return pd.DataFrame({"x": [x, x * 2]})


@task(cache_policy=FLOWBLOB)
async def ascore(x: int) -> pd.DataFrame:
    compute(x)
    return pd.DataFrame({"x": [x, x * 2]})


EXPECTED = pd.DataFrame({"x": [3, 6]})


def read_in_another_process(script: Callable[..., str], kind: str, run_id: object) -> str:
    """Return repr of `state.result()` of a run, read by a process that knows nothing else of it."""
    return script(
        f"""
from ended import final_state
result = final_state({kind!r}, {str(run_id)!r}).result(raise_on_failure=False)
print(type(result).__name__, str(result))
"""
    ).strip()


def test_a_second_run_takes_the_result_of_the_first(block: FlowblobStorage, store: Store) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        state = score(x, return_state=True)
        return state.name, state.result()

    (first, made), (second, served) = daily(3), daily(3)
    assert (first, second) == ("Completed", "Cached")
    assert computed() == ["3"]
    pd.testing.assert_frame_equal(made, EXPECTED)
    pd.testing.assert_frame_equal(served, EXPECTED)


def test_an_output_is_a_typed_version_of_flow_and_task(
    block: FlowblobStorage, store: Store
) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        score(x)

    daily(3)
    daily(4)
    assert [blob.version for blob in store.versions("daily/score")] == [1, 0]
    pd.testing.assert_frame_equal(store.get("daily/score@0"), EXPECTED)
    assert "arrow" in store.head("daily/score").media_type


def test_async_tasks_are_cached(block: FlowblobStorage) -> None:
    @flow(name="daily", result_storage=block)
    async def daily(x: int):
        state = await ascore(x, return_state=True)
        return state.name, await state.aresult()

    first, second = asyncio.run(daily(3)), asyncio.run(daily(3))
    assert (first[0], second[0]) == ("Completed", "Cached")
    pd.testing.assert_frame_equal(second[1], EXPECTED)
    assert computed() == ["3"]


@everywhere
def test_sync_tasks_of_async_flows_are_cached(block: FlowblobStorage) -> None:
    @flow(name="daily", result_storage=block)
    async def daily(x: int):
        return score(x, return_state=True).name

    assert [asyncio.run(daily(3)), asyncio.run(daily(3))] == ["Completed", "Cached"]


def test_submitted_tasks_are_cached(block: FlowblobStorage, store: Store) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        futures = [score.submit(x), ascore.submit(x)]
        return [(future.result()["x"].sum(), future.state.name) for future in futures]

    assert [int(value) for value, _ in daily(3)] == [9, 9]
    assert [name for _, name in daily(3)] == ["Cached", "Cached"]
    assert store.exists("daily/ascore")


def test_submitted_calls_with_one_key_compute_once(block: FlowblobStorage) -> None:
    @flow(name="daily", result_storage=block)
    def daily():
        futures = [score.submit(3) for _ in range(6)]
        return sorted(future.state.name for future in futures if future.wait() is None)

    names = daily()
    assert computed() == ["3"]
    assert names == ["Cached"] * 5 + ["Completed"]


def test_the_block_is_named_by_its_slug(block: FlowblobStorage) -> None:
    slug = f"flowblob-storage/{block._block_document_name}"

    @flow(name="daily", result_storage=slug)
    def daily(x: int):
        return score(x, return_state=True).name

    @task(cache_policy=FLOWBLOB, result_storage=slug, name="score")
    def other(x: int):
        compute(x)

    assert [daily(3), daily(3)] == ["Completed", "Cached"]
    assert [other(1, return_state=True).name for _ in range(2)] == ["Completed", "Cached"]


def test_a_task_inside_a_transaction_is_stored_at_its_commit(
    block: FlowblobStorage, store: Store
) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        with transaction():
            state = score(x, return_state=True)
            return state.name, store.exists("daily/score")

    assert [daily(3), daily(3)] == [("Completed", False), ("Cached", True)]
    assert store.producer("daily/score").task == "score"
    assert computed() == ["3"]


def test_a_transaction_that_fails_stores_nothing(block: FlowblobStorage, store: Store) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        with transaction():
            score(x)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        daily(3)
    assert not store.exists("daily/score")
    assert not store.catalog.facts().get("reservations_held", 0)


def test_two_equal_calls_inside_one_transaction_do_not_wait_for_each_other(
    block: FlowblobStorage, store: Store
) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        with transaction():
            score(x)
            score(x)

    daily(3)
    assert len(store.versions("daily/score")) == 1


def test_a_flow_result_is_a_version_of_the_flow(
    block: FlowblobStorage, store: Store, script: Callable[..., str]
) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        return score(x)

    state = daily(3, return_state=True)
    pd.testing.assert_frame_equal(store.get("daily"), EXPECTED)
    told = read_in_another_process(script, "flow", state.state_details.flow_run_id)
    assert told == f"DataFrame {EXPECTED}"


def test_a_task_result_is_read_by_another_process(
    block: FlowblobStorage, script: Callable[..., str]
) -> None:
    @flow(name="daily", result_storage=block)
    def daily(x: int):
        return score(x, return_state=True).state_details.task_run_id

    for task_run_id in (daily(3), daily(3)):  # computed, then served
        assert read_in_another_process(script, "task", task_run_id) == f"DataFrame {EXPECTED}"


def test_a_failure_is_read_by_another_process_and_never_served(
    block: FlowblobStorage, store: Store, script: Callable[..., str]
) -> None:
    @task(cache_policy=FLOWBLOB)
    def broken(x: int):
        compute(x)
        raise ValueError("broken on purpose")

    @flow(name="daily", result_storage=block)
    def daily(x: int):
        state = broken(x, return_state=True)
        return state.state_details.task_run_id, state.name

    (task_run_id, first), (_, second) = daily(3), daily(3)
    assert (first, second) == ("Failed", "Failed")
    assert computed() == ["3", "3"]
    assert read_in_another_process(script, "task", task_run_id) == "ValueError broken on purpose"
    assert store.head("daily/broken/failure").kind == "exception"
    assert not store.exists("daily/broken")


def test_background_arguments_and_results_go_through_the_block(
    block: FlowblobStorage, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_TASKS_SCHEDULING_DEFAULT_STORAGE_BLOCK, temporary_settings
    from prefect.task_worker import TaskWorker

    slug = f"flowblob-storage/{block._block_document_name}"
    background = score.with_options(result_storage=slug, name="score")

    async def run() -> object:
        worker = TaskWorker(background)
        future = background.delay(np.int64(3))
        async with worker, get_client() as client:
            await worker.execute_task_run(await client.read_task_run(future.task_run_id))
        state = await asyncio.to_thread(final_state, "task", future.task_run_id)
        return await state.aresult()

    with temporary_settings({PREFECT_TASKS_SCHEDULING_DEFAULT_STORAGE_BLOCK: slug}):
        served = asyncio.run(run())
    pd.testing.assert_frame_equal(served, pd.DataFrame({"x": [3, 6]}))
    assert [blob.kind for blob in store.ls("prefect/parameters/")] == ["parameters"]


def test_a_storage_key_of_the_user_is_any_text(block: FlowblobStorage, store: Store) -> None:
    @task(result_storage_key="out/{parameters[x]}/../ü.pickle")
    def keyed(x: int):
        compute(x)
        return {"x": x}

    @flow(name="daily", result_storage=block)
    def daily(x: int):
        state = keyed(x, return_state=True)
        return state.name, state.result()

    assert [daily(3), daily(3)] == [("Completed", {"x": 3}), ("Cached", {"x": 3})]
    assert store.get("daily/keyed") == {"x": 3}


def test_bytes_that_no_run_writes_come_back_as_they_were(block: FlowblobStorage) -> None:
    for path in ("a/b.bin", "../x", "a" * 3000, "é@1", "\x00", "quoted:%00", "a//b", "lone \ud800"):
        content = path.encode(errors="surrogatepass") + b"\x00\xff"
        block.write_path(path, content)
        assert block.read_path(path) == content
    assert not block.exists("a")


PROCESS_POOL = """
import sys
import pandas as pd
from prefect import flow, task
from prefect.task_runners import ProcessPoolTaskRunner
from flowblob_prefect import FLOWBLOB
from tally import compute

@task(cache_policy=FLOWBLOB)
def score(x):
    compute(x)
    return pd.DataFrame({"x": [x, x * 2]})

@flow(name="daily", result_storage=sys.argv[1], task_runner=ProcessPoolTaskRunner(max_workers=2))
def daily():
    futures = [score.submit(3), score.submit(4), score.submit(3)]
    for future in futures:
        future.wait()
        block_id = future.state.data.metadata.storage_block_id
        print(future.state.name, future.result()["x"].sum(), block_id)

if __name__ == "__main__":
    daily()
"""


@everywhere
@pytest.mark.slow
def test_process_pools_share_the_cache_and_keep_the_block(
    block: FlowblobStorage, store: Store, script: Callable[..., str]
) -> None:
    slug = f"flowblob-storage/{block._block_document_name}"
    lines = [line.split() for line in script(PROCESS_POOL, slug).splitlines()]
    assert [(line[1], line[2]) for line in lines] == [
        ("9", str(block._block_document_id)),
        ("12", str(block._block_document_id)),
        ("9", str(block._block_document_id)),
    ]
    assert sorted(computed()) == ["3", "4"]
    assert store.producer("daily/score").flow == "daily"


WAITER = """
import sys
from pathlib import Path
from prefect import flow, task
from flowblob_prefect import FLOWBLOB
from tally import compute

@task(cache_policy=FLOWBLOB)
def slow(x):
    compute(x)
    for line in sys.stdin:  # until the test says go on
        break
    return x

@flow(name="daily", result_storage=sys.argv[1])
def daily():
    print(slow(3, return_state=True).name, flush=True)

daily()
"""


@pytest.mark.slow
def test_two_processes_compute_once(
    block: FlowblobStorage, child_environment: dict[str, str], tmp_path: Path, tally_file: Path
) -> None:
    slug = f"flowblob-storage/{block._block_document_name}"
    (tmp_path / "waiter.py").write_text(WAITER)
    processes = []
    for _ in range(2):
        processes.append(
            subprocess.Popen(
                [sys.executable, str(tmp_path / "waiter.py"), slug],
                env={**os.environ, **child_environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        while not tally_file.exists():  # the first one computes before the second begins
            assert processes[0].poll() is None
    told = []
    for process in processes:
        out, _ = process.communicate("go on\n")
        told.append(out.strip())
    assert told == ["Completed", "Cached"]
    assert computed() == ["3"]
