"""Plant faults in copies of the package and say which the conformance suite notices.

usage: tools/plant.py [NAME ...]     default: all of them, which takes some minutes

Exit code 0 if at least nine in ten were noticed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "tests" / "conformance"
SHARE = 0.9
PAIRS = ["test_stores.py", "test_machine.py", "-k"]
SELECTED = {
    "memory": [["test_storages.py", "test_catalogs.py", "-k", "memory"], [*PAIRS, "memory"]],
    "local": [["test_storages.py", "-k", "local"], [*PAIRS, "sqlite and local"]],
}

sys.path.insert(0, str(SUITE))
from planted import FAULTS, Fault  # noqa: E402 - stands beside the suite


def noticed_by(fault: Fault) -> str:
    """Return the first test that fails, empty if none does."""
    with tempfile.TemporaryDirectory(prefix="flowblob-planted-") as folder:
        fault.plant(Path(folder))
        for files in SELECTED[fault.engines]:
            if failed := _first_failure(Path(folder), files):
                return failed
    return ""


def _first_failure(folder: Path, files: list[str]) -> str:
    tests = [str(SUITE / name) if name.startswith("test_") else name for name in files]
    options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--no-header"]
    options += ["--basetemp", str(folder / "temp")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED", "ERROR")) and "::" in line:
            return line.split("::", 1)[-1].split(" - ")[0]
    raise SystemExit(f"pytest itself failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main(names: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    if unknown := set(names) - {fault.name for fault in FAULTS}:
        raise SystemExit(f"no such fault: {', '.join(sorted(unknown))}")
    count = 0
    with ThreadPoolExecutor(2) as threads:
        for fault, test in zip(chosen, threads.map(noticed_by, chosen), strict=True):
            count += bool(test)
            print(f"{'noticed' if test else 'MISSED '}  {fault.name:<52} {test}", flush=True)
    print(f"\n{count} of {len(chosen)} noticed")
    return int(count < SHARE * len(chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
