"""Cache hits of 1 KB and of a 100 MB array: the later ones, and the first one in a process."""

from __future__ import annotations

import functools
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diskcache
import joblib
import numpy as np
from measuring import Goal, Side, compare, scratch

import flowblob
from flowblob import cached as _  # noqa: F401 - imports are measured by imports.py

KINDS = ("flowblob", "joblib", "joblib mmap", "diskcache")
TITLES = {"joblib": "joblib.Memory", "joblib mmap": "joblib.Memory mmap_mode=r"}


def small(n: int) -> bytes:
    return bytes(n)


def array(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float64)


CASES: dict[str, tuple[Callable[[int], Any], int]] = {
    "1 KB": (small, 1000),
    "100 MB array": (array, 12_500_000),
}


@functools.cache
def opened(folder: Path) -> flowblob.Store:
    """Return the one store of this process."""
    return flowblob.Store(folder)


def cached(kind: str, function: Callable[[int], Any], folder: Path) -> Callable[[int], Any]:
    """Return the function under one of the caches."""
    if kind == "flowblob":
        return flowblob.cached(store=opened(folder / kind))(function)
    if kind == "diskcache":
        return diskcache.Cache(folder / kind, size_limit=1 << 40).memoize()(function)
    mode: Any = "r" if kind == "joblib mmap" else None
    return joblib.Memory(folder / kind, verbose=0, mmap_mode=mode).cache(function)


def plain(case: str, folder: Path) -> dict[str, Callable[[], Any]]:
    """Return what reads the same value from a file, without any cache."""
    function, n = CASES[case]
    value = function(n)
    pickled, saved = folder / "value.pickle", folder / "value.npy"
    pickled.write_bytes(pickle.dumps(value, 5))

    def unpickle() -> Any:
        with pickled.open("rb") as file:
            return pickle.load(file)

    found: dict[str, Callable[[], Any]] = {"pickle.load": unpickle}
    if isinstance(value, np.ndarray):
        np.save(saved, value)
        found["np.load"] = lambda: np.load(saved)
        found["np.load mmap_mode=r"] = lambda: np.load(saved, mmap_mode="r")
    return found


def later(case: str, folder: Path) -> None:
    """Compare hits after the first; with an array also when all of it is then read."""
    function, n = CASES[case]
    calls = {kind: cached(kind, function, folder) for kind in KINDS}
    for call in calls.values():
        call(n), call(n)
    number = 50 if case == "1 KB" else 1
    sides = [Side(TITLES.get(kind, kind), partial(calls[kind], n), number) for kind in KINDS]
    sides += [Side(name, run, number) for name, run in plain(case, folder).items()]
    goal = Goal(seconds=50e-6 if case == "1 KB" else 0.5e-3)
    compare(f"hit of {case}, after the first", *sides, rounds=41, goal=goal)
    if case != "1 KB":
        summed = [Side(s.name, partial(_sum, s.run), 1) for s in sides]
        compare(f"hit of {case}, and then the sum of it", *summed)


def _sum(run: Callable[[], np.ndarray]) -> float:
    return float(run().sum())


def first(case: str, folder: Path) -> None:
    """Compare first hits, each round in a fresh process."""
    sides = [
        Side(TITLES.get(kind, kind), partial(_in_child, case, folder, kind, "fresh"), timed=True)
        for kind in [*KINDS, *plain(case, folder)]
    ]
    compare(f"hit of {case}, the first of all in a process, store opened", *sides, rounds=5)
    sides = [
        Side(TITLES.get(kind, kind), partial(_in_child, case, folder, kind, "warm"), timed=True)
        for kind in [*KINDS, *plain(case, folder)]
    ]
    goal = None if case == "1 KB" else Goal(seconds=8e-3)
    title = f"hit of {case}, its first in a process that had other hits"
    compare(title, *sides, rounds=5, goal=goal)


def _in_child(case: str, folder: Path, kind: str, mode: str) -> float:
    command = [sys.executable, __file__, case, str(folder), kind, mode]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    return float(json.loads(done.stdout))


def child(case: str, folder: Path, kind: str, mode: str) -> None:
    """Print the seconds of one hit in this process."""
    function, n = CASES[case]
    if kind not in KINDS:
        run = plain_again(kind, folder)
        began = time.perf_counter()
        run()
    else:
        if mode == "warm":
            warm = cached(kind, small, folder)
            warm(10), warm(10)
            call = cached(kind, function, folder)
        began = time.perf_counter()
        if mode == "fresh":
            call = cached(kind, function, folder)
        call(n)
    print(json.dumps(time.perf_counter() - began))


def plain_again(kind: str, folder: Path) -> Callable[[], Any]:
    if kind == "pickle.load":
        return lambda: pickle.loads((folder / "value.pickle").read_bytes())
    mode: Any = "r" if kind.endswith("r") else None
    return lambda: np.load(folder / "value.npy", mmap_mode=mode)


def main() -> None:
    for case in CASES:
        with scratch() as folder:
            later(case, folder)
            first(case, folder)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
    else:
        main()
