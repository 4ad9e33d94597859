"""Plant faults in copies of the package and say which the conformance suite notices.

usage: tools/plant.py [--named] [NAME ...]     default: all of them

Each is tried on the test that faults.toml names, and on the whole suite for its engines where that
test does not notice it; with --named on no other. Exit code 0 if all were noticed.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SUITE = ROOT / "tests" / "conformance"
PAIRS = ["test_stores.py", "test_machine.py", "-k"]
SELECTED = {
    "memory": [["test_storages.py", "test_catalogs.py", "-k", "memory"], [*PAIRS, "memory"]],
    "local": [["test_storages.py", "-k", "local"], [*PAIRS, "sqlite and local"]],
}

sys.path.insert(0, str(SUITE))
from planted import FAULTS, Fault  # noqa: E402 - stands beside the suite


class Failures:
    """A plugin of pytest that remembers what failed."""

    def __init__(self) -> None:
        self.tests: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests.append(report.nodeid.split("::", 1)[-1])


def noticed_by(fault: Fault, *, named: bool) -> str:
    """Return the first test that fails, empty if none does. Runs in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="flowblob-planted-") as folder:
        fault.plant(Path(folder))
        sys.dont_write_bytecode = True
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = folder
        for files in [[fault.test], *([] if named else SELECTED[fault.engines])]:
            if failed := _first_failure(Path(folder), files):
                return failed
    return ""


def _first_failure(folder: Path, files: list[str]) -> str:
    tests = [str(SUITE / name) if name.startswith("test_") else name for name in files]
    options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--no-header"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is loaded by now
    options += ["--basetemp", str(folder / "temp"), "--rootdir", str(ROOT)]
    failures, said = Failures(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = pytest.main([*options, *tests], plugins=[failures])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest itself failed on {files}:\n{said.getvalue()[-3000:]}")
    return failures.tests[0] if failures.tests else ""


def load_what_the_suite_loads() -> None:
    """Import all that flowblob stands on once, so that every fault begins with it."""
    import flowblob.testing  # noqa: F401

    for name in [name for name in sys.modules if name.partition(".")[0] == "flowblob"]:
        del sys.modules[name]


def main(arguments: list[str]) -> int:
    named, names = "--named" in arguments, set(arguments) - {"--named"}
    if unknown := names - {fault.name for fault in FAULTS}:
        raise SystemExit(f"no such fault: {', '.join(sorted(unknown))}")
    chosen = [fault for fault in FAULTS if not names or fault.name in names]
    load_what_the_suite_loads()
    missed = 0
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        tests = pool.imap(partial(noticed_by, named=named), chosen, chunksize=1)
        for fault, test in zip(chosen, tests, strict=True):
            missed += not test
            print(f"{'noticed' if test else 'MISSED '}  {fault.name:<52} {test}", flush=True)
    print(f"\n{len(chosen) - missed} of {len(chosen)} noticed")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
