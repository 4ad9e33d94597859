"""One Prefect server for the session, one store and one saved block for each test."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before Prefect is imported: its server reads them in a process of its own.
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW"] = "ignore"
os.environ.pop("FLOWBLOB_URL", None)
sys.path.insert(0, str(Path(__file__).parent))  # for `tally`, which subprocesses import too

from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)
from prefect.testing.utilities import prefect_test_harness

from flowblob import Store
from flowblob_prefect import FlowblobStorage
from flowblob_prefect.stores import store_for


def pytest_configure(config: pytest.Config) -> None:
    """Let Prefect's own clients leave their sockets to the garbage collector.

    For the whole session, not for each test: pytest collects once more after the last one, and a
    socket that it finds then would fail a session whose tests all passed.
    """
    for category in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::{category}")


@pytest.fixture(scope="session", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server needs 15 s to start; one that runs already may be named to save them."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home / "data"))
        patch.setenv("XDG_CONFIG_HOME", str(home / "config"))
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        if running := os.environ.get("FLOWBLOB_TEST_PREFECT_API_URL"):
            with temporary_settings({PREFECT_API_URL: running}):
                yield
        else:
            with prefect_test_harness(server_startup_timeout=300):
                yield


@pytest.fixture(scope="session", autouse=True)
def no_heartbeats(server: None) -> Iterator[None]:
    """At its end each flow run waits for the thread of its heartbeat, which sleeps for a second."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@pytest.fixture(autouse=True)
def tally_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "tally"
    monkeypatch.setenv("FLOWBLOB_TEST_TALLY", str(file))
    return file


@pytest.fixture
def url(place: str) -> Iterator[str]:
    yield place
    store_for(place).close()  # and its connections, of which a server has a number


@pytest.fixture
def store(url: str) -> Store:
    return store_for(url)


@pytest.fixture
def block(url: str) -> FlowblobStorage:
    """A saved block of a fresh name over a fresh store."""
    made = FlowblobStorage(url=url)
    made.save(f"test-{uuid.uuid4().hex[:12]}")
    return made


@pytest.fixture
def child_environment() -> dict[str, str]:
    """What a process of its own needs to meet this session's server and `tally`."""
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PYTHONPATH": os.pathsep.join(path),
    }


@pytest.fixture
def script(tmp_path: Path, child_environment: dict[str, str]) -> Callable[..., str]:
    """Run Python code in a process of its own, against the same server; returns what it prints."""

    def run(code: str, *arguments: str) -> str:
        file = tmp_path / f"script_{uuid.uuid4().hex[:8]}.py"
        file.write_text(code)
        env = {**os.environ, **child_environment}
        done = subprocess.run(
            [sys.executable, str(file), *arguments],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the runs log."""
    caplog.set_level(logging.INFO)
    return caplog
