"""What all sessions share: where servers must run, a test skipped for want of one is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "conformance"))  # for `engines`

EMBEDDED = "sqlite+local"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--on",
        default=EMBEDDED,
        metavar="CATALOG+STORAGE",
        help="run the tests of a host on other engines, such as postgres+s3",
    )
    parser.addoption(
        "--require-services",
        action="store_true",
        help="fail where a test of marker `services` would be skipped for want of its server",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    report = yield
    required = item.config.getoption("--require-services")
    if required and report.skipped and item.get_closest_marker("services") is not None:
        report.outcome = "failed"
        report.longrepr = f"--require-services: {call.excinfo.value if call.excinfo else 'skipped'}"
    if report.failed and call.excinfo is not None:
        report.sections += _said_by_child(call.excinfo.value)
    return report


def _said_by_child(error: BaseException) -> Iterator[tuple[str, str]]:
    """Yield what a failed child wrote: the message of its error names the exit code alone."""
    if isinstance(error, subprocess.CalledProcessError | subprocess.TimeoutExpired):
        for name in ("stdout", "stderr"):
            if said := getattr(error, name):
                text = said if isinstance(said, str) else said.decode(errors="replace")
                yield f"Child's {name}", text


@pytest.fixture
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Where an empty store is: a folder of the test, or what `--on` or its parameter names."""
    name = getattr(request, "param", request.config.getoption("--on"))
    if name == EMBEDDED:
        yield str(tmp_path / "store")
        return
    from engines import ENGINES, STORAGES, fresh_store

    catalog, storage = name.split("+")
    # Pickles from a store that others can write to are loaded by their signature only.
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", os.urandom(32).hex())
    with fresh_store((ENGINES[catalog], STORAGES[storage])) as url:
        yield url
