"""Eight processes on one key, forks, threads: no lost update, no lost number, one winner."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.errors import CatalogUnavailableError, FlowblobError, StorageUnavailableError
from flowblob.storages import spools

Together = Callable[..., list[str]]

STORM = """
    import json
    from flowblob import Store
    store = Store(sys.argv[2])
    size = int(sys.argv[3])
    start()
    acknowledged = []
    for number in range(8):
        value = f"{sys.argv[1]}/{number}/".encode() * (size // 8)
        blob = store.put("k", value)
        acknowledged.append([blob.version, blob.digest])
        assert store.get(blob) == value
    print(json.dumps(acknowledged))
"""


@pytest.mark.parametrize("size", [100, 100_000])
def test_puts_of_eight_processes_get_dense_numbers(
    folder: Path, together: Together, size: int
) -> None:
    Store(folder).close()
    printed = together(STORM, folder, size)
    acknowledged = [tuple(pair) for text in printed for pair in json.loads(text)]
    assert sorted(version for version, _ in acknowledged) == list(range(8 * 8))
    with Store(folder) as store:
        stored = {(blob.version, blob.digest) for blob in store.versions("k")}
        assert stored == set(acknowledged)
        for blob in store.versions("k"):
            store.verify(blob)
        assert store.catalog.check() == []


def test_eight_processes_may_make_the_store_at_once(folder: Path, together: Together) -> None:
    code = """
        from flowblob import Store
        start()
        store = Store(sys.argv[2])
        store.put(f"k{sys.argv[1]}", bytes(50_000) + sys.argv[1].encode())
        print(store.store_id)
    """
    assert len(set(together(code, folder))) == 1
    with Store(folder) as store:
        assert len(store.ls()) == 8
        assert store.catalog.check() == []


def test_a_counter_under_expect_version_loses_no_update(folder: Path, together: Together) -> None:
    code = """
        from flowblob import Store
        from flowblob.errors import VersionConflictError
        store = Store(sys.argv[2])
        start()
        done = 0
        while done < 5:
            head = store.head("counter")
            try:
                store.put("counter", store.get(head) + 1, expect_version=head.version)
                done += 1
            except VersionConflictError:
                pass
    """
    with Store(folder) as store:
        store.put("counter", 0)
        together(code, folder)
        assert store.get("counter") == 40
        assert [store.get(blob) for blob in store.versions("counter")] == list(range(41))[::-1]


def test_create_has_exactly_one_winner(folder: Path, together: Together) -> None:
    code = """
        from flowblob import Store
        from flowblob.errors import AlreadyExistsError
        store = Store(sys.argv[2])
        start()
        for number in range(20):
            try:
                store.put(f"k{number}", sys.argv[1], create=True)
                print(number)
            except AlreadyExistsError:
                pass
    """
    Store(folder).close()
    printed = [line for text in together(code, folder) for line in text.split()]
    assert Counter(printed) == {str(number): 1 for number in range(20)}


def test_promote_by_comparison_has_one_winner_per_move(folder: Path, together: Together) -> None:
    code = """
        from flowblob import Store
        from flowblob.errors import VersionConflictError
        store = Store(sys.argv[2])
        start()
        for number in range(10):
            try:
                store.promote(f"k@{number + 1}", "prod", expect=number)
                print(number + 1)
            except VersionConflictError:
                pass
    """
    with Store(folder) as store:
        for number in range(11):
            store.put("k", number)
        store.promote("k@0", "prod")
        won = sorted(int(line) for text in together(code, folder) for line in text.split())
        history = store.catalog.alias_history("k", "prod")
        assert [move["version"] for move in history] == list(range(len(history)))[::-1]
        assert won == list(range(1, len(history)))


def test_deleting_and_putting_at_once_never_mixes_two_lives(
    folder: Path, together: Together
) -> None:
    code = """
        from flowblob import Store
        from flowblob.errors import NotFoundError
        store = Store(sys.argv[2])
        start()
        for number in range(8):
            store.put("k", f"{sys.argv[1]}/{number}")
            if number % 3 == 0:
                try:
                    store.delete("k")
                except NotFoundError:
                    pass
    """
    together(code, folder)
    with Store(folder) as store:
        assert store.catalog.check() == []
        versions = store.versions("k") if store.exists("k") else []
        assert len({blob.incarnation for blob in versions}) <= 1


def test_a_killed_writer_stops_nobody(folder: Path, python: Callable[..., Any]) -> None:
    code = """
        import sys
        from flowblob import Store
        store = Store(sys.argv[1])
        print("ready", flush=True)
        while True:
            print(store.put("k", __import__("os").urandom(60_000)).version, flush=True)
    """
    with Store(folder) as store:
        for _ in range(3):
            with subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code), str(folder)],
                stdout=subprocess.PIPE,
                text=True,
            ) as process:
                assert process.stdout is not None
                lines = [process.stdout.readline() for _ in range(10)]
                process.kill()
                lines += process.stdout.readlines()
            last = max(int(line) for line in lines if line.strip().isdigit())
            assert store.head("k").version in (last, last + 1)
            store.put("k", b"next")
        for blob in store.versions("k"):
            store.verify(blob)
        assert store.catalog.check() == []


def test_threads_share_one_store(store: Store) -> None:
    def work(number: int) -> list[int]:
        return [
            store.put("k", f"{number}/{turn}" * (1 if turn % 2 else 20_000)).version
            for turn in range(15)
        ]

    with ThreadPoolExecutor(8) as pool:
        versions = [version for found in pool.map(work, range(8)) for version in found]
    assert sorted(versions) == list(range(120))
    assert store.catalog.check() == []


def test_threads_share_one_store_in_memory() -> None:
    store = Store("memory://")
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for turn in range(20):
            blob = store.put("k", f"{number}/{turn}")
            assert store.get(blob) == f"{number}/{turn}"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(store.versions("k")) == 160


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_store_works_in_children_of_multiprocessing(
    folder: Path, tmp_path: Path, method: str, python: Callable[..., Any]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing, sys
        from flowblob import Store
        store = Store(sys.argv[1])
        store.put("before", b"x" * 2_000_000)
        def work(number):
            for turn in range(5):
                store.put("k", f"{number}/{turn}" * 20_000)
                assert store.get("before") == b"x" * 2_000_000
        if __name__ == "__main__":
            context = multiprocessing.get_context(sys.argv[2])
            children = [context.Process(target=work, args=(number,)) for number in range(4)]
            for child in children:
                child.start()
            work(99)
            for child in children:
                child.join()
                assert child.exitcode == 0
            assert len(store.versions("k")) == 25
            assert store.catalog.check() == []
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script), str(folder), method],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_fork_while_threads_write_leaves_both_sides_working(
    folder: Path, python: Callable[..., Any]
) -> None:
    code = """
        import os, sys, threading
        from flowblob import Store
        store = Store(sys.argv[1])
        stop = threading.Event()
        # Forking while another thread imports a module for the first time is CPython's own trap.
        store.put("warm", b"w" * 1_500_000)
        store.get("warm")
        def write(name):
            number = 0
            while not stop.is_set():
                store.put(name, f"{number}" * 50_000)
                number += 1
        threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(3)]
        for thread in threads:
            thread.start()
        for number in range(10):
            pid = os.fork()
            if pid == 0:
                blob = store.put(f"child{number}", b"c" * 1_500_000)
                ok = store.get(blob) == b"c" * 1_500_000
                os._exit(0 if ok else 1)
            assert os.waitpid(pid, 0)[1] == 0
            store.put(f"parent{number}", b"p" * 1_500_000)
        stop.set()
        for thread in threads:
            thread.join()
        assert store.catalog.check() == []
        assert len(store.ls("child")) == len(store.ls("parent")) == 10
    """
    python(code, folder)


def test_a_child_that_was_forked_holds_no_lock_of_a_killed_parent(
    folder: Path, python: Callable[..., Any]
) -> None:
    code = """
        import os, signal, sys, time
        from flowblob import Store
        store = Store(sys.argv[1])
        store.put("k", bytes(2_000_000))
        lock = store.catalog._lock
        lock.__enter__()           # as a put that is under way
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            sys.stdin.read()       # lives on after its parent was killed
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert process.wait(30) == -signal.SIGKILL
        try:
            with Store(folder) as store:
                assert store.put("k", 1).version == 1
        finally:
            os.kill(child, signal.SIGKILL)


