"""Processes, threads and forks on one schema of a real server."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import psycopg
import pytest

from flowblob.catalogs.postgres import PostgresCatalog
from flowblob.checks import new_id
from flowblob.errors import CatalogUnavailableError
from flowblob.model import Ref

pytestmark = pytest.mark.services

SECOND = timedelta(seconds=1)


@pytest.fixture
def catalog(postgres_url):
    opened = PostgresCatalog(postgres_url)
    yield opened
    opened.close()


def test_runs_met_by_many_at_once_are_one_run_with_all_values(catalog, make):
    def put(number):
        run = make.run(used={f"u{number}": number})
        catalog.commit(make.draft(f"key/{number}", str(number).encode(), run=run))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, range(16)))
    [run] = catalog.runs()
    assert run.used == {f"u{number}": number for number in range(16)}
    assert len(catalog.uses(role="output")) == 16


# ------------------------------------------------------------------ one process


def test_threads_share_a_bounded_number_of_connections(postgres_url, make):
    catalog = PostgresCatalog(f"{postgres_url}&pool=2&fallback_application_name=fb_{new_id()[:8]}")
    name = catalog._target.parameters["fallback_application_name"]

    def work(name):
        for number in range(10):
            data = f"{name} {number}".encode()
            blob = catalog.commit(make.draft("shared", data)).blob
            assert catalog.find(Ref(id=blob.id), payload=True).payload.data == data
            catalog.acquire(new_id(), name, ttl=SECOND, max_hold=SECOND)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, "abcdefgh"))
    seen = "SELECT count(*) FROM pg_stat_activity WHERE application_name = ?"
    assert 1 <= catalog._query(seen, (name,))[0][0] <= 2
    assert [b.version for b in catalog.versions("shared")] == list(range(79, -1, -1))
    catalog.close()
    assert catalog.find(Ref("shared")) is not None  # a closed catalog may be used again
    catalog.close()
    assert not catalog._pool._all


def test_one_connection_is_enough_for_everything(postgres_url, make):
    catalog = PostgresCatalog(f"{postgres_url}&pool=1", wait=10)
    blob = catalog.commit(make.draft(run=make.run(), entry=make.entry())).blob
    catalog.tag(blob.id, {"a": 1})
    assert catalog.acquire("fb1:embed", "me", ttl=SECOND, max_hold=SECOND).entry is not None
    assert catalog.condemned(grace=SECOND, limit=1) == []
    catalog.close()


def test_who_gets_no_connection_in_time_is_told_so(postgres_url):
    catalog = PostgresCatalog(f"{postgres_url}&pool=1")
    assert catalog.store_id
    catalog._wait = 0.3
    with (
        catalog._pool.lease(time.monotonic() + 5),
        pytest.raises(CatalogUnavailableError, match="connections of this process") as caught,
    ):
        catalog.find(Ref("a"))
    assert caught.value.retryable
    catalog.close()


def test_a_writer_that_waits_too_long_is_told_so_and_readers_never_wait(postgres_url, make):
    catalog = PostgresCatalog(postgres_url)
    catalog.commit(make.draft())
    impatient = PostgresCatalog(postgres_url, wait=1)
    inside, done = threading.Event(), threading.Event()

    def hold(connection):
        catalog._serialize(connection, "models/churn")
        inside.set()
        done.wait(60)

    holder = threading.Thread(target=catalog._write, args=(hold,))
    holder.start()
    assert inside.wait(30)
    try:
        for draft in (make.draft(data=b"two"), make.draft(data=b"two", partitions={"a": "b"})):
            with pytest.raises(CatalogUnavailableError, match="have held") as caught:
                impatient.commit(draft)
            assert caught.value.retryable
            assert catalog.outcome(draft.op) is None
        assert impatient.find(Ref("models/churn")) is not None
        assert impatient.commit(make.draft("other")).is_new
    finally:
        done.set()
        holder.join()
    assert impatient.commit(make.draft(data=b"two")).blob.version == 1
    catalog.close()
    impatient.close()


def test_writers_are_served_in_the_order_in_which_they_came(catalog, make):
    assert catalog.store_id
    inside, done = threading.Event(), threading.Event()

    def hold(connection):
        catalog._serialize(connection, "queue")
        inside.set()
        done.wait(60)

    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(5) as threads:
        threads.submit(catalog._write, hold)
        assert inside.wait(30)
        other = PostgresCatalog(catalog._target.url)
        base = other._query(waiting)[0][0]
        puts = []
        for number in range(3):
            draft = make.draft("queue", bytes([number]), op=f"op-{number}-{new_id()}")
            puts.append(threads.submit(catalog.commit, draft))
            deadline = time.monotonic() + 300
            while other._query(waiting)[0][0] < base + number + 1:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        done.set()
        assert [put.result().blob.version for put in puts] == [0, 1, 2]
        other.close()


def test_a_catalog_travels_to_a_spawned_process(catalog):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(eval, ("c.store_id", {"c": catalog})) == catalog.store_id


def fork_and_wait(action):
    child = os.fork()
    if not child:
        code = 1
        try:
            signal.alarm(60)
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestFork:
    def test_parent_and_child_write_on_over_sockets_of_their_own(self, catalog, make):
        catalog.commit(make.draft(data=b"parent"))
        [mine] = [link.driver.info.backend_pid for link in catalog._pool._all]

        def child():
            assert catalog.find(Ref("models/churn")).blob.version == 0
            assert catalog.commit(make.draft(data=b"child")).blob.version == 1
            assert mine not in [link.driver.info.backend_pid for link in catalog._pool._all]
            catalog.close()

        assert fork_and_wait(child) == 0
        assert catalog.commit(make.draft(data=b"parent again")).blob.version == 2
        assert mine in [link.driver.info.backend_pid for link in catalog._pool._all]

    def test_a_child_keeps_no_copy_of_the_parents_sockets(self, catalog):
        assert catalog.store_id
        [link] = catalog._pool._all
        inode = os.readlink(f"/proc/self/fd/{link.driver.fileno()}")

        def child():
            held = []
            for number in os.listdir("/proc/self/fd"):
                with suppress(OSError):  # the listing's own is gone by now
                    held.append(os.readlink(f"/proc/self/fd/{number}"))
            assert inode not in held

        assert fork_and_wait(child) == 0

    def test_a_fork_while_other_threads_write_harms_nobody(self, catalog, make):
        assert catalog.store_id
        done = threading.Event()

        def write(number):
            count = 0
            while not done.is_set():
                catalog.commit(make.draft(f"key/{number}", str(count).encode()))
                count += 1
            return count

        def child():
            assert catalog.commit(make.draft("child", new_id().encode())).is_new
            catalog.close()

        with ThreadPoolExecutor(3) as threads:
            writers = [threads.submit(write, number) for number in range(3)]
            codes = [fork_and_wait(child) for _ in range(5)]
            done.set()
            counts = [writer.result() for writer in writers]
        assert codes == [0] * 5
        assert [len(catalog.versions(f"key/{n}")) for n in range(3)] == counts
        assert catalog.check() == []


# ------------------------------------------------------------------ the server's rights and kinds


def test_a_user_without_the_right_to_create_is_told_what_to_do(postgres_url, make):
    role = f"fb_{new_id()[:8]}"
    server = postgres_url.partition("?")[0]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        try:
            from flowblob.errors import AuthError

            poor = PostgresCatalog(postgres_url.replace("flowblob@", f"{role}@", 1))
            with pytest.raises(AuthError, match="permission denied"):
                assert poor.store_id
            owner = PostgresCatalog(postgres_url)
            assert owner.migrate() == ["postgres-0001"]
            schema = owner._target.schema
            admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            tables = f"ALL TABLES IN SCHEMA {schema}"
            admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}")
            assert poor.commit(make.draft(run=make.run())).blob.version == 0
            assert poor.commit(make.draft(data=b"two", partitions={"a": "b"})).blob.version == 1
            poor.close()
            owner.close()
        finally:
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


def test_a_schema_of_another_program_is_left_alone(postgres_url):
    from flowblob.errors import InvalidInputError

    server, schema = postgres_url.split("?schema=")
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {schema}")
        admin.execute(f"CREATE TABLE {schema}.theirs (a int)")
        with pytest.raises(InvalidInputError, match="another program"):
            assert PostgresCatalog(postgres_url).store_id
        found = admin.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = %s", (schema,)
        ).fetchone()
    assert found == (1,)


def test_a_server_that_is_too_old_is_refused(catalog, monkeypatch):
    from flowblob.errors import NotSupportedError

    monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 110_022)
    with pytest.raises(NotSupportedError, match="PostgreSQL 11 is too old"):
        assert catalog.store_id


def test_the_defaults_of_a_session_do_no_harm(postgres_url, make):
    """The isolation that a database or role sets by default must not decide what a put sees."""
    options = "-c%20default_transaction_isolation%3Dserializable%20-c%20synchronous_commit%3Doff"
    catalog = PostgresCatalog(f"{postgres_url}&options={options}")
    with ThreadPoolExecutor(4) as threads:
        drafts = [make.draft(data=bytes([number])) for number in range(12)]
        commits = list(threads.map(catalog.commit, drafts))
    assert sorted(commit.blob.version for commit in commits) == list(range(12))
    assert catalog.check() == []
    catalog.close()


def test_two_stores_in_one_database_do_not_meet(postgres_url, make):
    one, two = PostgresCatalog(postgres_url), PostgresCatalog(f"{postgres_url}_b")
    try:
        one.commit(make.draft())
        assert two.find(Ref("models/churn")) is None
        assert one.store_id != two.store_id
    finally:
        one.close()
        two.close()
        server, schema = postgres_url.split("?schema=")
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(f"DROP SCHEMA IF EXISTS {schema}_b CASCADE")
