"""Catalogs to test, a clock that only the test moves, and drafts."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flowblob.catalogs.clock import Clock
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.testing import Make

# pytest runs in importlib mode, which puts no folder of tests on the path.
sys.path.insert(0, str(Path(__file__).parent))

WANTED = "FLOWBLOB_TEST_POSTGRES_URL"
WORKER = Path(__file__).with_name("worker.py")


class StillClock(Clock):
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.boot = "boot-1"
        self.wall_time = 1_800_000_000_000_000
        self.tick_time = 1_000_000

    def wall(self) -> int:
        return self.wall_time

    def ticks(self) -> int:
        return self.tick_time

    def move(self, **span: float) -> None:
        micros = timedelta(**span) // timedelta(microseconds=1)
        self.wall_time += micros
        self.tick_time += micros


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "catalog.db"


@pytest.fixture
def open_catalog(path: Path, clock: StillClock) -> Iterator[Callable[[], SqliteCatalog]]:
    """Open the same file as often as asked, as processes of one machine do."""
    opened: list[SqliteCatalog] = []

    def opener() -> SqliteCatalog:
        opened.append(SqliteCatalog(path, clock=clock))
        return opened[-1]

    yield opener
    for catalog in opened:
        catalog.close()


@pytest.fixture(params=["file", "memory"])
def catalog(
    request: pytest.FixtureRequest,
    open_catalog: Callable[[], SqliteCatalog],
    clock: StillClock,
) -> Iterator[SqliteCatalog]:
    if request.param == "file":
        yield open_catalog()
        return
    memory = SqliteCatalog.memory(clock=clock)
    yield memory
    memory._end()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """Give the URL of a schema that does not exist yet, and drop it at the end."""
    server = os.environ.get(WANTED)
    if not server:
        pytest.skip(f'{WANTED} is not set; eval "$(tests/servers/servers.py up)"')
    import psycopg

    schema = f"flowblob_test_{secrets.token_hex(6)}"
    yield f"{server}?schema={schema}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the worker script in a process of its own; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def starter(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(WORKER), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        running.append(process)
        return process

    yield starter
    for process in running:
        if process.poll() is None:
            process.kill()
        _, said = process.communicate()
        sys.stderr.write(said)  # seen where the test fails


@pytest.fixture
def mongo_urls() -> Iterator[Iterator[str]]:
    """Fresh databases on the MongoDB server of the tests, as many as are asked for."""
    server = os.environ.get("FLOWBLOB_TEST_MONGO_URL")
    if not server:
        pytest.skip("FLOWBLOB_TEST_MONGO_URL is not set; start one with tests/servers/servers.py")
    made: list[str] = []

    def fresh() -> Iterator[str]:
        while True:
            made.append(f"flowblob_test_{secrets.token_hex(6)}")
            yield urlsplit(server)._replace(path=f"/{made[-1]}").geturl()

    yield fresh()
    import pymongo

    with pymongo.MongoClient(server) as client:
        for name in made:
            client.drop_database(name)


@pytest.fixture
def mongo_url(mongo_urls: Iterator[str]) -> str:
    return next(mongo_urls)
