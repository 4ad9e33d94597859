"""A store in a folder of its own, and three ways to call the command line on it."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.cli.app import run


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's own settings and store out of every test."""
    for name in list(os.environ):
        if name.startswith("FLOWBLOB_") or name in ("NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name, value in (("HOME", home), ("XDG_DATA_HOME", home / "data")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    """Take back what `--debug` does to the logger of this process."""
    logger = logging.getLogger("flowblob")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "store"
    monkeypatch.setenv("FLOWBLOB_URL", str(path))
    return path


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder) as opened:
        yield opened


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Call the command line in this process."""

    def call(*args: object) -> Result:
        capsys.readouterr()
        code = run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def program(folder: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Call the installed `flowblob` in a process of its own."""

    def call(*args: object, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(Path(sys.executable).with_name("flowblob")), *map(str, args)]
        environ = {**os.environ, **env}
        done = subprocess.run(command, input=stdin, capture_output=True, env=environ, check=False)
        sys.stderr.write(done.stderr.decode(errors="replace"))  # seen where the test fails
        return done

    return call


@pytest.fixture
def terminal(folder: Path) -> Callable[..., tuple[int, str]]:
    """Call it on a terminal; returns the exit code and everything that was painted."""

    def call(*args: object, answer: bytes = b"", width: int = 100, **env: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "flowblob", *map(str, args)]
        environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(width), **env}
        parent, child = pty.openpty()
        process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, env=environ, start_new_session=True
        )
        os.close(child)
        if answer:
            os.write(parent, answer)
        painted = b""
        try:
            while block := os.read(parent, 65536):
                painted += block
        except OSError:  # Linux says EIO when the last writer is gone
            pass
        finally:
            os.close(parent)
        return process.wait(), painted.decode().replace("\r\n", "\n")

    return call
