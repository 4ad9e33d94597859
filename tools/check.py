"""Run the check sessions of noxfile.py, in its lanes side by side, and add up what they found.

usage: tools/check.py [SESSION ...]     default: the sessions that noxfile.py lists

With FLOWBLOB_TEST_REQUIRE_SERVICES=1 the real servers of tests/servers run meanwhile, a set of
their own, and a test that is skipped for want of one is a failure.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lanes import REPORTS, ROOT, Outcome, interruptible, run

sys.path.insert(0, str(ROOT))
from noxfile import LANES


@dataclass
class Row:
    session: str
    result: str
    seconds: float
    cpu: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)


def count(session: str, result: str, seconds: float, cpu: float) -> Row:
    """Read what pytest reported; a session without pytest counts as one check."""
    row = Row(session, result, seconds, cpu)
    report = REPORTS / f"{session}.xml"
    if report.exists():
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - pytest's own file
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            row.passed += total - failed - skipped
            row.failed += failed
            row.skipped += skipped
            row.failures += [
                f"{case.get('classname')}::{case.get('name')}"
                for case in suite.iter("testcase")
                if case.find("failure") is not None or case.find("error") is not None
            ]
    elif result == "skipped":
        row.skipped = 1
    else:
        row.passed = int(result == "success")
    # A crash before pytest could count, or a step after it (the build of the site).
    if result not in ("success", "skipped") and not row.failed:
        row.failed = 1
        row.failures.append("see its output above")
    return row


def rows_of(done: Outcome) -> list[Row]:
    """Return a row for each session that nox reports: where it got to none, a failed one."""
    if not done.parts:
        return [count(done.session, "failed", done.seconds, done.cpu)]
    return [
        count(str(part["name"]), str(part["result"]), done.seconds, done.cpu) for part in done.parts
    ]


@contextmanager
def servers(env: dict[str, str]) -> Iterator[dict[str, str]]:
    """Start the real servers beside the first sessions, and stop them at the end.

    Building one of them takes minutes where no cache has it; `servers.py up` in noxfile.py waits
    for what is under way here.
    """
    if not env.get("FLOWBLOB_TEST_REQUIRE_SERVICES"):
        yield env
        return
    program = [sys.executable, str(ROOT / "tests" / "servers" / "servers.py")]
    data = tempfile.mkdtemp(prefix="flowblob-servers-", dir="/var/tmp")
    Path(data).chmod(0o755)  # PostgreSQL runs as a user of its own
    env = {**env, "FLOWBLOB_SERVERS_DATA": data}
    with (REPORTS / "servers.log").open("w") as log:
        starting = subprocess.Popen(
            [*program, "up"], env=env, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield env
        finally:
            if starting.poll() is None:  # only where we are interrupted: a build takes minutes
                with suppress(ProcessLookupError):
                    os.killpg(starting.pid, signal.SIGINT)
            starting.wait()
            subprocess.run([*program, "down"], env=env, stdout=log, stderr=log, check=False)
            shutil.rmtree(data, ignore_errors=True)


@contextmanager
def scratch() -> Iterator[str]:
    """Make the folder below which each session has its temporary files."""
    folder = tempfile.mkdtemp(prefix="flowblob-check-")
    Path(folder).chmod(0o755)  # servers of tests run as users of their own
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lanes_of(sessions: Sequence[str]) -> list[list[str]]:
    """Return the lanes of these sessions; those that noxfile.py has in none follow the first."""
    if not sessions:
        return [list(lane) for lane in LANES]
    placed = {session for lane in LANES for session in lane}
    lanes = [[session for session in lane if session in sessions] for lane in LANES]
    lanes[0] += [session for session in sessions if session not in placed]
    return [lane for lane in lanes if lane]


def report(rows: Sequence[Row], seconds: float) -> int:
    """Print what was found and return the exit code."""
    names = f"{'passed':>7} {'failed':>7} {'skipped':>7}"
    print(f"\n{'session':<11} {'result':<8} {'time':>7} {'CPU':>7} {names}")
    for row in rows:
        counts = f"{row.passed:>7} {row.failed:>7} {row.skipped:>7}"
        print(f"{row.session:<11} {row.result:<8} {row.seconds:>5.0f} s {row.cpu:>5.0f} s {counts}")
    print(f"{'together':<20} {seconds:>5.0f} s {sum(row.cpu for row in rows):>5.0f} s\n")
    for row in rows:
        for failure in row.failures:
            print(f"FAILED {row.session}: {failure}")
    passed = sum(row.passed for row in rows)
    failed = sum(row.failed for row in rows)
    skipped = sum(row.skipped for row in rows)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return int(bool(failed))


def main(sessions: list[str]) -> int:
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir()
    began, rows, status = time.monotonic(), [], 0
    with (
        interruptible(),
        scratch() as folder,
        servers({**os.environ, "TMPDIR": folder}) as env,
        closing(run(lanes_of(sessions), env)) as outcomes,
    ):
        for done in outcomes:
            status = status or done.status
            rows += rows_of(done)
    return report(rows, time.monotonic() - began) or status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
