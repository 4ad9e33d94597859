"""Run the benchmarks: `python benchmarks/run.py [names]`; without names, all of them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = (
    "hit",
    "dogpile",
    "hashing",
    "payloads",
    "postgres",
    "mongo",
    "s3",
    "imports",
    "prefect_hit",
    "writers",
    "scale",
)


def main(names: list[str]) -> int:
    if unknown := sorted(set(names) - set(NAMES)):
        print(f"No benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}")
    print("RATIO = flowblob's time / the peer's: less than 1 is faster")
    # Without bytecode, each process that is measured from its start would compile all it imports.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    failed = []
    for name in names or NAMES:
        print(f"\n=== {name}", flush=True)
        began = time.monotonic()
        # Each in a process of its own: what one has loaded or mapped must not help the next.
        done = subprocess.run([sys.executable, HERE / f"{name}.py"], check=False, env=env)
        if done.returncode:
            failed.append(name)
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
