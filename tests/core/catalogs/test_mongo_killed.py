"""A MongoDB server that dies, and a writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("pymongo")

from flowblob import Store
from flowblob.catalogs.mongo import MongoCatalog
from flowblob.errors import (
    CatalogUnavailableError,
    UnavailableError,
)
from flowblob.model import Ref

pytestmark = pytest.mark.services

SERVERS = Path(__file__).parents[2] / "servers" / "servers.py"


@pytest.fixture
def own_server(tmp_path):
    """A MongoDB server of this test's own, which may be killed."""
    if not os.environ.get("FLOWBLOB_TEST_MONGO_URL"):
        pytest.skip("FLOWBLOB_TEST_MONGO_URL is not set; start one with tests/servers/servers.py")
    env = os.environ | {"FLOWBLOB_SERVERS_DATA": str(tmp_path / "servers")}

    def servers(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, str(SERVERS), *command],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    servers("up", "mongo")
    yield servers
    servers("down")


def url_of(servers) -> str:
    [line] = [line for line in servers("env").splitlines() if "MONGO_URL" in line]
    url = line.partition("=")[2].strip("'\"")
    return url.replace("/?", "/flow?serverSelectionTimeoutMS=4000&")


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_server_that_dies_is_told_in_time_and_found_again(own_server, make):
    catalog = MongoCatalog(url_of(own_server))
    catalog.commit(make.draft("k"))
    own_server("kill", "mongo")
    began = time.monotonic()
    with pytest.raises(CatalogUnavailableError, match="does not answer") as told:
        catalog.commit(make.draft("k", b"two"))
    assert time.monotonic() - began < 60
    assert told.value.retryable
    with pytest.raises(UnavailableError):
        catalog.find(Ref("k"))
    own_server("start", "mongo")
    # It keeps everything in memory, so it is empty now: what matters is that it is found again.
    fresh = MongoCatalog(catalog._database.url)
    assert fresh.commit(make.draft("k", b"three")).blob.version == 0
    catalog.close()
    fresh.close()


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_killed_writer_stops_nobody(mongo_url, together, make):
    """SIGKILL at any moment: the next put works at once, and a collector leaves no trace."""
    joined = "&" if "?" in mongo_url else "?"
    url = f"{mongo_url}{joined}storage=gridfs"
    code = (
        "import sys\nfrom flowblob import Store\nstore = Store(sys.argv[1])\n"
        "store.put('warm', b'x')\nprint('ready', flush=True)\n"
        "for n in range(10_000):\n"
        "    store.put('k', str(n).encode().ljust(40_000 + n), new_version=True)\n"
    )
    with Store(url) as store:
        for pause in (0.05, 0.11, 0.17, 0.23, 0.31):
            writer = subprocess.Popen(
                [sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True
            )
            assert writer.stdout.readline() == "ready\n"
            time.sleep(pause)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
            before = store.versions("k")[0].version if store.exists("k") else -1
            assert store.put("k", b"after", new_version=True).version == before + 1
            assert store.catalog.check() == []
        for blob in store.versions("k"):
            assert store.get(blob)
