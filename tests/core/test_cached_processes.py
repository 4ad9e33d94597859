"""Single flight between real processes: crowds; holders that are killed, paused, misclocked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store, cached
from flowblob.computation import Computation
from flowblob.errors import ReservationHeldError
from flowblob.model import CacheKey
from flowblob.results import CacheOptions

KEY = CacheKey("fb1:" + "2" * 64, "f", ())

#: Forks, since 64 interpreters of their own would be the test's time. Prints how many computed it,
#: how many values were returned, and by how many processes.
CROWD = """
    import multiprocessing, os, sys, time
    from datetime import timedelta
    from pathlib import Path
    from flowblob import Store
    from flowblob.computation import Computation
    from flowblob.results import CacheOptions
    from flowblob.model import CacheKey

    folder, marks, count, killed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    key = CacheKey("fb1:" + "3" * 64, "f", ())
    options = CacheOptions(lease=timedelta(seconds=5 if killed else 30))
    context = multiprocessing.get_context("fork")
    barrier, told = context.Barrier(count), context.SimpleQueue()

    def compute():
        (marks / f"computed-{os.getpid()}").touch()
        if killed and not (marks / "killed").exists():
            (marks / "killed").touch()
            os.kill(os.getpid(), 9)
        time.sleep(0.2)
        return os.getpid()

    def work():
        store = Store(folder)
        barrier.wait()
        told.put(Computation(store, key, output_key="k", options=options).run(compute))

    with Store(folder):
        pass
    workers = [context.Process(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    values = [told.get() for _ in range(count - bool(killed))]
    for worker in workers:
        worker.join()
    print(len(list(marks.glob("computed-*"))), len(set(values)), len(values))
"""


def test_sixty_four_processes_compute_once(
    folder: Path, tmp_path: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert python(CROWD, folder, tmp_path, 64).stdout.split() == ["1", "1", "64"]


def test_a_killed_holder_costs_one_more_computation(
    folder: Path, tmp_path: Path, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert python(CROWD, folder, tmp_path, 8, "killed").stdout.split() == ["2", "1", "7"]


@pytest.fixture
def start() -> Any:
    """Start code that runs beside the test; `read` returns its next line."""
    running: list[subprocess.Popen[str]] = []

    def begin(code: str, *arguments: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


PAUSED = """
    import os, signal, sys
    from datetime import timedelta
    from flowblob import Store
    from flowblob.computation import Computation
    from flowblob.results import CacheOptions
    from flowblob.model import CacheKey
    key = CacheKey("fb1:" + "2" * 64, "f", ())
    options = CacheOptions(lease=timedelta(milliseconds=500))
    held = Computation(Store(sys.argv[1]), key, output_key="k", options=options)
    assert held.prepare() is None
    os.kill(os.getpid(), signal.SIGSTOP)
    print(held.finish("loser", 0.0, []))
"""


def test_a_paused_holder_is_refused_and_returns_the_winners_value(
    folder: Path, store: Store, start: Any
) -> None:
    assert store.store_id
    holder = start(PAUSED, folder)
    _, status = os.waitpid(holder.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    winner = Computation(store, KEY, output_key="k", options=CacheOptions())
    assert winner.run(lambda: "winner") == "winner"
    holder.send_signal(signal.SIGCONT)
    out, _ = holder.communicate()
    assert out == "winner\n"
    assert [store.get(blob) for blob in store.versions("k")] == ["winner"]


MISCLOCKED = """
    import sys, time
    from datetime import timedelta
    shift = int(sys.argv[2])
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + shift
    time.time_ns = lambda: nanoseconds() + shift * 10**9
    from flowblob import checks
    right = checks.utc_now
    checks.utc_now = lambda: right() + timedelta(seconds=shift)
    from flowblob import Store, cached  # these modules take the wrong clock with them
    store = Store(sys.argv[1])

    @cached(store=store, name="double", version="1")
    def double(x):
        raise AssertionError("it is stored")

    with store.reserve("job", owner="misclocked", ttl="30s"):
        print("holds", flush=True)
        sys.stdin.readline()
    print(double(4), flush=True)
    try:
        store.reserve("mine", owner="misclocked")
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_clock_that_is_an_hour_wrong_does_no_harm(
    folder: Path, store: Store, start: Any, shift: int
) -> None:
    @cached(store=store, name="double", version="1")
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8
    wrong = start(MISCLOCKED, folder, shift)
    assert wrong.stdout.readline() == "holds\n"
    with pytest.raises(ReservationHeldError) as caught:
        store.reserve("job", owner="right")
    assert 0 < caught.value.remaining.total_seconds() <= 30
    with store.reserve("mine", owner="right"):
        out, _ = wrong.communicate("\n")
        assert out.split() == ["8", "ReservationHeldError"]
    with store.reserve("job", owner="right"):
        pass
