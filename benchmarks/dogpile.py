"""Many processes make one new call at once: how often it is computed, and how long waiters wait."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
import joblib
from measuring import scratch, show

import flowblob
from flowblob import cached  # noqa: F401 - loaded before the processes are made

SECONDS = 0.5
WAITERS_WITHIN = 0.1
_context = multiprocessing.get_context("fork")


def slow(folder: str, number: int) -> int:
    """Compute, and leave a mark for each time it was computed."""
    with open(os.path.join(folder, f"computed-{number}"), "ab") as marks:
        marks.write(b"x")
    time.sleep(SECONDS)
    return number


def by_flowblob(folder: Path) -> Callable[[str, int], Any]:
    return flowblob.cached(store=flowblob.Store(folder / "flowblob"))(slow)


def by_joblib(folder: Path) -> Callable[[str, int], Any]:
    return joblib.Memory(folder / "joblib", verbose=0).cache(slow)


def by_diskcache(folder: Path) -> Callable[[str, int], Any]:
    return diskcache.Cache(folder / "diskcache").memoize()(slow)


def by_barrier(folder: Path) -> Callable[[str, int], Any]:
    """Let diskcache lock around the memoized function, its documented way against a dog pile."""
    cache = diskcache.Cache(folder / "barrier")
    return diskcache.barrier(cache, diskcache.Lock)(cache.memoize()(slow))  # type: ignore[no-any-return]


KINDS = {
    "flowblob": by_flowblob,
    "joblib.Memory": by_joblib,
    "diskcache.memoize": by_diskcache,
    "diskcache.memoize + barrier": by_barrier,
}


def caller(make: Callable[[Path], Any], folder: Path, number: int, start: Any, told: Any) -> None:
    call = make(folder)
    call(str(folder), -1)  # opened and imported before the clock runs
    start.wait()
    value = call(str(folder), number)
    told.put((time.monotonic(), value == number))


def pile(kind: str, folder: Path, processes: int, number: int) -> tuple[int, list[float]]:
    """Return how often it was computed, and when each process returned after the start."""
    make = KINDS[kind]
    make(folder)(str(folder), -1)
    start, told = _context.Barrier(processes + 1), _context.SimpleQueue()
    workers = [
        _context.Process(target=caller, args=(make, folder, number, start, told))
        for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.monotonic()
    results = [told.get() for _ in workers]
    for worker in workers:
        worker.join()
    if not all(is_right for _, is_right in results):
        raise RuntimeError(f"{kind} returned a wrong value")
    computed = (folder / f"computed-{number}").stat().st_size
    return computed, sorted(moment - began for moment, _ in results)


def main() -> None:
    warnings.simplefilter("ignore")  # joblib's, of writing arguments slowly
    for processes, rounds in ((8, 5), (64, 3)):
        print(f"\n{processes} processes, one new call of {SECONDS} s")
        found: dict[str, list[tuple[int, list[float]]]] = {kind: [] for kind in KINDS}
        with scratch() as folder:
            for number in range(rounds):
                for kind in KINDS:
                    own = folder / kind
                    own.mkdir(exist_ok=True)
                    found[kind].append(pile(kind, own, processes, number))
        line(found, processes)


def line(found: dict[str, list[tuple[int, list[float]]]], processes: int) -> None:
    ours = statistics.median(times[-1] for _, times in found["flowblob"])
    for kind, rounds in found.items():
        computed = max(count for count, _ in rounds)
        middle = statistics.median(statistics.median(t) - t[0] for _, t in rounds)
        worst = statistics.median(times[-1] - times[0] for _, times in rounds)
        least = min(times[-1] - times[0] for _, times in rounds)
        last = statistics.median(times[-1] for _, times in rounds)
        print(
            f"  {kind:<28} computed {computed:>2} x   after the first to return: median waiter "
            f"{show(middle):>8}, last {show(worst):>8} (min {show(least):>8})   all done "
            f"{show(last):>8}   RATIO {ours / last:6.3f}"
        )
    once = max(count for count, _ in found["flowblob"]) == 1
    spread = min(times[-1] - times[0] for _, times in found["flowblob"])
    print(f"  goal: computed once: {'met' if once else 'MISSED'}")
    if processes == 8:
        is_met = spread <= WAITERS_WITHIN
        verdict = "met" if is_met else "MISSED"
        print(f"  goal: waiters return within {show(WAITERS_WITHIN)} of the winner: {verdict}")


if __name__ == "__main__":
    main()
