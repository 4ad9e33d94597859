"""Run the check sessions of noxfile.py one after another and add up what they found.

usage: tools/check.py [SESSION ...]     default: the sessions that noxfile.py lists

With FLOWBLOB_TEST_REQUIRE_SERVICES=1 the real servers of tests/servers run meanwhile, a set of
their own, and a test that is skipped for want of one is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".reports"


@dataclass
class Row:
    session: str
    result: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0


def count(session: str, result: str, seconds: float) -> Row:
    """Read what pytest reported; a session without pytest counts as one check."""
    row = Row(session, result, seconds)
    report = REPORTS / f"{session}.xml"
    if report.exists():
        for suite in ET.parse(report).getroot().iter("testsuite"):  # noqa: S314 - pytest's own file
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            row.passed += total - failed - skipped
            row.failed += failed
            row.skipped += skipped
    elif result == "skipped":
        row.skipped = 1
    else:
        row.passed = int(result == "success")
    # A crash before pytest could count, or a step after it (the build of the site).
    if result not in ("success", "skipped") and not row.failed:
        row.failed = 1
    return row


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Start the real servers beside the first sessions, and stop them at the end.

    Building one of them takes minutes where no cache has it; `servers.py up` in noxfile.py waits
    for what is under way here.
    """
    if not os.environ.get("FLOWBLOB_TEST_REQUIRE_SERVICES"):
        yield dict(os.environ)
        return
    program = [sys.executable, str(ROOT / "tests" / "servers" / "servers.py")]
    data = tempfile.mkdtemp(prefix="flowblob-servers-", dir="/var/tmp")
    Path(data).chmod(0o755)  # PostgreSQL runs as a user of its own
    env = {**os.environ, "FLOWBLOB_SERVERS_DATA": data}
    with (REPORTS / "servers.log").open("w") as log:
        starting = subprocess.Popen([*program, "up"], env=env, stdout=log, stderr=log)
        try:
            yield env
        finally:
            starting.wait()
            subprocess.run([*program, "down"], env=env, stdout=log, stderr=log, check=False)
            shutil.rmtree(data, ignore_errors=True)


def main(sessions: list[str]) -> int:
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir()
    report = REPORTS / "nox.json"
    command = [str(Path(sys.executable).parent / "nox"), "--noxfile", str(ROOT / "noxfile.py")]
    command += ["--no-stop-on-first-error", "--report", str(report)]
    command += ["--session", *sessions] if sessions else []
    with servers() as env:
        status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if not report.exists():
        print("0 passed, 1 failed")
        return status or 1
    rows = [
        count(session["name"], session["result"], session.get("duration", 0.0))
        for session in json.loads(report.read_text(encoding="utf-8"))["sessions"]
    ]
    print(f"\n{'session':<11} {'result':<8} {'time':>7} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for row in rows:
        counts = f"{row.passed:>7} {row.failed:>7} {row.skipped:>8}"
        print(f"{row.session:<11} {row.result:<8} {row.seconds:>5.0f} s {counts}")
    passed = sum(row.passed for row in rows)
    failed = sum(row.failed for row in rows)
    skipped = sum(row.skipped for row in rows)
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return status or int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
