"""Every engine and every pair of them, each made fresh and dropped after use.

Memory and SQLite with local files are always there. The others stand behind FLOWBLOB_TEST_*
variables, which `tests/servers/servers.py up` prints; where one is absent its tests are skipped and
say how to start it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

START = 'eval "$(tests/servers/servers.py up)"'


@dataclass(frozen=True)
class Engine:
    """A catalog or a storage under test.

    Attributes:
        name: As tests are named.
        url: Makes an empty place and gives its URL; drops it at the end.
        needs: The environment variables that name its server.
        own: The storage that a catalog's URL brings with it, empty if it must be given.
    """

    name: str
    url: Callable[[], Iterator[str]]
    needs: tuple[str, ...] = ()
    own: str = ""

    @property
    def absent(self) -> str:
        """Why it cannot be tested here, empty if it can."""
        unset = [name for name in self.needs if not os.environ.get(name)]
        return f"{self.name}: {', '.join(unset)} not set; {START}" if unset else ""

    def param(self) -> pytest.param:
        """Return the pytest parameter, marked where a server is needed."""
        marks = [pytest.mark.services] if self.needs else []
        return pytest.param(self, id=self.name, marks=marks)

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """Yield the URL of an empty place, or skip."""
        if self.absent:
            pytest.skip(self.absent)
        yield from self.url()


def _fresh_name() -> str:
    return f"flowblob_test_{secrets.token_hex(6)}"


def _memory_disk() -> str | None:
    """Return a file system in memory if there is a large one: nothing here cuts the power."""
    shm = Path("/dev/shm")
    if not (shm.is_dir() and os.access(shm, os.W_OK)):
        return None
    return str(shm) if shutil.disk_usage(shm).free > 1 << 30 else None


def _folder() -> Iterator[str]:
    # Not tmp_path: a Hypothesis machine makes many stores in one test.
    with tempfile.TemporaryDirectory(prefix="flowblob-test-", dir=_memory_disk()) as folder:
        yield str(Path(folder) / "store")


def _memory() -> Iterator[str]:
    yield "memory://"


def _postgres() -> Iterator[str]:
    import psycopg

    url, schema = os.environ["FLOWBLOB_TEST_POSTGRES_URL"], _fresh_name()
    try:
        yield f"{url}{'&' if '?' in url else '?'}schema={schema}"
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def _mongo() -> Iterator[str]:
    import pymongo

    url, name = os.environ["FLOWBLOB_TEST_MONGO_URL"], _fresh_name()
    parts = urlsplit(url)
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        with pymongo.MongoClient(url) as client:
            client.drop_database(name)


def _gridfs() -> Iterator[str]:
    for url in _mongo():
        yield f"gridfs+{url}"


@cache  # each reads the description of S3 again: a tenth of a second of CPU
def _s3_client(vendor: str) -> Any:
    from botocore.session import Session

    endpoint, key, secret = _s3_access(vendor)
    return Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def _s3_access(vendor: str) -> list[str]:
    return [os.environ[f"FLOWBLOB_TEST_{vendor}_{name}"] for name in ("URL", "KEY", "SECRET")]


def _s3(vendor: str = "S3") -> Iterator[str]:
    """A bucket of its own under MinIO, or under Ceph's gateway."""
    endpoint, key, secret = _s3_access(vendor)
    client, bucket = _s3_client(vendor), _fresh_name().replace("_", "-")
    client.create_bucket(Bucket=bucket)
    try:
        yield f"s3://{key}:{secret}@{bucket}/flow?endpoint={endpoint}"
    finally:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for found in page.get("Contents", ()):
                client.delete_object(Bucket=bucket, Key=found["Key"])
        client.delete_bucket(Bucket=bucket)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("memory", _memory, own="memory"),
        Engine("sqlite", _folder, own="local"),
        Engine("postgres", _postgres, needs=("FLOWBLOB_TEST_POSTGRES_URL",)),
        Engine("mongo", _mongo, needs=("FLOWBLOB_TEST_MONGO_URL",)),
    )
}
STORAGES = {
    engine.name: engine
    for engine in (
        Engine("memory", _memory),
        Engine("local", _folder),
        Engine("gridfs", _gridfs, needs=("FLOWBLOB_TEST_MONGO_URL",)),
        Engine(
            "s3",
            _s3,
            needs=("FLOWBLOB_TEST_S3_URL", "FLOWBLOB_TEST_S3_KEY", "FLOWBLOB_TEST_S3_SECRET"),
        ),
    )
}


# Its first start takes minutes, so it is a second vendor by hand only: `servers.py up ceph`.
if os.environ.get("FLOWBLOB_TEST_CEPH_URL"):
    STORAGES["ceph"] = Engine("ceph", lambda: _s3("CEPH"), needs=("FLOWBLOB_TEST_CEPH_URL",))

#: Each engine at least once, and those that most people will have.
USUAL = frozenset(
    ["memory+memory", "sqlite+local", "sqlite+s3", "postgres+local", "postgres+s3", "mongo+gridfs"]
)


#: For tests of the hosts: the store of one machine, and those that machines share.
everywhere = pytest.mark.parametrize(
    "place",
    [
        "sqlite+local",
        pytest.param("postgres+s3", marks=pytest.mark.services),
        pytest.param("mongo+gridfs", marks=pytest.mark.services),
    ],
    indirect=True,
)


def pairs(*, every: bool = True) -> list[pytest.param]:
    """Return (catalog, storage) parameters: every combination, or the usual ones."""
    chosen = []
    for catalog in ENGINES.values():
        for storage in STORAGES.values():
            if (catalog.name == "memory") != (storage.name == "memory"):
                continue  # records that outlive their bytes are no store
            marks = [pytest.mark.services] if catalog.needs or storage.needs else []
            name = f"{catalog.name}+{storage.name}"
            if every or name in USUAL:
                chosen.append(pytest.param((catalog, storage), id=name, marks=marks))
    return chosen


@contextmanager
def fresh_store(pair: tuple[Engine, Engine]) -> Iterator[str]:
    """Yield the URL of an empty store of two engines, or skip."""
    catalog, storage = pair
    with catalog.fresh() as url:
        if catalog.own == storage.name:
            yield url
            return
        with storage.fresh() as place:
            whole = url if "://" in url else f"sqlite://{url}"
            separator = "&" if urlsplit(whole).query else "?"
            yield f"{whole}{separator}storage={quote(place, safe=':/')}"
