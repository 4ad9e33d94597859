"""A store on PostgreSQL: put and get of 1 KB inline, and eight writers, beside plain psycopg."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from measuring import Side, compare, percentile, scratch, show

import flowblob

SIZE = 1000
PROCESSES, SECONDS, ROUNDS = 8, 3.0, 2
P99_WITHIN = 0.15
VARIABLE = "FLOWBLOB_TEST_POSTGRES_URL"
_context = multiprocessing.get_context("spawn")

#: What anybody would write first: a name, its versions, their bytes.
TABLES = """
CREATE TABLE {s}.object (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT UNIQUE,
    head INT NOT NULL);
CREATE TABLE {s}.row (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, object BIGINT, n INT,
    digest TEXT, data BYTEA, UNIQUE (object, n));
"""


class Plain:
    """A put and a get by hand, without links, history, deduplication or checks."""

    def __init__(self, url: str, schema: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.schema = schema

    def insert(self, name: str, data: bytes) -> None:
        """Write one row in one statement: the floor under any durable put."""
        sql = f"INSERT INTO {self.schema}.row (object, n, digest, data) VALUES (NULL, 0, %s, %s)"
        self.connection.execute(sql, (name, data))

    def put(self, name: str, data: bytes) -> None:
        """Give a number and write the row, in a transaction of two statements."""
        with self.connection.transaction():
            [(object_id, number)] = self.connection.execute(
                f"""INSERT INTO {self.schema}.object (name, head) VALUES (%s, 0)
                ON CONFLICT (name) DO UPDATE SET head = object.head + 1 RETURNING id, head""",
                (name,),
            ).fetchall()
            self.connection.execute(
                f"""INSERT INTO {self.schema}.row (object, n, digest, data)
                VALUES (%s, %s, %s, %s)""",
                (object_id, number, name, data),
            )

    def get(self, name: str) -> bytes:
        [(data,)] = self.connection.execute(
            f"""SELECT r.data FROM {self.schema}.object o JOIN {self.schema}.row r
            ON r.object = o.id AND r.n = o.head WHERE o.name = %s""",
            (name,),
            binary=True,
        ).fetchall()
        return data


@contextmanager
def schemas(url: str) -> Iterator[tuple[str, str]]:
    """Yield the names of a schema for us and one for psycopg, dropped at the end."""
    name = f"flowblob_bench_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}_plain")
        connection.execute(TABLES.format(s=f"{name}_plain"))
        try:
            yield name, f"{name}_plain"
        finally:
            for each in (name, f"{name}_plain"):
                connection.execute(f"DROP SCHEMA IF EXISTS {each} CASCADE")


def one_process(url: str, ours: str, theirs: str, folder: Path) -> None:
    base = f"{url}?schema={ours}&storage={folder}/payloads"
    store, quick = flowblob.Store(base), flowblob.Store(f"{base}&prepare=2")
    plain = Plain(url, theirs)
    numbers = itertools.count()

    def fresh() -> bytes:
        return next(numbers).to_bytes(8, "big") * (SIZE // 8)

    compare(
        "put of 1 KB",
        Side("flowblob", lambda: store.put("a", fresh()), number=50),
        Side("psycopg, two statements", lambda: plain.put("a", fresh()), number=50),
        Side("psycopg, one bare insert", lambda: plain.insert("a", fresh()), number=50),
    )
    compare(
        "get of 1 KB",
        Side("flowblob, ?prepare=2", lambda: quick.get("a"), number=100),
        Side("flowblob, nothing prepared", lambda: store.get("a"), number=100),
        Side("psycopg, one join", lambda: plain.get("a"), number=100),
    )
    for each in (store, quick):
        each.close()
    plain.connection.close()


def by_flowblob(url: str, ours: str, theirs: str, folder: str, who: int) -> Callable[[bytes], Any]:
    del theirs
    store = flowblob.Store(f"{url}?schema={ours}&storage={folder}/payloads")
    return lambda data: store.put(f"writer/{who}", data)


def by_psycopg(url: str, ours: str, theirs: str, folder: str, who: int) -> Callable[[bytes], Any]:
    del ours, folder
    plain = Plain(url, theirs)
    return lambda data: plain.put(f"writer/{who}", data)


KINDS = {"flowblob": by_flowblob, "psycopg, two statements": by_psycopg}


def writer(kind: str, where: tuple[str, ...], who: int, start: Any, told: Any) -> None:
    write = KINDS[kind](*where, who)
    write(b"first")
    start.wait()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < end:
        write(f"{who} {len(times)}".encode().ljust(SIZE))
        times.append(time.perf_counter() - began)
    told.put(times)


def eight(kind: str, where: tuple[str, ...]) -> list[list[float]]:
    start, told = _context.Barrier(PROCESSES), _context.SimpleQueue()
    workers = [
        _context.Process(target=writer, args=(kind, where, who, start, told))
        for who in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    times = [told.get() for _ in workers]
    for worker in workers:
        worker.join()
    return times


def eight_writers(where: tuple[str, ...]) -> None:
    print(f"\n{PROCESSES} processes put 1 KB for {SECONDS:.0f} s, each under its own key")
    best: dict[str, float] = {}
    for kind in KINDS:
        rounds = [eight(kind, where) for _ in range(ROUNDS)]
        times = max(rounds, key=lambda r: sum(map(len, r)))
        every = [seconds for process in times for seconds in process]
        counts = [len(process) for process in times]
        best[kind] = sum(counts) / SECONDS
        p99 = max(percentile(process, 0.99) for process in times)
        print(
            f"  {kind:<26} {best[kind]:7.0f}/s   p50 {show(percentile(every, 0.5)):>8}   p99 of "
            f"the worst process {show(p99):>8}   worst {show(max(every)):>8}   fairness "
            f"{min(counts)}/{max(counts)} = {min(counts) / max(counts):.2f}   RATIO of time per "
            f"write {best[kind] / best['flowblob']:6.3f}"
        )
        if kind == "flowblob":
            print(
                f"  goal: p99 below {show(P99_WITHIN)}: {'met' if p99 < P99_WITHIN else 'MISSED'}"
            )
    sys.stdout.flush()


def main() -> None:
    url = os.environ.get(VARIABLE)
    if not url:
        print(f'{VARIABLE} is not set; eval "$(tests/servers/servers.py up postgres)"')
        return
    with scratch() as folder, schemas(url) as (ours, theirs):
        one_process(url, ours, theirs, folder)
        eight_writers((url, ours, theirs, str(folder)))


if __name__ == "__main__":
    main()
