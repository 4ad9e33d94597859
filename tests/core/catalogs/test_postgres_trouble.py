"""Servers that die, hang and lose replies, and a transaction pooler between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from cutting import FATES, FORGOTTEN, Cutter
from processes import begin, rest

from flowblob import Store
from flowblob.catalogs.postgres import PostgresCatalog
from flowblob.errors import CatalogUnavailableError
from flowblob.model import Ref

pytestmark = [pytest.mark.services, pytest.mark.slow]

SERVERS = Path(__file__).parents[2] / "servers" / "servers.py"
SECOND = timedelta(seconds=1)
COMMIT = b"COMMIT\0"  # the message; "READ COMMITTED" stands in another


# ------------------------------------------------------------------ a server of our own, to kill


class Server:
    def __init__(self, root):
        self.env = os.environ | {"FLOWBLOB_SERVERS_DATA": str(root)}
        told = self.do("up", "postgres")
        self.url = told.split("FLOWBLOB_TEST_POSTGRES_URL='")[1].partition("'")[0]
        self.state = Path(root) / "state.json"

    def do(self, *arguments):
        command = [sys.executable, str(SERVERS), *arguments]
        return subprocess.run(
            command, env=self.env, capture_output=True, text=True, check=True
        ).stdout

    def restart(self):
        """Kill the server without a word, and start it again on its port."""
        self.do("kill", "postgres")
        self.do("start", "postgres")

    def processes(self):
        """The postmaster and its children."""
        root = json.loads(self.state.read_text())["postgres"]["pid"]
        found = [root]
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == root:
                    found.append(int(entry.name))
        return found


@pytest.fixture(scope="module")
def server():
    if not os.environ.get("FLOWBLOB_TEST_POSTGRES_URL"):
        pytest.skip("FLOWBLOB_TEST_POSTGRES_URL is not set, so no PostgreSQL is wanted here")
    root = tempfile.mkdtemp(dir="/var/tmp", prefix="flowblob-pg-")
    Path(root).chmod(0o755)  # the server runs as a user of its own
    mine = Server(root)
    yield mine
    mine.do("down")
    shutil.rmtree(root, ignore_errors=True)


def test_a_restart_of_the_server_loses_and_doubles_nothing(server, start):
    """Each put keeps its op until it is acknowledged, so each is in exactly once."""
    url = f"{server.url}?schema=restarted"
    catalog = PostgresCatalog(url)
    assert catalog.store_id
    writers = [start("persist", url, "one/key", 60) for _ in range(3)]
    begin(writers)
    acknowledged = [json.loads(writer.stdout.readline()) for writer in writers]
    for _ in range(2):
        server.restart()
        time.sleep(0.2)
    for writer in writers:
        out, err = rest(writer)
        assert (writer.returncode, err) == (0, "")
        acknowledged += [json.loads(line) for line in out.splitlines()]
    assert sorted(version for version, _ in acknowledged) == list(range(180))
    kept = {(b.version, b.id) for b in catalog.versions("one/key")}  # over lost connections
    assert kept == {tuple(pair) for pair in acknowledged}
    assert catalog.check() == []
    catalog.close()


def test_a_restart_of_the_server_repeats_no_change_that_adds_up(server, start, make):
    """The server has forgotten which transactions it was about, and gives their numbers again."""
    url = f"{server.url}?schema=tallied"
    catalog = PostgresCatalog(url)
    blob = catalog.commit(make.draft()).blob
    writers = [start("tally", url, blob.id, 60) for _ in range(4)]
    begin(writers)
    for _ in range(3):
        time.sleep(0.2)
        server.restart()
    for writer in writers:
        _, err = writer.communicate()
        assert (writer.returncode, err) == (0, "")
    marks = [f"{writer.pid} {number}" for writer in writers for number in range(60)]
    assert sorted(h["value"] for h in catalog.tag_history(blob.id)) == sorted(marks)
    assert catalog.lookups(name="tally")[0].hits == 240
    assert catalog.check() == []
    catalog.close()


def test_what_was_acknowledged_survives_the_death_of_the_server(server, make):
    catalog = PostgresCatalog(f"{server.url}?schema=durable")
    blobs = [catalog.commit(make.draft(data=bytes([n]), run=make.run())).blob for n in range(9)]
    lease = catalog.acquire("fb1:x", "me", ttl=60 * SECOND, max_hold=60 * SECOND).reservation
    server.restart()
    assert catalog.versions("models/churn")[::-1] == blobs
    again = catalog.commit(make.draft(data=b"more", reservation=lease)).blob
    assert again.version == 9
    catalog.close()


def _connected(url):
    """Connect, however long the server still recovers from the crash before."""
    while True:
        with suppress(psycopg.OperationalError):
            return psycopg.connect(url)
        time.sleep(0.05)


def test_the_crash_of_one_of_the_servers_processes_is_waited_out(server, make):
    """The server then ends all connections, and takes none until it has recovered."""
    catalog = PostgresCatalog(f"{server.url}?schema=crashed")
    for number in range(3):
        assert catalog.commit(make.draft(data=bytes([number]))).blob.version == number
        other = _connected(server.url)
        os.kill(other.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT pg_sleep(60)")
    assert len(catalog.versions("models/churn")) == 3
    catalog.close()


def test_a_server_that_hangs_is_given_up_in_time(server, make):
    catalog = PostgresCatalog(f"{server.url}?schema=hanging&pool=1")
    catalog.commit(make.draft())
    catalog._wait = 1.5
    frozen = server.processes()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        for verb in (
            lambda: catalog.find(Ref("models/churn")),
            lambda: catalog.commit(make.draft(data=b"two")),
            lambda: catalog.commit(make.draft(data=b"two", partitions={"a": "b"})),
            lambda: catalog.delete(Ref("models/churn")),
        ):
            began = time.monotonic()
            with pytest.raises(CatalogUnavailableError):
                verb()
            assert time.monotonic() - began < 60
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    catalog._wait = 60
    assert catalog.commit(make.draft(data=b"three")).is_new
    assert catalog.check() == []
    catalog.close()


# ------------------------------------------------------------------ replies that never come


@pytest.fixture
def cutter(postgres_url):
    between = Cutter(postgres_url, COMMIT)
    yield between
    between.close()


@pytest.mark.parametrize(
    ("word", "fields"),
    [(b"put_inline", {}), (COMMIT, {"partitions": {"a": "b"}}), (COMMIT, {"history": False})],
)
def test_a_put_whose_reply_was_lost_is_settled_by_its_op(cutter, make, word, fields):
    catalog = PostgresCatalog(cutter.url)
    catalog.commit(make.draft(data=b"before", **fields))
    draft = make.draft(data=b"after", **fields)
    cutter.arm(pattern=word)
    commit = catalog.commit(draft)
    assert cutter.cuts == 1
    assert (commit.is_new, commit.blob.version) == (True, 1)
    assert catalog.outcome(draft.op) == commit.blob
    assert catalog.find(Ref("models/churn")).blob == commit.blob
    assert catalog.commit(make.draft(data=b"next")).blob.version == 2
    assert catalog.check() == []
    catalog.close()


def test_a_put_whose_question_was_lost_is_made_once(cutter, make):
    catalog = PostgresCatalog(cutter.url)
    catalog.commit(make.draft(data=b"before"))
    cutter.arm(pattern=b"SET LOCAL lock_timeout")
    assert catalog.commit(make.draft(data=b"after", partitions={"a": "b"})).blob.version == 1
    assert cutter.cuts == 1
    assert len(catalog.versions("models/churn")) == 2
    catalog.close()


def test_a_read_is_asked_again_on_a_fresh_connection(cutter, make):
    catalog = PostgresCatalog(cutter.url)
    blob = catalog.commit(make.draft()).blob
    cutter.arm(pattern=b"version_payload")
    assert catalog.find(Ref("models/churn"), payload=True).blob == blob
    assert cutter.cuts == 1
    catalog.close()


def test_a_change_whose_client_vanished_without_a_word_is_made_once(cutter, make):
    """The server still holds what the lost transaction holds, until it gives the client up."""
    catalog = PostgresCatalog(cutter.url)
    blob = catalog.commit(make.draft()).blob
    catalog._wait = 20
    cutter.arm(FORGOTTEN)
    assert catalog.tag(blob.id, {"a": 1}).tags == {"a": 1}
    assert cutter.cuts == 1
    assert len(catalog.tag_history(blob.id)) == 1
    catalog.close()


@pytest.mark.parametrize("fields", [None, {}, {"partitions": {"a": "b"}}])
def test_a_change_that_nobody_can_be_asked_about_says_so(cutter, make, fields):
    catalog = PostgresCatalog(cutter.url)
    blob = catalog.commit(make.draft(data=b"one")).blob
    catalog._wait = 2
    cutter.between = cutter.close  # nobody comes through any more
    cutter.arm(pattern=rb"COMMIT\0|put_inline")
    draft = fields is not None and make.draft(data=b"two", **fields)
    with pytest.raises(CatalogUnavailableError, match="may be done or not") as caught:
        catalog.commit(draft) if draft else catalog.delete(Ref(blob.key))
    assert not caught.value.retryable
    catalog.close()


def test_a_connection_leaves_one_row_that_the_next_ones_remove(postgres_url, make):
    import psycopg

    rows = []
    with psycopg.connect(postgres_url.partition("?")[0], autocommit=True) as server:
        table = f'"{postgres_url.rpartition("=")[2]}".settled'
        for _ in range(3):
            catalog = PostgresCatalog(postgres_url)
            blob = catalog.commit(make.draft()).blob
            for number in range(3):
                catalog.tag(blob.id, {"n": number})
            catalog.close()
            rows.append(server.execute(f"SELECT count(*), max(number) FROM {table}").fetchone())
            server.execute(f"UPDATE {table} SET at = at - 25 * 3600 * 1000000::bigint")
    assert rows == [(1, 3)] * 3


def test_a_change_costs_no_message_more_for_being_settled(cutter, make):
    catalog = PostgresCatalog(cutter.url)
    catalog.commit(make.draft(entry=make.entry()))
    catalog.pin_entry("fb1:embed", is_pinned=True)
    cutter.messages.clear()
    assert catalog.pin_entry("fb1:embed", is_pinned=False)
    assert len(cutter.messages) == 3  # BEGIN, the statement, COMMIT
    catalog.close()


def test_a_reservation_whose_reply_was_lost_is_the_owners(cutter):
    catalog = PostgresCatalog(cutter.url)
    assert catalog.store_id
    cutter.arm()
    taken = catalog.acquire("fb1:x", "me", ttl=60 * SECOND, max_hold=60 * SECOND)
    assert cutter.cuts == 1
    assert taken.reservation.token == 1
    assert catalog.release(taken.reservation)
    catalog.close()


def test_a_plain_put_and_a_get_are_one_round_trip_each(cutter, make):
    catalog = PostgresCatalog(cutter.url)
    catalog.commit(make.draft("other"))
    for fields in ({}, {"run": make.run()}, {"tags": {"a": 1}}, {"expect_version": 2}):
        cutter.messages.clear()
        assert catalog.commit(make.draft(data=repr(fields).encode(), **fields)).is_new
        assert len(cutter.messages) == 1
    cutter.messages.clear()
    assert catalog.find(Ref("models/churn"), payload=True).blob.version == 3
    assert len(cutter.messages) == 1
    catalog.close()


# ------------------------------------------------------------------ a transaction pooler


@pytest.fixture(scope="module")
def pooler():
    url = os.environ.get("FLOWBLOB_TEST_POSTGRES_URL")
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if not url or not program:
        pytest.skip("needs FLOWBLOB_TEST_POSTGRES_URL, and pgbouncer (apt-get install pgbouncer)")
    parts = urlsplit(url)
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="flowblob-pgbouncer-"))
    folder.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "users").write_text(f'"{parts.username}" ""\n')
    (folder / "ini").write_text(
        f"""[databases]
