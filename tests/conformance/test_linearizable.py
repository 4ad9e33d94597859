"""Many processes on few keys: what they saw could have happened one operation at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from contender import KEYS, Contender
from engines import ENGINES, STORAGES, Engine, fresh_store
from linearizing import Operation, explain

from flowblob import Store

OPERATIONS = 10_000
#: An engine whose writers try again instead of queueing takes long on so few keys.
FEWER = {"mongo": 800}
PROCESSES = 8
Pair = tuple[Engine, Engine]
CONTENDER = Path(__file__).with_name("contender.py")

shared = pytest.mark.parametrize(
    "pair",
    [
        pytest.param(
            (engine, STORAGES["local"]),
            id=engine.name,
            marks=[pytest.mark.services] if engine.needs else [],
        )
        for engine in ENGINES.values()
        if engine.name != "memory"
    ],
)


@pytest.fixture
def url(pair: Pair) -> Iterator[str]:
    with fresh_store(pair) as url:
        yield url


def contend(url: str, tally: Path, total: int) -> list[list[list]]:
    """Let processes contend; return the log of each."""
    running = [
        subprocess.Popen(
            [sys.executable, str(CONTENDER), url, str(tally), str(total), str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(PROCESSES)
    ]
    try:
        for process in running:
            assert process.stdout.readline() == "ready\n"
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
        with ThreadPoolExecutor(PROCESSES) as readers:  # a full pipe would stop a process
            logs = list(readers.map(lambda process: process.communicate()[0], running))
        assert [process.returncode for process in running] == [0] * PROCESSES
        return [json.loads(log) for log in logs]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()


def assert_linearizable(store: Store, steps: list[list]) -> None:
    for key in KEYS:
        history = [Operation(*step) for step in steps if step[0] == key]
        assert explain(history) == "", key
    made = [
        tuple(step[3]) for step in steps if step[1] in ("put", "swap", "create") and is_made(step)
    ]
    assert len(set(made)) == len(made), "one number was given twice"
    for key in KEYS:
        left = store.catalog.versions(key)
        assert {(blob.incarnation, blob.version) for blob in left} <= set(made)
        assert [blob.version for blob in left] == list(range(len(left) - 1, -1, -1))
    assert store.catalog.check() == []


def is_made(step: list) -> bool:
    return not isinstance(step[3], str)


@pytest.mark.slow
@pytest.mark.timeout(900)
@shared
def test_processes_on_few_keys_are_linearizable_and_none_starves(
    url: str, pair: Pair, tmp_path: Path
) -> None:
    total = FEWER.get(pair[0].name, OPERATIONS)
    logs = contend(url, tmp_path / "tally", total)
    steps = [step for log in logs for step in log]
    assert len(steps) >= total
    with Store(url) as store:
        assert_linearizable(store, steps)
    # Counts and not times: nobody may be kept waiting while the others go on and on.
    counts = [len(log) for log in logs]
    assert min(counts) >= total / PROCESSES / 4, counts


@shared
def test_threads_of_one_store_are_linearizable(url: str) -> None:
    with Store(url) as store:

        def work(seed: int) -> list[list]:
            contender = Contender(store, seed)
            return [contender.step() for _ in range(60)]

        with ThreadPoolExecutor(PROCESSES) as threads:
            steps = [step for log in threads.map(work, range(PROCESSES)) for step in log]
        # JSON as the processes print it
        assert_linearizable(store, json.loads(json.dumps(steps)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@shared
def test_forked_children_go_on_with_the_store_of_their_parent(url: str, tmp_path: Path) -> None:
    """Connections are not shared with a child, and neither side disturbs the other."""
    with Store(url) as store:
        store.put("warm", b"up")
        children = []
        for seed in range(4):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    contender = Contender(store, seed)
                    log = [contender.step() for _ in range(40)]
                    (tmp_path / f"{seed}.json").write_text(json.dumps(log))
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        parent = Contender(store, 99)
        steps = json.loads(json.dumps([parent.step() for _ in range(40)]))
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes == [0] * 4
        for seed in range(4):
            steps += json.loads((tmp_path / f"{seed}.json").read_text())
        assert_linearizable(store, steps)


# ------------------------------------------------------------------ the checker itself


def op(verb: str, asked, answer, began: int, ended: int) -> Operation:
    return Operation("k", verb, asked, answer, began, ended)


FIRST = op("put", None, ("i", 0), 1, 2)


@pytest.mark.parametrize(
    "history",
    [
        [FIRST, op("head", None, ("i", 0), 3, 4)],
        [FIRST, op("head", None, None, 1, 9)],
        [op("put", None, ("i", 1), 1, 9), op("put", None, ("i", 0), 2, 8)],
        [FIRST, op("swap", 0, ("i", 1), 3, 9), op("swap", 0, "conflict", 3, 9)],
        [FIRST, op("delete", None, ("i", 0), 3, 4), op("put", None, ("j", 0), 5, 6)],
        [FIRST, op("promote", ("i", 0, None), "moved", 3, 9), op("alias", None, ("i", 0), 4, 5)],
    ],
)
def test_what_can_have_happened_is_believed(history: list[Operation]) -> None:
    assert explain(history) == ""


@pytest.mark.parametrize(
    "history",
    [
        [FIRST, op("head", None, None, 3, 4)],
        [FIRST, op("put", None, ("i", 0), 3, 4)],
        [FIRST, op("put", None, ("i", 2), 3, 4)],
        [op("put", None, ("i", 1), 1, 2), op("put", None, ("i", 0), 3, 4)],
        [FIRST, op("swap", 0, ("i", 1), 3, 9), op("swap", 0, ("i", 1), 3, 9)],
        [FIRST, op("swap", 0, "conflict", 3, 4)],
        [FIRST, op("create", None, ("i", 1), 3, 4)],
        [FIRST, op("delete", None, ("i", 0), 3, 4), op("head", None, ("i", 0), 5, 6)],
        [FIRST, op("delete", None, ("i", 0), 3, 4), op("put", None, ("i", 1), 5, 6)],
        [
            FIRST,
            op("promote", ("i", 0, None), "moved", 3, 4),
            op("alias", None, None, 5, 6),
        ],
        [
            FIRST,
            op("put", None, ("i", 1), 3, 4),
            op("promote", ("i", 0, None), "moved", 5, 6),
            op("promote", ("i", 1, 1), "moved", 7, 8),
        ],
        # Read by one client, and then not by the next: each fits alone, both do not.
        [
            FIRST,
            op("put", None, ("i", 1), 3, 20),
            op("head", None, ("i", 1), 4, 5),
            op("head", None, ("i", 0), 6, 7),
        ],
    ],
)
def test_what_cannot_have_happened_is_found(history: list[Operation]) -> None:
    assert explain(history).startswith("no order fits")
