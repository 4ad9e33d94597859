"""What all sessions share: where servers must run, a test skipped for want of one is a failure."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
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
