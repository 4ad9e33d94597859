"""The lock manager on the catalog, by the scenarios of Prefect's own managers."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import everywhere
from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.filesystems import LocalFileSystem
from prefect.locking.protocol import LockManager
from prefect.results import ResultStore
from prefect.transactions import IsolationLevel, transaction
from tally import compute, computed

from flowblob_prefect import FLOWBLOB, FlowblobLockManager, FlowblobStorage


@pytest.fixture
def manager(url: str) -> FlowblobLockManager:
    return FlowblobLockManager(url)


@pytest.fixture
def results(manager: FlowblobLockManager, block: FlowblobStorage) -> ResultStore:
    return ResultStore(result_storage=block, lock_manager=manager)


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


def test_it_is_a_lock_manager(manager: FlowblobLockManager) -> None:
    assert isinstance(manager, LockManager)
    assert manager == copy.deepcopy(manager) == pickle.loads(pickle.dumps(manager))
    assert manager != FlowblobLockManager()
    first, second = (
        policy.configure(isolation_level="SERIALIZABLE", lock_manager=manager).configure()
        for policy in (INPUTS, INPUTS)
    )
    assert (first + second).lock_manager == manager


def test_the_same_holder_may_ask_again(manager: FlowblobLockManager, key: str) -> None:
    assert manager.acquire_lock(key, "one")
    assert manager.acquire_lock(key, "one")
    assert manager.is_locked(key)
    assert manager.is_lock_holder(key, "one")
    assert not manager.is_lock_holder(key, "two")
    manager.release_lock(key, "one")
    assert not manager.is_locked(key)


def test_another_holder_waits_no_longer_than_it_says(
    manager: FlowblobLockManager, key: str
) -> None:
    assert manager.acquire_lock(key, "one")
    assert not manager.acquire_lock(key, "two", acquire_timeout=0)
    assert not manager.acquire_lock(key, "two", acquire_timeout=0.05)
    assert not manager.wait_for_lock(key, timeout=0.05)
    manager.release_lock(key, "one")
    assert manager.wait_for_lock(key)
    assert manager.acquire_lock(key, "two", acquire_timeout=0)


@everywhere
def test_a_lock_ends_with_its_hold_timeout(manager: FlowblobLockManager, key: str) -> None:
    began = time.monotonic()
    assert manager.acquire_lock(key, "one", hold_timeout=0.2)
    assert manager.acquire_lock(key, "two")  # waits for the end
    assert time.monotonic() - began >= 0.2
    assert not manager.is_lock_holder(key, "one")
    assert manager.is_lock_holder(key, "two")
    manager.release_lock(key, "two")


def test_only_its_holder_can_release_a_lock(manager: FlowblobLockManager, key: str) -> None:
    assert manager.acquire_lock(key, "one")
    with pytest.raises(ValueError, match=f"No lock held by two for transaction with key {key}"):
        manager.release_lock(key, "two")
    manager.release_lock(key, "one")
    manager.release_lock(key, "one")  # after a rollback, a retry releases again
    assert manager.acquire_lock(key, "two")
    with pytest.raises(ValueError, match="No lock held by one"):
        manager.release_lock(key, "one")


def test_a_copy_sees_the_locks_of_the_original(manager: FlowblobLockManager, key: str) -> None:
    other = pickle.loads(pickle.dumps(manager))
    assert manager.acquire_lock(key, "one")
    assert other.is_locked(key)
    assert other.is_lock_holder(key, "one")
    other.release_lock(key, "one")
    assert not manager.is_locked(key)


@pytest.mark.parametrize(
    "odd", ["report.v1", "a/b/../c", "x" * 5000, "", "é", "\x00", "lone \ud800", "fb1:" + "0" * 64]
)
def test_any_text_is_a_key(manager: FlowblobLockManager, odd: str) -> None:
    assert manager.acquire_lock(odd, "one")
    assert not manager.acquire_lock(odd, "two", acquire_timeout=0)
    assert not manager.is_locked(odd + "2")
    manager.release_lock(odd, "one")


@everywhere
def test_the_async_forms_leave_the_loop_free(manager: FlowblobLockManager, key: str) -> None:
    async def run() -> tuple[bool, bool]:
        assert await manager.aacquire_lock(key, "one")
        waiting = asyncio.create_task(manager.aacquire_lock(key, "two"))
        free = asyncio.create_task(manager.await_for_lock(key, timeout=0.05))
        is_free = await free
        manager.release_lock(key, "one")
        return is_free, await waiting

    assert asyncio.run(run()) == (False, True)
    manager.release_lock(key, "two")


def test_more_waiters_than_the_loop_has_threads_leave_one_to_the_holder(
    manager: FlowblobLockManager, key: str
) -> None:
    async def work(holder: str) -> None:
        assert await manager.aacquire_lock(key, holder)
        await asyncio.to_thread(order.append, holder)
        manager.release_lock(key, holder)

    async def run() -> None:
        every = asyncio.gather(*(work(f"{at}") for at in range(40)))
        await asyncio.wait_for(every, 60)

    order: list[str] = []
    asyncio.run(run())
    assert sorted(order, key=int) == [f"{at}" for at in range(40)]


def test_a_cancelled_waiter_leaves_no_lock(manager: FlowblobLockManager, key: str) -> None:
    async def run() -> None:
        assert await manager.aacquire_lock(key, "one")
        waiting = asyncio.create_task(manager.aacquire_lock(key, "two"))
        await manager.await_for_lock(key, timeout=0.02)  # the waiter waits in its thread
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        manager.release_lock(key, "one")

    asyncio.run(run())  # joins the thread
    assert not manager.is_locked(key)


def test_a_reader_waits_for_the_writer(results: ResultStore, key: str) -> None:
    found: queue.Queue[object] = queue.Queue()
    assert results.acquire_lock(key, holder="writer")
    reader = threading.Thread(target=lambda: found.put(results.read(key).result))
    reader.start()
    results.write(key=key, obj={"test": "value"}, holder="writer")
    results.release_lock(key, holder="writer")
    assert found.get(timeout=300) == {"test": "value"}
    reader.join()


def test_nobody_writes_under_the_lock_of_another(results: ResultStore, key: str) -> None:
    assert results.acquire_lock(key, holder="one")
    with pytest.raises(RuntimeError, match="locked by another holder"):
        results.write(key=key, obj=1, holder="two")
    results.write(key=key, obj=2, holder="one")
    assert results.read(key, holder="one").result == 2


def test_transactions_are_serialised(results: ResultStore, key: str) -> None:
    order = []

    def run(name: str) -> None:
        with transaction(
            key=key, store=results, isolation_level=IsolationLevel.SERIALIZABLE
        ) as txn:
            order.append((name, txn.is_committed()))
            if not txn.is_committed():
                txn.stage(name)

    threads = [threading.Thread(target=run, args=(str(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done for _, done in order] == [False, True, True, True]


HOLDER = """
import sys, time
from flowblob_prefect import FlowblobLockManager
manager = FlowblobLockManager(sys.argv[1])
options = {"hold_timeout": float(sys.argv[3])} if len(sys.argv) > 3 else {}
assert manager.acquire_lock(sys.argv[2], "other", **options)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(url: str, key: str, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a process that takes the lock and keeps it until it is killed."""
    (tmp_path / "holder.py").write_text(HOLDER)
    started = []

    def start(*options: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [sys.executable, str(tmp_path / "holder.py"), url, key, *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(made)
        assert made.stdout.readline() == "held\n"
        return made

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@everywhere
def test_other_processes_are_kept_out(
    manager: FlowblobLockManager, key: str, holder: Callable[..., subprocess.Popen[str]]
) -> None:
    holder()
    assert manager.is_locked(key)
    assert not manager.acquire_lock(key, "mine", acquire_timeout=0.1)
    with pytest.raises(ValueError, match="No lock held by mine"):
        manager.release_lock(key, "mine")


def test_a_killed_holder_blocks_nobody_for_ever(
    manager: FlowblobLockManager,
    key: str,
    holder: Callable[..., subprocess.Popen[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = holder("3")
    os.kill(process.pid, signal.SIGKILL)
    assert manager.acquire_lock(key, "mine", acquire_timeout=300)
    manager.release_lock(key, "mine")


@everywhere
def test_a_forked_child_holds_no_lock(manager: FlowblobLockManager, key: str) -> None:
    assert manager.acquire_lock(key, "one")
    child = os.fork()
    if child == 0:
        os._exit(manager.is_lock_holder(key, "one"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert manager.is_lock_holder(key, "one")
    manager.release_lock(key, "one")


def test_tasks_with_one_key_compute_once(block: FlowblobStorage, url: str) -> None:
    policy = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=FlowblobLockManager(url))

    @task(cache_policy=policy)
    def slow(x: int) -> int:
        compute(x)
        return x

    @flow(result_storage=block)
    def daily():
        futures = [slow.submit(1) for _ in range(5)]
        return sorted(future.state.name for future in futures if future.wait() is None)

    assert daily() == ["Cached"] * 4 + ["Completed"]
    assert computed() == ["1"]


def test_a_lock_that_is_not_required_lets_through(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").write_text("")
    manager = FlowblobLockManager(str(tmp_path / "file"), required=False)
    assert manager.acquire_lock(key, "one")
    assert manager.is_lock_holder(key, "one")
    manager.release_lock(key, "one")
    with pytest.raises(Exception, match="is a file"):
        FlowblobLockManager(str(tmp_path / "file")).acquire_lock(key, "one")


def test_a_policy_on_a_foreign_storage_waits_for_nobody_in_a_transaction(tmp_path: Path) -> None:
    storage = LocalFileSystem(basepath=str(tmp_path / "plain"))
    storage.save(f"plain-{uuid.uuid4().hex[:12]}")

    @task(cache_policy=FLOWBLOB, result_storage=storage)
    def score(x: int) -> int:
        compute(x)
        return x

    @flow
    def daily():
        with transaction():
            return score(1), score(1)

    assert daily() == (1, 1)
    assert computed() == ["1", "1"]