# ------------------------------------------------------------------ a store that can only be read

READER = """
    import sys
    import flowblob
    from flowblob.errors import UnavailableError
    store = flowblob.Store(sys.argv[1])
    with flowblob.run("reader"):
        assert store.get("small") == 1
        assert store.get("large") == b"x" * 100_000
        with store.open("large@0") as stream:
            assert stream.read() == b"x" * 100_000
    assert [blob.key for blob in store.ls()] == ["large", "small"]
    try:
        store.put("k", 1)
    except UnavailableError as error:
        print("refused:", error)
    try:
        store.put("k", b"y" * 2_000_000)
    except UnavailableError as error:
        print("refused:", error)
    store.close()
"""


def _unprivileged() -> list[str]:
    """Return what runs a command as somebody whom the permissions bind."""
    if os.geteuid():
        return []
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open elsewhere"])
def test_a_read_only_store_serves_reads_and_refuses_writes(
    folder: Path, python: Callable[..., Any], is_open: bool
) -> None:
    store = Store(folder)
    store.put("small", 1)
    store.put("large", b"x" * 100_000)
    if not is_open:
        store.close()
    places = [folder, *folder.rglob("*")]
    try:
        for path in places:
            path.chmod(0o555 if path.is_dir() else 0o444)
        for path in [*folder.parents][:-2]:  # all but the root and its first folder
            path.chmod(path.stat().st_mode | 0o055)
        done = python(READER, folder, prefix=_unprivileged())
    finally:
        for path in places:
            path.chmod(0o755 if path.is_dir() else 0o644)
        store.close()
    assert done.stdout.count("refused:") == 2


def test_a_newer_schema_is_refused_with_both_numbers(folder: Path) -> None:
    import sqlite3

    Store(folder).close()
    with sqlite3.connect(folder / "catalog.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FlowblobError, match=r"99.*\d") as refused:
        Store(folder)
    assert refused.value.code == "schema_version"


def test_a_put_that_waited_for_the_catalog_in_vain_does_not_wait_again(
    store: Store,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store.put("k", b"1")
    monkeypatch.setattr(store.catalog._lock, "wait", 0.2)
    with (folder / "catalog.db.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as by a process that is frozen with it
        with pytest.raises(CatalogUnavailableError, match="Another writer"):
            store.put("k", os.urandom(50_000))
    assert "pins" not in caplog.text
    assert store.put("k", b"2").version == 1


def test_a_process_that_is_frozen_while_it_clears_up_freezes_nobody(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("k", os.urandom(3_000_000))
    monkeypatch.setattr(spools, "WAIT_SECONDS", 0.2)
    held = os.open(folder / "payloads" / "tmp", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StorageUnavailableError, match="another process has held"):
            store.gc(grace=0, dry_run=False)
        with Store(folder) as other, pytest.raises(StorageUnavailableError, match="held"):
            other.put("k", os.urandom(3_000_000))
    finally:
        os.close(held)
    assert store.gc(grace=0, dry_run=False).spools == 0
