"""The decorator where many call at once: threads, tasks, processes, killed holders."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store, cached
from flowblob.computation import Computation
from flowblob.model import CacheKey
from flowblob.results import CacheOptions

Calls = list[Any]


def test_async_functions_are_cached(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    async def slow(x: int, calls: Calls) -> int:
        calls.append(x)
        await asyncio.sleep(0)
        return x + 1

    async def main() -> list[int]:
        return [await slow(1, calls), await slow(1, calls), await slow.refresh(1, calls)]

    calls: Calls = []
    assert asyncio.run(main()) == [2, 2, 2]
    assert calls == [1, 1]
    assert asyncio.iscoroutinefunction(slow)


def test_calls_of_one_loop_compute_once(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    async def slow(calls: Calls) -> int:
        calls.append(1)
        await asyncio.sleep(0.05)
        return 7

    async def main() -> list[int]:
        return await asyncio.gather(*(slow(calls) for _ in range(6)))

    calls: Calls = []
    assert asyncio.run(main()) == [7] * 6
    assert len(calls) == 1


def test_more_calls_than_the_loop_has_threads_end(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    async def inner(x: int, calls: Calls) -> int:
        calls.append(x)
        await asyncio.sleep(0.05)
        return x

    @cached(store=store, ignore=["calls"])
    async def outer(x: int, calls: Calls) -> int:
        return await inner(x % 2, calls)

    async def main() -> list[int]:
        every = asyncio.gather(*(outer(at % 4, calls) for at in range(80)))
        return await asyncio.wait_for(every, 60)

    calls: Calls = []
    assert asyncio.run(main()) == [0, 1, 0, 1] * 20
    assert sorted(calls) == [0, 1]


def test_nobody_waits_for_himself(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    @cached(store=store, ignore=["calls"])
    def twice(x: int, calls: Calls) -> int:
        calls.append(x)
        return x + 1

    @cached(store=store, ignore=["calls"])
    def again(x: int, calls: Calls) -> int:
        calls.append(x)
        return again(x, calls) if len(calls) < 3 else x + 1

    for function, computed in ((twice, 1), (again, 3)):
        calls: Calls = []
        job = threading.Thread(target=lambda f=function, c=calls: f(1, c), daemon=True)
        job.start()
        job.join(300)
        assert not job.is_alive()
        assert (function(1, calls), len(calls)) == (2, computed)


def test_a_cancelled_call_gives_its_reservation_back(
    is_reserved: Callable[[], bool], store: Store
) -> None:
    @cached(store=store, ignore=["waits"])
    async def slow(waits: bool) -> int:
        if waits:
            await asyncio.Event().wait()
        return 7

    async def main() -> int:
        task = asyncio.create_task(slow(True))
        while not is_reserved():
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(slow(False), 5)  # shorter than the lease

    assert asyncio.run(main()) == 7


def test_threads_that_make_one_call_compute_once(store: Store) -> None:
    barrier = threading.Barrier(6)

    @cached(store=store, ignore=["calls"])
    def slow(calls: Calls) -> int:
        calls.append(1)
        return 7

    def work(_: int) -> int:
        barrier.wait()
        return slow(calls)

    calls: Calls = []
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == [7] * 6
    assert len(calls) == 1


def test_without_single_flight_nobody_waits(store: Store) -> None:
    barrier = threading.Barrier(2, timeout=300)

    @cached(store=store, single_flight=False, ignore=["meet"])
    def slow(meet: Callable[[], int]) -> int:
        meet()
        return 7

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(slow, [barrier.wait] * 2)) == [7, 7]


# ------------------------------------------------------------------ processes

SCRIPT = """
import os, sys
from pathlib import Path
from flowblob import Store, cached

@cached(store=lambda: Store(sys.argv[1]), ignore=["folder"], name="slow")
def slow(x, folder):
    Path(folder, f"computed-{os.getpid()}").touch()
    return [x, os.getpid()]
"""


def test_eight_processes_compute_once_and_get_one_value(
    folder: Path, tmp_path: Path, together: Callable[..., list[str]]
) -> None:
    Store(folder).close()
    (tmp_path / "shared_script.py").write_text(SCRIPT.replace("sys.argv[1]", repr(str(folder))))
    code = f"""
        sys.path.insert(0, {str(tmp_path)!r})
        from shared_script import slow
        start()
        print(slow(5, {str(tmp_path)!r}))
    """
    printed = together(code)
    assert len(set(printed)) == 1
    assert len(list(tmp_path.glob("computed-*"))) == 1


def test_a_killed_holder_is_taken_over(
    is_reserved: Callable[[], bool], folder: Path, python: Callable[..., Any], tmp_path: Path
) -> None:
    code = """
        import os, signal, sys
        from datetime import timedelta
        from flowblob import Store
        from flowblob.computation import Computation
        from flowblob.results import CacheOptions
        from flowblob.model import CacheKey
        store = Store(sys.argv[1])
        options = CacheOptions(lease=timedelta(seconds=1))
        key = CacheKey("fb1:" + "0" * 64, "f", ())
        held = Computation(store, key, output_key="k", options=options)
        assert held.prepare() is None
        os.kill(os.getpid(), signal.SIGKILL)
    """
    python(code, folder, returncode=-9)
    with Store(folder) as store:
        key = CacheKey("fb1:" + "0" * 64, "f", ())
        assert is_reserved()
        taken = Computation(store, key, output_key="k", options=CacheOptions())
        assert taken.run(lambda: 7) == 7
        assert store.get("k") == 7


def test_a_slow_holder_that_lost_its_lease_takes_the_winners_value(store: Store) -> None:
    key = CacheKey("fb1:" + "1" * 64, "f", ())
    slow = Computation(store, key, output_key="k", options=CacheOptions())
    assert slow.prepare() is None
    store.catalog.release(slow.reservation)  # type: ignore[arg-type]
    other = Computation(store, key, output_key="k", options=CacheOptions())
    assert other.run(lambda: "winner") == "winner"
    assert slow.finish("loser", 0.0, []) == "winner"
    assert [store.get(blob) for blob in store.versions("k")] == ["winner"]
