"""Several processes on one catalog file, some of which die."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from processes import begin, results

from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.checks import new_id
from flowblob.errors import CatalogUnavailableError
from flowblob.model import Ref

SECOND = timedelta(seconds=1)


def test_a_stopped_writer_is_waited_for_and_named(path, start, make):
    with_history = SqliteCatalog(path)
    with_history.commit(make.draft())
    with_history.close()
    holder = start("stop_inside", path)
    assert holder.stdout.readline() == "ready\n"
    impatient = SqliteCatalog(path, wait=0.2)
    try:
        began = time.monotonic()
        with pytest.raises(CatalogUnavailableError, match="has held"):
            impatient.commit(make.draft(data=b"two"))
        assert time.monotonic() - began < 50  # the usual wait is 60
        assert impatient.find(Ref("models/churn")) is not None  # readers never wait
        holder.stdin.write("\n")
        holder.stdin.flush()
        results(holder)
        assert impatient.commit(make.draft(data=b"two")).blob.version == 1
        assert impatient.commit(make.draft(data=b"three")).blob.version == 2
    finally:
        impatient.close()


@pytest.mark.parametrize("moment", [0.0, 0.004, 0.008, 0.012, 0.02])
def test_a_store_whose_maker_was_killed_can_be_opened(open_catalog, path, start, moment):
    maker = start("create", path)
    begin([maker])
    time.sleep(moment)
    maker.kill()
    maker.wait()
    assert open_catalog().check() == []


def fork(action):
    """Run an action in a forked child; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        action()
        code = 0
    finally:
        os._exit(code)


def fork_and_wait(action):
    return exit_code(fork(action))


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestFork:
    def test_parent_and_child_write_on(self, open_catalog, make):
        catalog = open_catalog()
        catalog.commit(make.draft(data=b"parent"))
        catalog.find(Ref("models/churn"))

        def child():
            assert catalog.find(Ref("models/churn")).blob.version == 0
            assert catalog.commit(make.draft(data=b"child")).blob.version == 1

        assert fork_and_wait(child) == 0
        assert catalog.find(Ref("models/churn")).blob.version == 1
        assert catalog.commit(make.draft(data=b"parent again")).blob.version == 2
        assert catalog.check() == []

    def test_a_fork_waits_for_the_writer_of_another_thread(self, open_catalog, make):
        """Else the child would inherit a write lock in memory that nobody ever gives back."""
        catalog = open_catalog()
        catalog.commit(make.draft())
        inside = threading.Event()

        def stay(connection):
            inside.set()
            time.sleep(0.2)

        writer = threading.Thread(target=catalog._write, args=(stay,))
        writer.start()
        inside.wait(30)
        assert fork_and_wait(lambda: catalog.commit(make.draft(data=b"child"))) == 0
        writer.join()
        assert catalog.find(Ref("models/churn")).blob.version == 1

    def test_what_a_child_writes_outlives_its_parents_connections(
        self, open_catalog, path, make, start
    ):
        """A child that believed its parent's file locks were its own would lose its log here."""
        catalog = open_catalog()
        catalog.commit(make.draft(data=b"parent"))
        catalog.find(Ref("models/churn"))
        told, tell = os.pipe()
        heard, say = os.pipe()

        def child():
            catalog.commit(make.draft(data=b"child 1"))
            os.write(tell, b"1")
            os.read(heard, 1)
            catalog.commit(make.draft(data=b"child 3"))
            catalog.close()

        pid = fork(child)
        os.read(told, 1)
        catalog.close()  # were it the last one, this would end the log
        assert (path.parent / "catalog.db-wal").exists()
        other = start("put", path, "models/churn", 1)
        begin([other])
        [(version, _, _)] = results(other)
        assert version == 2
        os.write(say, b"1")
        assert exit_code(pid) == 0
        assert [b.version for b in catalog.versions("models/churn")] == [3, 2, 1, 0]
        assert catalog.check() == []

    def test_readers_of_other_threads_go_on_after_a_fork(self, open_catalog, make):
        catalog = open_catalog()
        catalog.commit(make.draft())
        done = threading.Event()

        def read():
            while not done.is_set():
                assert catalog.find(Ref("models/churn")) is not None

        with ThreadPoolExecutor(4) as threads:
            readers = [threads.submit(read) for _ in range(4)]
            codes = [fork_and_wait(lambda: catalog.find(Ref("models/churn"))) for _ in range(10)]
            done.set()
            for reader in readers:
                reader.result()
        assert codes == [0] * 10

    def test_a_killed_parent_does_not_leave_its_lock_with_a_child(self, open_catalog, make, path):
        """The child shares the lock's open file; it must have given it back."""
        catalog = open_catalog()
        catalog.commit(make.draft())
        ready, tell = os.pipe()
        holder = os.fork()
        if not holder:
            signal.alarm(60)

            def hold_and_fork(connection):
                os.fork()
                os.write(tell, b"x")
                time.sleep(20)
                os._exit(0)

            catalog._write(hold_and_fork)
        os.read(ready, 1)
        os.read(ready, 1)
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        assert catalog.commit(make.draft(data=b"two")).blob.version == 1

    def test_an_in_memory_catalog_is_copied_by_a_fork(self, make):
        catalog = SqliteCatalog.memory()
        catalog.commit(make.draft())

        def child():
            assert catalog.commit(make.draft(data=b"two")).blob.version == 1

        assert fork_and_wait(child) == 0
        assert catalog.find(Ref("models/churn")).blob.version == 0
        catalog._end()


def test_a_catalog_travels_to_a_spawned_process(open_catalog):
    catalog = open_catalog()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(eval, ("c.store_id", {"c": catalog})) == catalog.store_id


def test_threads_share_a_catalog(catalog, make):
    def work(name):
        for number in range(20):
            data = f"{name} {number}".encode()
            blob = catalog.commit(make.draft("shared", data)).blob
            found = catalog.find(Ref(id=blob.id), payload=True)
            assert found.payload.data == data
            catalog.acquire(new_id(), name, ttl=SECOND, max_hold=SECOND)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, "abcdefgh"))
    assert [b.version for b in catalog.versions("shared")] == list(range(159, -1, -1))


def test_closing_while_others_work_closes_everything_in_the_end(open_catalog, make):
    catalog = open_catalog()
    catalog.commit(make.draft())
    done = threading.Event()

    def read():
        while not done.is_set():
            assert catalog.find(Ref("models/churn")) is not None

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        for _ in range(20):
            catalog.close()
        done.set()
        for reader in readers:
            reader.result()
    catalog.close()
    assert not catalog._pool._all


def test_a_process_that_never_closes_ends_without_a_word(path):
    code = (
        "import sys; from pathlib import Path; from flowblob.catalogs.sqlite import SqliteCatalog;"
        "c = SqliteCatalog(Path(sys.argv[1])); c.store_id; m = SqliteCatalog.memory(); m.store_id"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code, path],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(p.name for p in path.parent.iterdir()) == ["catalog.db", "catalog.db.lock"]
