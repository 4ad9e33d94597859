"""A cached Prefect task that returns a 100 MB array: FLOWBLOB beside Prefect's own storage.

Runs in the environment of Prefect, against a server of its own.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from measuring import PREFECT, Goal, Side, compare, scratch

N = 12_500_000
QUIET = {
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def main() -> None:
    if Path(sys.executable) != PREFECT:
        code = subprocess.run([PREFECT, __file__], env={**os.environ, **QUIET}, check=False)
        sys.exit(code.returncode)
    from prefect.testing.utilities import prefect_test_harness

    with scratch() as folder, prefect_test_harness(server_startup_timeout=300):
        measure(folder)


def tasks(folder: Path) -> dict[str, Any]:
    """Return the same task, kept in three ways."""
    import numpy as np
    from prefect import task
    from prefect.cache_policies import INPUTS, TASK_SOURCE
    from prefect.filesystems import LocalFileSystem

    from flowblob_prefect import FLOWBLOB, FlowblobStorage

    def make(n: int) -> np.ndarray:
        return np.arange(n, dtype=np.float64)

    ours = FlowblobStorage(url=str(folder / "flowblob"))
    ours.save("bench")
    theirs = LocalFileSystem(basepath=str(folder / "prefect"))
    theirs.save("bench")
    own = {"cache_policy": INPUTS + TASK_SOURCE, "result_storage": theirs, "persist_result": True}
    return {
        "FLOWBLOB, a hit": task(make, cache_policy=FLOWBLOB, result_storage=ours),
        "LocalFileSystem, a hit": task(make, **own),
        "an uncached task of nothing": task(lambda n: n, persist_result=False, name="nothing"),
    }


def measure(folder: Path) -> None:
    import numpy as np
    from prefect import flow

    pickled = folder / "value.pickle"
    pickled.write_bytes(pickle.dumps(np.arange(N, dtype=np.float64), 5))

    @flow
    def bench() -> None:
        known = tasks(folder)
        for n in (100, N):
            for call in known.values():
                call(n), call(n)
            sides = [Side(name, partial(call, n)) for name, call in known.items()]
            if n == N:
                sides.insert(1, Side("pickle.load", partial(_load, pickled)))
            title = "100 MB array" if n == N else "1 KB array"
            goal = Goal(ratio=2.0, peer="pickle.load") if n == N else None
            compare(f"Prefect task call that returns a {title}", *sides, rounds=9, goal=goal)

    bench()


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


if __name__ == "__main__":
    main()
