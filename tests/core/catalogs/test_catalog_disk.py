"""A disk that fails while SQLite commits: what was refused never happened, a crash included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import crashing
import pytest

from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.model import Ref

pytestmark = pytest.mark.slow

#: Deletes a key while the disk fails, says how that went, and waits to be killed.
DELETE = """
import sys
from pathlib import Path
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.errors import CatalogUnavailableError
from flowblob.model import Ref
catalog = SqliteCatalog(Path(sys.argv[1]))
assert catalog.find(Ref("models/churn"))
print("ready", flush=True)
sys.stdin.readline()
try:
    catalog.delete(Ref("models/churn"))
except CatalogUnavailableError as error:
    print(error.retryable, error, flush=True)
print(catalog.find(Ref("models/churn")) is not None, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def failing(path, make, tmp_path):
    """Return a function that deletes while syncs fail, and then kills."""
    if reason := crashing.usable():
        pytest.skip(reason)
    with_store = SqliteCatalog(path)
    with_store.commit(make.draft())
    with_store.close()

    def run(when):
        with subprocess.Popen(
            [sys.executable, "-c", DELETE, path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as child:  # fmt: skip
            assert child.stdout.readline() == "ready\n"
            tracing = [
                "strace", "-f", "-p", str(child.pid), "-o", tmp_path / "log",
                "-e", "trace=fdatasync,fsync",
                "-e", f"inject=fdatasync,fsync:error=EIO:when={when}",
            ]  # fmt: skip
            with subprocess.Popen(tracing, stderr=subprocess.PIPE, text=True) as tracer:
                assert "attached" in tracer.stderr.readline()
                child.stdin.write("\n")
                child.stdin.flush()
                told, is_there = child.stdout.readline(), child.stdout.readline()
                os.kill(child.pid, signal.SIGKILL)
                tracer.wait()
        assert "INJECTED" in (tmp_path / "log").read_text()
        return told, is_there

    return run


def test_a_change_whose_sync_failed_does_not_come_back_after_a_crash(failing, path):
    """Its frames lie whole in the log, from which the next to open the file recovers."""
    told, is_there = failing("1")
    assert told.startswith("True ")
    assert is_there == "True\n"
    catalog = SqliteCatalog(path)
    assert [blob.version for blob in catalog.versions("models/churn")] == [0]
    assert catalog.check() == []
    assert catalog.delete(Ref("models/churn"))
    catalog.close()


def test_a_disk_that_goes_on_failing_leaves_the_change_open_and_says_so(failing):
    told, is_there = failing("1+")
    assert told.startswith("False ")
    assert "may be done or not" in told
    assert is_there == "True\n"
