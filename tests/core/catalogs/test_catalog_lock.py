"""The write lock: first come, first served, and never left behind."""

from __future__ import annotations

import sys
import threading
import time

import pytest

from flowblob.catalogs.lock import WriteLock
from flowblob.errors import CatalogUnavailableError

lock_module = sys.modules["flowblob.catalogs.lock"]


@pytest.fixture
def make_lock(tmp_path):
    made = []

    def maker():
        made.append(WriteLock(tmp_path / "lock"))
        return made[-1]

    yield maker
    for lock in made:
        lock.close()


def is_free(make_lock):
    lock = make_lock()
    lock.acquire(10)
    lock.release()
    return True


def test_threads_get_the_lock_in_the_order_they_asked(tmp_path):
    lock = WriteLock(tmp_path / "lock")
    order = []

    def work(number):
        with lock:
            order.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    with lock:
        assert lock.is_mine
        for thread in threads:
            waiting = len(lock._queue)
            thread.start()
            while len(lock._queue) == waiting:
                time.sleep(0.0005)
    for thread in threads:
        thread.join()
    assert order == list(range(10))
    assert not lock.is_mine
    lock.close()


def test_a_thread_that_waited_too_long_leaves_the_queue(tmp_path):
    lock, held, leave = WriteLock(tmp_path / "lock"), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    with pytest.raises(CatalogUnavailableError, match=r"0\.05 s"):
        lock.acquire(0.05)
    leave.set()
    holder.join()
    with lock:
        pass
    lock.close()


def test_a_lock_given_up_while_waiting_does_not_stay_taken(tmp_path):
    mine, yours, third = (WriteLock(tmp_path / "lock") for _ in range(3))
    with mine, pytest.raises(CatalogUnavailableError):
        yours.acquire(0.05)
    third.acquire(30)
    third.release()
    yours.acquire(30)
    yours.release()
    for lock in (mine, yours, third):
        lock.close()


def test_an_interrupted_wait_passes_the_lock_on(tmp_path, monkeypatch):
    mine, yours = WriteLock(tmp_path / "lock"), WriteLock(tmp_path / "lock")
    with mine:
        with pytest.raises(CatalogUnavailableError):
            yours.acquire(0.01)

        def interrupted(seconds):
            raise KeyboardInterrupt

        waiter_class = sys.modules["flowblob.catalogs.lock"]._Waiter
        monkeypatch.setattr(waiter_class, "wait", lambda self, s: interrupted(s))
        monkeypatch.setattr(waiter_class, "has_left", True, raising=False)
        with pytest.raises(KeyboardInterrupt):
            yours.acquire(1)
    monkeypatch.undo()
    yours.acquire(30)
    yours.release()
    mine.close()
    yours.close()


def interrupted(*args, **options):
    raise KeyboardInterrupt


def test_an_interrupted_turn_is_passed_on(make_lock, monkeypatch):
    class Turn:
        """A turn whose wait ends with Ctrl-C."""

        def acquire(self, timeout=None):
            if timeout is not None:
                raise KeyboardInterrupt

        def release(self):
            pass

    lock = make_lock()
    with lock:
        monkeypatch.setattr(lock_module.threading, "Lock", Turn)
        with pytest.raises(KeyboardInterrupt):
            lock.acquire(1)
        monkeypatch.undo()
        assert not lock._queue
    assert is_free(make_lock)


def test_a_turn_that_comes_with_the_interrupt_is_given_back(make_lock, monkeypatch):
    lock = make_lock()

    class Turn:
        """A turn that is handed over in the moment of Ctrl-C."""

        def acquire(self, timeout=None):
            if timeout is not None:
                lock.release()
                raise KeyboardInterrupt

        def release(self):
            pass

    lock.acquire(1)
    monkeypatch.setattr(lock_module.threading, "Lock", Turn)
    with pytest.raises(KeyboardInterrupt):
        lock.acquire(1)
    monkeypatch.undo()
    assert not lock._held
    assert is_free(make_lock)


def test_a_lock_file_that_was_removed_is_made_again(make_lock):
    mine, yours = make_lock(), make_lock()
    with mine:
        pass
    mine.path.unlink()
    with mine, pytest.raises(CatalogUnavailableError):
        yours.acquire(0.02)
    assert mine.path.exists()


def test_at_the_end_of_the_interpreter_no_thread_is_needed(make_lock, monkeypatch):
    mine, yours = make_lock(), make_lock()

    def no_thread(*args, **options):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(lock_module, "_Waiter", no_thread)
    with mine, pytest.raises(CatalogUnavailableError):
        yours.acquire(0.02)
    release = threading.Timer(0.05, mine.release)
    mine.acquire(1)
    release.start()
    yours.acquire(10)
    yours.release()
    release.join()


def test_a_lock_that_the_file_system_refuses_is_an_error_of_ours(make_lock, monkeypatch):
    def refuse(*args):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock_module.fcntl, "flock", refuse)
    with pytest.raises(CatalogUnavailableError, match="local disk"):
        make_lock().acquire(1)
    monkeypatch.undo()
    assert is_free(make_lock)


def test_a_lock_without_a_folder_is_an_error_of_ours(tmp_path):
    lock = WriteLock(tmp_path / "none" / "lock")
    with pytest.raises(CatalogUnavailableError, match="folder"):
        lock.acquire(1)
    assert not lock._held


def test_many_threads_and_locks_count_without_a_lost_update(make_lock):
    count = [0]
    locks = [make_lock() for _ in range(3)]

    def work(lock):
        for _ in range(50):
            with lock:
                seen = count[0]
                time.sleep(0)
                count[0] = seen + 1

    threads = [threading.Thread(target=work, args=(lock,)) for lock in locks for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == [450]
