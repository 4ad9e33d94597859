"""Stores on a real disk, and code that runs in processes of its own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flowblob import Store

if TYPE_CHECKING:
    from crashing import Harness

# pytest runs in importlib mode, which puts no folder of tests on the path.
sys.path.insert(0, str(Path(__file__).parent))

Snapshot = dict[str, tuple[str, int]]


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the user's own store, configuration and checkouts out of the tests."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("FLOWBLOB_")]:
        if not name.startswith("FLOWBLOB_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    return home


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """Run a put, gc or repair under strace, which kills it or fails its calls."""
    import crashing

    work = tmp_path / "work"
    work.mkdir()
    with crashing.harness(work) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the store of a test is; its parent holds nothing else."""
    return tmp_path / "around" / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder) as opened:
        yield opened


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code in a process of its own; its arguments are `sys.argv[1:]`."""

    def run(
        code: str, *arguments: Any, returncode: int | None = 0, prefix: list[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*(prefix or []), sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert returncode is None or done.returncode == returncode, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def together() -> Callable[..., list[str]]:
    """Run code in several processes that begin at the same moment; returns what each printed.

    The code calls `start()` where the race begins and gets its number as `sys.argv[1]`.
    """
    running: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: Any, count: int = 8) -> list[str]:
        text = (
            "import sys\ndef start():\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
            + textwrap.dedent(code)
        )
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", text, str(number), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(count)
        ]
        running.extend(processes)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", process.communicate()[1]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        printed = []
        for process in processes:
            out, err = process.communicate()
            assert process.returncode == 0, err
            printed.append(out)
        return printed

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def full(store: Store) -> Store:
    """Six versions in files and six in the catalog."""
    for number in range(6):
        store.put(f"big{number}", os.urandom(100_000))
        store.put(f"small{number}", os.urandom(100))
    return store


@pytest.fixture
def payload_files(folder: Path) -> Callable[[], list[Path]]:
    """List the payload files of the store, as the file system has them."""
    return lambda: sorted(path for path in (folder / "payloads").glob("??/*") if path.is_file())


@pytest.fixture
def listing(tmp_path: Path) -> Callable[..., Snapshot]:
    """Describe everything below the test's folder, apart from what stands below `without`."""

    def describe(*, without: Path | None = None) -> Snapshot:
        found: Snapshot = {}
        for path in sorted(tmp_path.rglob("*")):
            if without is None or not path.is_relative_to(without):
                info = path.lstat()
                found[str(path.relative_to(tmp_path))] = (oct(info.st_mode), info.st_size)
        return found

    return describe


@pytest.fixture
def is_reserved(folder: Path) -> Callable[[], bool]:
    """Say whether anybody holds a reservation, as the database has it."""

    def ask() -> bool:
        with sqlite3.connect(folder / "catalog.db") as connection:
            [(count,)] = connection.execute("SELECT count(*) FROM reservation WHERE owner <> ''")
        connection.close()
        return bool(count)

    return ask


@pytest.fixture(params=["disk", "memory"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = "memory://" if request.param == "memory" else tmp_path / "store"
    with Store(url) as opened:
        yield opened
