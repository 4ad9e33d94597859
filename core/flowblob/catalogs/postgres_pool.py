"""Connections of one process to one server: bounded in number, and in how long they wait."""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from flowblob.catalogs.postgres_driver import psycopg
from flowblob.catalogs.postgres_errors import LateError, is_passing
from flowblob.catalogs.postgres_text import translate
from flowblob.catalogs.postgres_url import Target
from flowblob.checks import new_id
from flowblob.errors import CatalogUnavailableError
from flowblob.urls import mask

#: Microseconds UTC. `clock_timestamp` and not `now`, which stands still in a transaction.
MICROS = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_LOCK = f"SELECT pg_advisory_xact_lock(k), {MICROS} FROM unnest($1::bigint[]) AS k"

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_leaked: list[object] = []


class _Driver(psycopg.Connection[Any]):
    """A connection that gives up waiting at its deadline.

    `SET LOCAL` bounds what the server does inside a transaction; this bounds everything else: a
    server that hangs, a network that swallows, reads outside of transactions.
    """

    deadline = float("inf")
    process = 0
    #: The driver does not complain of what a pool leaves open when the process ends.
    _pool = None

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return super().wait(_until(self.deadline, gen), *args, **kwargs)


def _until(deadline: float, waiting: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    try:
        state = next(waiting)
        while True:
            ready = yield state
            if not ready and time.monotonic() > deadline:
                raise LateError
            state = waiting.send(ready)
    except StopIteration as end:
        return end.value


class Link:
    """One connection as the statements see it.

    Attributes:
        name: Uuid of the connection, whatever a pooler puts behind it.
        changes: How many changes were begun here, for `postgres_settling`.
        is_committing: Whether a lost connection leaves open what was done.
        moment: The server's clock in this transaction, after its locks; 0 before it was read.
    """

    def __init__(self, target: Target, deadline: float) -> None:
        self._schema = target.schema
        given = dict(target.parameters)
        left = max(1, int(deadline - time.monotonic()))
        given["connect_timeout"] = str(min(left, int(given["connect_timeout"]) or left))
        self.driver = _Driver.connect(
            autocommit=True,
            prepare_threshold=target.prepare,
            cursor_factory=psycopg.RawCursor,
            **given,
        )
        self.driver.process = os.getpid()
        self.name = new_id()
        self.changes = 0
        self.is_committing = False
        self.moment = 0

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run one statement in portable text."""
        return self.driver.execute(translate(sql, self._schema), parameters, binary=True)

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of one statement in PostgreSQL's own text."""
        return self.driver.execute(sql, parameters, binary=True).fetchall()

    def run(self, script: str) -> None:
        """Run statements that return nothing."""
        self.driver.execute(script)

    def begin(self, first: str = "") -> int:
        """Begin a transaction in which every wait of the server ends before our own.

        Args:
            first: Statement that goes along, in PostgreSQL's own text.

        Returns:
            How many rows that has changed.
        """
        left = self.driver.deadline - time.monotonic()
        limit = max(1, int(1000 * max(left - 1, left * 0.8)))
        # A client that vanished without a word must be given up before the next one gives up.
        limits = {
            "lock_timeout": limit,
            "statement_timeout": limit,
            "idle_in_transaction_session_timeout": max(1, limit // 4),
        }
        text = "; ".join(f"SET LOCAL {name} = {value}" for name, value in limits.items())
        self.moment = 0
        done = self.driver.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED; {text}; {first}")
        while done.nextset():
            pass
        return done.rowcount

    def lock(self, numbers: Sequence[int]) -> None:
        """Queue for these locks, in one order everywhere; they end with the transaction."""
        self.moment = self.fetch(_LOCK, [sorted(numbers)])[-1][1]

    def clock(self) -> int:
        """Return the server's clock, as it was after the locks of this transaction."""
        if not self.moment:
            self.moment = self.fetch(f"SELECT {MICROS}")[0][0]
        return self.moment

    def commit(self) -> None:
        """End the transaction; if the connection is lost here, nobody knows how."""
        self.is_committing = True
        self.run("COMMIT")
        self.is_committing = False

    def roll_back(self) -> None:
        """Undo the transaction; the server has done so where the connection is gone."""
        with suppress(psycopg.Error, LateError):
            self.run("ROLLBACK")

    @property
    def is_usable(self) -> bool:
        """Whether the next user may have it."""
        idle = psycopg.pq.TransactionStatus.IDLE
        return self.driver.process == os.getpid() and self.driver.info.transaction_status == idle

    def close(self) -> None:
        """End the connection."""
        self.driver.close()


class Pool:
    """Open connections of one process; each is used by one thread at a time.

    psycopg_pool is not used: it keeps threads, which a fork loses, and it answers a wrong password
    with a timeout.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.epoch = 0
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._turns = threading.Semaphore(self._target.pool)
        self._idle: deque[Link] = deque()
        self._all: set[Link] = set()

    @contextmanager
    def lease(self, deadline: float) -> Iterator[Link]:
        """Give out a connection; the last one used, because its caches are warm.

        Raises:
            CatalogUnavailableError: All have been in use until the deadline.
        """
        turns, epoch = self._turns, self.epoch
        if not turns.acquire(timeout=max(0, deadline - time.monotonic())):
            raise CatalogUnavailableError(
                f"All {self._target.pool} connections of this process to "
                f"{mask(self._target.url)} are in use",
                hint="Try again, or allow more with ?pool=",
            )
        try:
            link = self._take(deadline)
            try:
                yield link
            finally:
                self._give(link, epoch)
        finally:
            turns.release()

    def _take(self, deadline: float) -> Link:
        link = self._find(deadline)
        link.driver.deadline = deadline
        link.is_committing = False
        link.moment = 0
        return link

    def _find(self, deadline: float) -> Link:
        """Return an idle connection or a new one; wait while the server has no room for it."""
        pause = 0.05
        while True:
            with suppress(IndexError):
                return self._idle.pop()
            try:
                link = Link(self._target, deadline)
            except psycopg.OperationalError as error:
                if not is_passing(error) or time.monotonic() + pause > deadline:
                    raise
            else:
                self._all.add(link)
                return link
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(1.0, 2 * pause)

    def _give(self, link: Link, epoch: int) -> None:
        if link.is_usable and epoch == self.epoch:
            self._idle.append(link)
        elif link.driver.process == os.getpid():
            self._close(link)

    def _close(self, link: Link) -> None:
        self._all.discard(link)
        link.close()

    def close(self) -> None:
        """Close what is idle; what is in use closes when it comes back."""
        self.epoch += 1
        with suppress(IndexError):
            while True:
                self._close(self._idle.pop())

    def forget(self) -> None:
        """Start afresh in a forked child, which must not speak or close on its parent's sockets."""
        inherited = self._all
        self.epoch += 1
        self._reset()
        for link in inherited:
            _leaked.append(link)
            with suppress(psycopg.Error, OSError):
                os.close(link.driver.pgconn.socket)  # this process's descriptor alone


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
