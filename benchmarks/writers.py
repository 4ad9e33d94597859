"""Eight processes write to one store at once: throughput, tails, and whether any starves."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
from measuring import percentile, scratch, show

import flowblob
from flowblob import Store  # noqa: F401 - loaded before the processes are made

PROCESSES, SECONDS, ROUNDS = 8, 3.0, 2
P99_WITHIN = 0.15
_context = multiprocessing.get_context("fork")
Write = Callable[[int], Any]


def by_flowblob(folder: Path, who: int) -> Write:
    store = flowblob.Store(folder / "flowblob")
    return lambda n: store.put(f"writer/{who}", {"writer": who, "number": n})


def by_diskcache(folder: Path, who: int) -> Write:
    # As durable as ours; its default is synchronous=NORMAL, which may lose what it acknowledged.
    cache = diskcache.Cache(folder / "diskcache", sqlite_synchronous=2, timeout=120)
    return lambda n: cache.set((who, n), {"writer": who, "number": n})


def by_sqlite(folder: Path, who: int) -> Write:
    """Insert one row with SQLite's own busy handler: the floor under any catalog."""
    connection = sqlite3.connect(folder / "plain.db", timeout=120, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (who INTEGER, n INTEGER, text TEXT)")
    text = "x" * 100
    return lambda n: connection.execute("INSERT INTO t VALUES (?, ?, ?)", (who, n, text))


KINDS = {"flowblob": by_flowblob, "diskcache, synced": by_diskcache, "sqlite3 insert": by_sqlite}


def writer(
    make: Callable[[Path, int], Write], folder: Path, who: int, start: Any, told: Any
) -> None:
    write = make(folder, who)
    write(0)
    start.wait()
    times = []
    end = time.perf_counter() + SECONDS
    number = 0
    while (began := time.perf_counter()) < end:
        number += 1
        write(number)
        times.append(time.perf_counter() - began)
    told.put(times)


def run(kind: str, folder: Path) -> list[list[float]]:
    """Return the times of the writes of each process."""
    KINDS[kind](folder, -1)(0)
    start, told = _context.Barrier(PROCESSES), _context.SimpleQueue()
    workers = [
        _context.Process(target=writer, args=(KINDS[kind], folder, who, start, told))
        for who in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    times = [told.get() for _ in workers]
    for worker in workers:
        worker.join()
    return times


def main() -> None:
    print(f"\n{PROCESSES} processes put small values for {SECONDS:.0f} s, each under its own key")
    found: dict[str, list[list[list[float]]]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind in KINDS:
            with scratch() as folder:
                found[kind].append(run(kind, folder))
    ours = best_rate(found["flowblob"])
    for kind, rounds in found.items():
        times = max(rounds, key=lambda r: sum(map(len, r)))
        every = [seconds for process in times for seconds in process]
        p99 = max(percentile(process, 0.99) for process in times if process)
        counts = [len(process) for process in times]
        print(
            f"  {kind:<20} {sum(counts) / SECONDS:7.0f}/s   p50 {show(percentile(every, 0.5)):>8}"
            f"   p99 of the worst process {show(p99):>8}   worst {show(max(every)):>8}   fairness "
            f"{min(counts)}/{max(counts)} = {min(counts) / max(counts):.2f}   RATIO of time per "
            f"write {best_rate(rounds) / ours:6.3f}"
        )
    judge(found["flowblob"])


def best_rate(rounds: list[list[list[float]]]) -> float:
    return max(sum(map(len, times)) for times in rounds) / SECONDS


def judge(rounds: list[list[list[float]]]) -> None:
    p99 = min(max(percentile(process, 0.99) for process in times) for times in rounds)
    share = max(min(map(len, times)) / max(map(len, times)) for times in rounds)
    print(f"  goal: p99 below {show(P99_WITHIN)}: {'met' if p99 < P99_WITHIN else 'MISSED'}")
    print(
        f"  goal: nobody starves (the least does a third): {'met' if share > 1 / 3 else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
