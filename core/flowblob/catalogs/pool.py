"""Connections to one SQLite file: a stack of readers, and a writer for each level of durability."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from flowblob.errors import CatalogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowblob.catalogs.lock import WriteLock

T = TypeVar("T")
Question = tuple[str, tuple[Any, ...]]

#: How many look-ups a connection remembers, and the largest row.
REMEMBERED, REMEMBERED_BYTES = 512, 8192

#: How long a fork waits for statements of other threads to end.
FORK_WAIT_SECONDS = 5.0

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_leaked: list[object] = []


class Reader(sqlite3.Connection):
    """A connection that remembers repeated look-ups until anybody commits.

    `PRAGMA data_version` changes when another connection, of any process, has committed
    (https://www.sqlite.org/pragma.html#pragma_data_version), and a reader never commits itself.
    Asking for it costs a fifth of a look-up over seven tables.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Whether it must be closed after each use, because nobody tells it of changes.
        self.is_passing = False
        self._version: int | None = None
        self._asked: set[Question] = set()
        self._known: dict[Question, Any] = {}

    def look_up(
        self, sql: str, parameters: tuple[Any, ...], decode: Callable[[tuple[Any, ...]], T]
    ) -> T | None:
        """Return what the one row of a look-up says, or None; others are given the same object."""
        question = (sql, parameters)
        if question not in self._asked:  # the first time, so it may well be the only time
            if len(self._asked) >= REMEMBERED:
                self._asked.clear()
                self._known.clear()
            self._asked.add(question)
            row = self.execute(sql, parameters).fetchone()
            return None if row is None else decode(row)
        # Before the row: what is committed in between then counts as a change.
        version = self.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._known.clear()
        elif question in self._known:
            known: T | None = self._known[question]
            return known
        row = self.execute(sql, parameters).fetchone()
        answer = None if row is None else decode(row)
        if row is None or _length(row) <= REMEMBERED_BYTES:
            self._known[question] = answer
        return answer


def _length(row: tuple[Any, ...]) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))


class Pool:
    """Open connections of one process; each is used by one thread at a time.

    Closing happens under the write lock, because the last close of a file checkpoints it.

    Args:
        connect: Opens a connection, given whether it must sync at every commit.
        lock: The lock around writes and checkpoints.
    """

    def __init__(self, connect: Callable[[bool], Reader], lock: WriteLock) -> None:
        self._connect = connect
        self._lock = lock
        self.epoch = 0
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._mutex = threading.Lock()
        self._gate = threading.Condition(self._mutex)
        self._is_forking = False
        self._reading = 0
        self._readers: list[Reader] = []
        self._writers: dict[bool, Reader] = {}
        self._all: set[Reader] = set()

    def take(self) -> Reader:
        """Return a connection to read with; the last one used, because its cache is warm."""
        with self._mutex:
            while self._is_forking:
                self._gate.wait()
            self._reading += 1
            if self._readers:
                return self._readers.pop()
        try:
            return self._new(durable=False)  # what it writes itself are counts, see `_write_counts`
        except BaseException:
            self._count_out()
            raise

    def give(self, connection: Reader, epoch: int) -> None:
        """Put a reader back, or close it if the pool was closed meanwhile."""
        with self._mutex:
            if self._is_forking or (epoch == self.epoch and not connection.is_passing):
                self._readers.append(connection)  # who forks closes all of them
                self._reading -= 1
                if self._is_forking:
                    self._gate.notify_all()
                return
        try:
            with self._lock:
                self._close(connection)
        finally:
            self._count_out()

    def _count_out(self) -> None:
        with self._gate:
            self._reading -= 1
            self._gate.notify_all()

    def _new(self, *, durable: bool) -> Reader:
        connection = self._connect(durable)
        self._all.add(connection)
        return connection

    def _close(self, connection: Reader) -> None:
        connection.close()
        self._all.discard(connection)

    def writer(self, durable: bool) -> Reader:
        """Return the writer; the caller holds the write lock."""
        found = self._writers.get(durable)
        if found is None:
            found = self._writers[durable] = self._new(durable=durable)
        return found

    def close(self) -> None:
        """Close what is idle; what is in use closes when it comes back."""
        self.epoch += 1
        if self._readers or self._writers:
            with self._lock:
                self._close_idle()
        self._lock.close()

    def _close_idle(self) -> None:
        while self._readers:
            self._close(self._readers.pop())
        while self._writers:
            self._close(self._writers.popitem()[1])

    # forks ----------------------------------------------------------

    def before_fork(self) -> bool:
        """Close all connections; returns whether that worked and `after_fork` must follow.

        SQLite keeps the file locks of a process in its memory. A forked child inherits that memory
        but not the locks, so it would believe that it holds them: it would write into a log that
        others take to be unused, and wait for ever for a writer that only its parent had.
        """
        if not self._all or self._lock.is_mine:
            return False
        try:
            self._lock.acquire(FORK_WAIT_SECONDS)
        except CatalogUnavailableError:
            return False
        with self._gate:
            self._is_forking = True
            if self._gate.wait_for(lambda: self._reading == 0, FORK_WAIT_SECONDS):
                self._close_idle()
        return True

    def after_fork(self) -> None:
        """Let the parent's threads go on; they open connections anew."""
        with self._gate:
            self._is_forking = False
            self._gate.notify_all()
        self._lock.release()

    def forget(self) -> None:
        """Start afresh in a forked child.

        Connections that could not be closed before the fork are dropped without closing them: that
        could checkpoint a log which is not the child's.
        """
        self.epoch += 1
        mine = self._all
        self._reset()
        for connection in mine:
            _leak(connection)


class MemoryPool(Pool):
    """The one connection of an in-memory catalog; a second one would see another database."""

    def take(self) -> Reader:
        self._lock.__enter__()
        return self.writer(durable=True)

    def give(self, connection: Reader, epoch: int) -> None:
        self._lock.__exit__()

    def writer(self, durable: bool) -> Reader:
        return super().writer(durable=True)

    def close(self) -> None:
        """Keep the records: closing the connection would end the database."""

    def end(self) -> None:
        """Close for good."""
        super().close()

    def before_fork(self) -> bool:
        """Wait for whoever uses the connection; it has no file, so the child gets a whole copy."""
        if self._lock.is_mine:
            return False
        with suppress(CatalogUnavailableError):
            self._lock.acquire(FORK_WAIT_SECONDS)
            return True
        return False

    def forget(self) -> None:
        """Keep the copy."""


def _leak(connection: Reader) -> None:
    _leaked.append(connection)
    try:
        import ctypes  # only a forked child pays for it
    except ImportError:  # pragma: no cover
        return
    # The list dies with the interpreter, which would close the connection after all.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


def _before_fork() -> None:
    # In one order, so that two threads that fork do not wait for each other.
    pools = sorted(_pools, key=id)
    _forking.pools = [pool for pool in pools if pool.before_fork()]


def _after_fork_in_parent() -> None:
    for pool in _forking.pools:
        pool.after_fork()
    _forking.pools = []


def _after_fork_in_child() -> None:
    _forking.pools = []
    for pool in list(_pools):
        pool.forget()


_forking = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


def close_for_good(pool: Pool) -> None:
    """End a pool whose catalog is gone, or whose interpreter ends."""
    try:
        if isinstance(pool, MemoryPool):
            pool.end()
        else:
            pool.close()
    except CatalogUnavailableError:
        pool.forget()  # somebody holds the lock for ever; a close without it could checkpoint
