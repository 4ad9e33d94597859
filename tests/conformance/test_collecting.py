"""Collections beside puts, deletions and each other, without grace: nothing that lives is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from engines import ENGINES, STORAGES, Engine, fresh_store

from flowblob import Store

PUTTERS, COLLECTORS = 4, 2
#: An engine that answers across the network gets through less.
STEPS = {"sqlite": 120, "postgres": 80, "mongo": 30}

# Few contents, so that puts share payloads that others give up at the same moment.
WORK = """
    import json, os, pathlib, random, sys
    from flowblob import Store
    from flowblob.errors import NotFoundError

    number, url, folder, putters, steps = (
        int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]), *map(int, sys.argv[4:])
    )
    store = Store(url)
    print("ready", flush=True)
    sys.stdin.readline()

    def content(choice):
        return bytes([choice]) * (100 if choice % 2 else 50_000)

    def put_and_delete():
        draw = random.Random(number)
        mine, gone = {}, []
        for _ in range(steps):
            choice = draw.randrange(6)
            blob = store.put(f"k{draw.randrange(3)}-{number}", content(choice), new_version=True)
            mine[blob.id] = choice
            assert store.get(blob) == content(choice)
            # Few live, too, or soon each content has a version for good and nothing is collected.
            if len(mine) > 2 or (len(mine) > 1 and draw.random() < 0.6):
                dropped = draw.choice(list(mine))
                gone.append((dropped, mine.pop(dropped)))
                store.delete(f"id:{dropped}")
            if gone and draw.random() < 0.3:
                dropped, choice = gone.pop()
                try:
                    store.undelete(f"id:{dropped}")
                except NotFoundError:
                    continue  # collected
                mine[dropped] = choice
        return mine

    def collect():
        freed = 0
        while len(list(folder.iterdir())) < putters:
            freed += store.gc(grace=0, dry_run=False, force=True).payloads
        return freed

    try:
        print(json.dumps(put_and_delete() if number < putters else collect()))
    finally:
        (folder / str(number)).touch()
"""


def race(*arguments: object) -> list[str]:
    """Run all of them at once; return what each printed."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WORK), str(number), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PUTTERS + COLLECTORS)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        printed = []
        for process in running:
            out, err = process.communicate()
            assert process.returncode == 0, err
            printed.append(out)
        return printed
    finally:
        for process in running:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    "engine", [engine.param() for name, engine in ENGINES.items() if name != "memory"]
)
def test_collectors_without_grace_take_nothing_that_lives(engine: Engine, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    with fresh_store((engine, STORAGES["local"])) as url, Store(url) as store:
        printed = [json.loads(out) for out in race(url, marks, PUTTERS, STEPS[engine.name])]
        assert sum(printed[PUTTERS:]) > 0  # else this test shows nothing
        for mine in printed[:PUTTERS]:
            assert mine
            for blob_id, choice in mine.items():
                expected = bytes([choice]) * (100 if choice % 2 else 50_000)
                assert store.get(f"id:{blob_id}") == expected
        assert store.verify().is_clean
        store.gc(grace=0, dry_run=False, force=True)
        used = {p.name for p in store.catalog.generations() if not p.is_inline}
        assert {name for name, _, _ in store.storage.names()} == used
