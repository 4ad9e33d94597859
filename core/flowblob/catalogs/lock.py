"""The lock around every write and checkpoint of one SQLite file.

SQLite's own busy handler lets writers starve (one of eight completed one put in three seconds),
and SQLite 3.7.0 to 3.51.2 can corrupt a database when a checkpoint and a commit of two connections
meet. Both end when writers queue on an flock: the kernel wakes them in turn and frees the lock of a
process that is killed.
"""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections import deque
from pathlib import Path

from flowblob.errors import CatalogUnavailableError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; SQLite's own locks remain
    fcntl = None  # type: ignore[assignment]

WAIT_SECONDS = 60.0
_locks: weakref.WeakSet[WriteLock] = weakref.WeakSet()


class WriteLock:
    """An flock for processes, behind a first-come-first-served queue for threads.

    Args:
        path: The lock file, made where it is absent.
        wait: Seconds after which waiting ends with CatalogUnavailableError.
    """

    def __init__(self, path: Path | None, *, wait: float = WAIT_SECONDS) -> None:
        self.path = path
        self.wait = wait
        self._reset()
        _locks.add(self)

    def _reset(self) -> None:
        self._guard = threading.Lock()
        self._queue: deque[threading.Lock] = deque()
        self._held = False
        self._owner = 0
        self._descriptor = -1
        self._waiter: _Waiter | None = None

    def __enter__(self) -> WriteLock:
        self.acquire(self.wait)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def acquire(self, wait: float) -> None:
        """Take the lock.

        Raises:
            CatalogUnavailableError: Others held it for `wait` seconds.
        """
        self._enter_queue(wait)
        try:
            if self.path is not None and fcntl is not None:
                self._lock_file(wait)
        except BaseException:
            self._leave_queue()
            raise
        self._owner = threading.get_ident()

    def release(self) -> None:
        """Give the lock to whoever has waited longest."""
        self._owner = 0
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._leave_queue()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread holds it."""
        return self._owner == threading.get_ident()

    def _enter_queue(self, wait: float) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                return
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
        try:
            came = turn.acquire(timeout=wait)
        except BaseException:  # Ctrl-C: a turn that nobody takes would stop everybody
            if not self._cancel(turn):
                self._leave_queue()
            raise
        if not came and self._cancel(turn):
            raise self._late(wait)

    def _cancel(self, turn: threading.Lock) -> bool:
        with self._guard:
            if turn not in self._queue:
                return False  # it came just now, and is ours to use or to pass on
            self._queue.remove(turn)
            return True

    def _leave_queue(self) -> None:
        with self._guard:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._held = False

    def _lock_file(self, wait: float) -> None:
        while True:
            if self._descriptor < 0:
                self._descriptor = self._open()
                if self._descriptor < 0:
                    return
            if not self._try_file():
                self._wait_for_file(wait)
            if os.fstat(self._descriptor).st_nlink:
                return
            self._drop_file()  # somebody removed it: newcomers queue at another file

    def _try_file(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise CatalogUnavailableError(
                f"Cannot lock {self.path}: {error.strerror}", hint="Put the store on a local disk"
            ) from error
        return True

    def _wait_for_file(self, wait: float) -> None:
        # A blocking flock has no timeout and polling is not fair, so a thread of ours blocks in the
        # kernel's queue. When time runs out it keeps its descriptor and frees the lock by itself.
        if self._waiter is None:
            try:
                self._waiter = _Waiter(self._descriptor)
            except RuntimeError:  # the interpreter ends, and starts no more threads
                self._poll(wait)
                return
        try:
            came = self._waiter.wait(wait)
        except BaseException:
            self._drop_waiter()
            raise
        if not came:
            self._drop_waiter()
            raise self._late(wait)

    def _poll(self, wait: float) -> None:
        deadline = time.monotonic() + wait
        while not self._try_file():
            if time.monotonic() > deadline:
                raise self._late(wait)
            time.sleep(0.001)

    def _drop_waiter(self) -> None:
        if self._waiter is not None and self._waiter.has_left:
            self._waiter = None
            self._descriptor = -1
        else:  # it got the lock at the last moment
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _open(self) -> int:
        assert self.path is not None
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return self._open_read_only()
            raise CatalogUnavailableError(
                f"Cannot open the lock file {self.path}: {error.strerror}",
                hint="Check that the folder exists and can be written",
            ) from error

    def _open_read_only(self) -> int:
        assert self.path is not None
        try:
            return os.open(self.path, os.O_RDONLY)
        except OSError as error:
            if not os.access(self.path.with_suffix(""), os.W_OK):
                return -1  # nobody can write there, so nothing needs the lock
            raise CatalogUnavailableError(
                f"Cannot open the lock file {self.path}: {error.strerror}",
                hint="Give this user the permissions that the catalog file has",
            ) from error

    def _late(self, wait: float) -> CatalogUnavailableError:
        return CatalogUnavailableError(
            f"Another writer has held {self.path or 'the in-memory catalog'} for {wait:g} s",
            hint="Look for a stuck process that has this file open, then try again",
        )

    def close(self) -> None:
        """Give back the descriptor; the lock may be used again."""
        with self._guard:
            if not self._held and not self._queue:
                self._drop_file()

    def _drop_file(self) -> None:
        if self._waiter is not None:
            self._waiter.end()
            self._waiter = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def forget(self) -> None:
        """Start afresh in a forked child.

        The child shares the parent's open file, and with it the lock: as long as the child keeps
        the descriptor, a killed parent's lock would stay.
        """
        descriptor = self._descriptor
        self._reset()
        if descriptor >= 0:
            os.close(descriptor)


class _Waiter:
    """A thread that blocks in flock for others."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._asked = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._guard = threading.Lock()
        self.has_left = False
        self._ended = False
        threading.Thread(target=self._serve, name="flowblob-lock", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        came = False
        self._asked.release()
        try:
            came = self._done.acquire(timeout=seconds)
        finally:
            if not came:
                with self._guard:
                    self.has_left = not self._done.acquire(blocking=False)
        return came or not self.has_left

    def end(self) -> None:
        self._ended = True
        self._asked.release()

    def _serve(self) -> None:
        while True:
            self._asked.acquire()
            if self._ended:
                return
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            with self._guard:
                if self.has_left:
                    # Unlocked first: a process forked meanwhile may have the same file open.
                    fcntl.flock(self.descriptor, fcntl.LOCK_UN)
                    os.close(self.descriptor)
                    return
                self._done.release()


def _forget_all() -> None:
    for lock in list(_locks):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
