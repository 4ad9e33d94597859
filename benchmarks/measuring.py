"""Paired measurements: the sides take turns in every round, so that noise meets all of them.

A line names our time and a peer's, each as median and minimum over the rounds, and their ratio:
ours divided by the peer's, so that less than 1 is faster. The ratio is the median over the rounds
of both times of one round; beside it stands the ratio of the minima, which noise cannot lower.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PREFECT = HERE.parent / ".venvs" / "prefect" / "bin" / "python"


@dataclass
class Side:
    """One of those who are compared.

    Attributes:
        name: What it is called in the line.
        run: What is measured; where it returns seconds, `timed` says so and they are taken.
        number: How often it runs in a round; the line tells the time of one.
        prepare: Runs before each round, unmeasured.
        settle: Runs after each round, unmeasured.
        timed: Whether `run` measures itself.
    """

    name: str
    run: Callable[[], Any]
    number: int = 1
    prepare: Callable[[], Any] | None = None
    settle: Callable[[], Any] | None = None
    timed: bool = False
    times: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        if self.prepare is not None:
            self.prepare()
        run = self.run
        gc.collect()
        gc.disable()
        try:
            if self.timed:
                seconds = sum(run() for _ in range(self.number))
            else:
                began = time.perf_counter()
                for _ in range(self.number):
                    run()
                seconds = time.perf_counter() - began
        finally:
            gc.enable()
        self.times.append(seconds / self.number)
        if self.settle is not None:
            self.settle()


@dataclass(frozen=True)
class Goal:
    """What our side is to reach: a time, or a ratio to one peer.

    Attributes:
        seconds: Our time at most.
        ratio: Our time as a multiple of that peer's at most.
        peer: Name of the peer.
    """

    seconds: float | None = None
    ratio: float | None = None
    peer: str = ""


def compare(
    title: str, ours: Side, *peers: Side, rounds: int = 9, goal: Goal | None = None
) -> None:
    """Measure all sides in turn and print a line for each peer."""
    sides = [ours, *peers]
    for at in range(rounds):
        # Each begins as often as the others: who comes first meets what the last round left.
        start = at % len(sides)
        for side in sides[start:] + sides[:start]:
            side.take_turn()
    report(title, ours, peers, goal)


def report(title: str, ours: Side, peers: Sequence[Side], goal: Goal | None = None) -> None:
    """Print one line for each peer, and whether the goal was met."""
    print(f"\n{title}")
    print(f"  {ours.name:<34} {_both(ours.times)}")
    for peer in peers:
        pairs = [a / b for a, b in zip(ours.times, peer.times, strict=True)]
        median, least = statistics.median(pairs), min(ours.times) / min(peer.times)
        print(
            f"  {peer.name:<34} {_both(peer.times)}   "
            f"RATIO {median:7.3f}  of minima {least:7.3f}   {_words(median)}"
        )
    if goal is not None:
        print(f"  {_judged(goal, ours, peers)}")
    sys.stdout.flush()


def _judged(goal: Goal, ours: Side, peers: Sequence[Side]) -> str:
    if goal.seconds is not None:
        reached, best = statistics.median(ours.times), min(ours.times)
        return f"goal: at most {show(goal.seconds)}: {_verdict(reached, best, goal.seconds)}"
    peer = next(peer for peer in peers if peer.name == goal.peer)
    reached = statistics.median(a / b for a, b in zip(ours.times, peer.times, strict=True))
    best = min(ours.times) / min(peer.times)
    assert goal.ratio is not None
    return f"goal: at most {goal.ratio:.2f} x {peer.name}: {_verdict(reached, best, goal.ratio)}"


def _verdict(median: float, best: float, limit: float) -> str:
    if median <= limit:
        return "met"
    return "met by the minimum only" if best <= limit else f"MISSED by {best / limit:.2f} x"


def _words(ratio: float) -> str:
    return f"{1 / ratio:.1f} x faster" if ratio < 1 else f"{ratio:.1f} x slower"


def _both(times: Sequence[float]) -> str:
    return f"{show(statistics.median(times)):>9} (min {show(min(times)):>9})"


def show(seconds: float) -> str:
    """Return a time in the unit that fits it."""
    for unit, length in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * length:
            return f"{seconds / length:.{1 if seconds < 100 * length else 0}f} {unit}"
    return f"{seconds:.2f} s"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for what is measured: `FLOWBLOB_BENCH_DIR`, or the system's temporary one."""
    made = tempfile.mkdtemp(prefix="flowblob-bench-", dir=os.environ.get("FLOWBLOB_BENCH_DIR"))
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


class Worker:
    """A process that measures on demand, so that sides of two environments can take turns.

    Args:
        command: Starts a program that calls `serve`.
    """

    def __init__(self, *command: str, env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def ask(self, *question: Any) -> Any:
        """Send one question and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"The worker ended with {self._process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(answer: Callable[..., Any]) -> None:
    """Answer the questions of a `Worker` until it closes; what is printed goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        out.write(json.dumps(answer(*json.loads(line))) + "\n")
        out.flush()