* = host={parts.hostname} port={parts.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 2
"""
    )
    command = [program, *(["-u", "nobody"] if os.geteuid() == 0 else []), str(folder / "ini")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait()
    shutil.rmtree(folder)


@pytest.fixture
def pooled_url(pooler, postgres_url):
    parts = urlsplit(postgres_url)
    return postgres_url.replace(f"{parts.hostname}:{parts.port}", pooler)


def test_eight_writers_behind_a_transaction_pooler(pooled_url, start):
    catalog = PostgresCatalog(pooled_url)
    writers = [start("put", pooled_url, "one/key", 20) for _ in range(8)]
    begin(writers)
    acknowledged = []
    for writer in writers:
        out, err = rest(writer)
        assert (writer.returncode, err) == (0, "")
        acknowledged += [tuple(json.loads(line)[:2]) for line in out.splitlines()]
    assert sorted(version for version, _ in acknowledged) == list(range(160))
    assert {(b.version, b.id) for b in catalog.versions("one/key")} == set(acknowledged)
    catalog.close()


def test_a_whole_store_works_behind_a_transaction_pooler(pooled_url, tmp_path):
    with Store(f"{pooled_url}&storage={tmp_path}/payloads") as store:
        for number in range(12):  # more often than any driver needs to begin to prepare
            store.put("a", {"number": number}, tags={"n": number})
            assert store.get("a") == {"number": number}
        store.put("large", b"x" * 100_000)
        assert store.get("large") == b"x" * 100_000
        store.promote("a@3", "prod")
        assert store.resolve("a@prod").version == 3
        with store.reserve("nightly") as lease:
            store.put("a", "reserved", reservation=lease)
        assert len(store.versions("a")) == 13
        store.delete("large")
        assert store.catalog.check() == []


@pytest.mark.parametrize("fate", FATES)
def test_a_change_behind_a_transaction_pooler_is_made_once(pooled_url, make, fate):
    before = Cutter(pooled_url, COMMIT)
    catalog = PostgresCatalog(before.url)
    blob = catalog.commit(make.draft()).blob
    before.arm(fate)
    assert catalog.tag(blob.id, {"a": 1}).tags == {"a": 1}
    before.arm(fate)
    assert catalog.delete(Ref(blob.key))[0].id == blob.id
    assert before.cuts == 1
    assert len(catalog.tag_history(blob.id)) == 1
    catalog.close()
    before.close()
