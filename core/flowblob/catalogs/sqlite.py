"""The catalog in one SQLite file, on a local disk, shared by all processes of a machine."""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from flowblob.catalogs import migrations, sqlite_file
from flowblob.catalogs.clock import Clock
from flowblob.catalogs.lock import WAIT_SECONDS, WriteLock
from flowblob.catalogs.pool import MemoryPool, Pool, Reader, close_for_good
from flowblob.catalogs.sql import Connection, Dialect, Row, SqlCatalog
from flowblob.ownership import is_private

P = ParamSpec("P")
T = TypeVar("T")


class SqliteCatalog(SqlCatalog):
    """Records in SQLite, in WAL mode.

    Whatever is acknowledged is synced. Every write transaction and checkpoint of every connection
    runs under an flock beside the file. Opening is left to the first use.

    Args:
        path: The catalog file; its folder is made where it is absent.
        clock: Another clock, for tests.
        wait: Seconds after which a writer gives up waiting for others.
    """

    dialect: ClassVar[Dialect] = Dialect(
        name="sqlite",
        json_array="json_array({})",
        json_object="json_group_object(t.name, json(t.value))",
        text_list="group_concat(a.name, '/')",
    )

    def __init__(
        self, path: Path, *, clock: Clock | None = None, wait: float = WAIT_SECONDS
    ) -> None:
        self._setup(Path(os.path.abspath(path)), clock, wait)

    @classmethod
    def memory(cls, *, clock: Clock | None = None) -> SqliteCatalog:
        """Return a catalog that lives as long as this object, in this process."""
        catalog = cls.__new__(cls)
        catalog._setup(None, clock, WAIT_SECONDS)
        return catalog

    def _setup(self, path: Path | None, clock: Clock | None, wait: float) -> None:
        self.path = path
        self._clock = clock or Clock()
        self._wait = wait
        self._store_id = ""
        lock_path = None if path is None else path.with_name(path.name + ".lock")
        self._lock = WriteLock(lock_path, wait=wait)
        if path is None:
            self._pool: Pool = MemoryPool(lambda _: sqlite_file.connect_memory(), self._lock)
        else:
            self._pool = Pool(partial(sqlite_file.connect, path, wait), self._lock)
        # Not a method of this object, or it would never be collected.
        self._end = weakref.finalize(self, close_for_good, self._pool)

    def __reduce__(self) -> tuple[object, ...]:
        if self.path is None:
            raise TypeError("An in-memory catalog cannot leave its process")
        return (SqliteCatalog, (self.path,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        return "memory://" if self.path is None else f"sqlite://{self.path.as_posix()}"

    @property
    def store_id(self) -> str:
        if not self._store_id:
            self._open()
        return self._store_id

    @property
    def is_shared(self) -> bool:
        if self.path is None:
            return False
        # SQLite gives its journals the mode of the file.
        return not is_private(self.path.parent, self.path)

    def close(self) -> None:
        self._pool.close()

    # the engine -----------------------------------------------------

    def _open(self) -> None:
        # Two threads may both do this; it is idempotent, and a lock would not survive a fork.
        with sqlite_file.translated(self.path):
            if self.path is not None:
                sqlite_file.prepare(self.path)
            self._store_id = sqlite_file.open_store(self._pool, self._lock, self._clock, self.path)

    def migrate(self, *, dry_run: bool = False) -> list[str]:
        if dry_run and self.path is not None and not self.path.exists():
            steps = list(range(1, migrations.latest(sqlite_file.ENGINE) + 1))
        else:
            steps = self._migrate(dry_run)
        return [migrations.name_of(sqlite_file.ENGINE, number) for number in steps]

    def _migrate(self, dry_run: bool) -> list[int]:
        with sqlite_file.translated(self.path):
            if self.path is not None:
                sqlite_file.prepare(self.path)
            with self._lock:
                connection = self._pool.writer(durable=True)
                if dry_run:
                    return sqlite_file.missing_steps(connection, self.path)
                return sqlite_file.migrate(connection, self._clock, self.path)

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        if not self._store_id:
            self._open()
        pool = self._pool
        epoch = pool.epoch
        try:
            connection = pool.take()
            try:
                return connection.execute(sql, parameters).fetchall()
            finally:
                pool.give(connection, epoch)
        except sqlite_file.REFUSALS as error:
            raise sqlite_file.translate(error, self.path) from error

    def _look_up(
        self, sql: str, parameters: tuple[Any, ...], decode: Callable[[Row], T]
    ) -> T | None:
        if self.path is None:  # its reader is its writer, which does not see its own commits
            return super()._look_up(sql, parameters, decode)
        if not self._store_id:
            self._open()
        pool = self._pool
        epoch = pool.epoch
        try:
            connection = pool.take()
            try:
                return connection.look_up(sql, parameters, decode)
            finally:
                pool.give(connection, epoch)
        except sqlite_file.REFUSALS as error:
            raise sqlite_file.translate(error, self.path) from error

    def _read(self, step: Callable[[Connection], T]) -> T:
        if not self._store_id:
            self._open()
        pool = self._pool
        epoch = pool.epoch
        with sqlite_file.translated(self.path):
            connection = pool.take()
            try:
                return step(connection)
            finally:
                pool.give(connection, epoch)

    def _write(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return self._transact(True, lambda connection: step(connection, *args, **kwargs))

    def _write_relaxed(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return self._transact(False, lambda connection: step(connection, *args, **kwargs))

    def _write_counts(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        # On the connection that reads: to it, its own commit is no change, so that it keeps its
        # pages and what it remembers. Else the first hit after every batch would take 0.3 ms more.
        if self.path is None:
            return self._write_relaxed(step, *args, **kwargs)
        if not self._store_id:
            self._open()
        pool, epoch, reader = self._pool, self._pool.epoch, None
        with sqlite_file.translated(self.path):
            try:
                with self._lock:
                    reader = pool.take()  # under the lock: who forks holds it and awaits readers
                    return _transact(reader, lambda connection: step(connection, *args, **kwargs))
            finally:
                if reader is not None:
                    pool.give(reader, epoch)

    def _transact(self, durable: bool, step: Callable[[Connection], T]) -> T:
        if not self._store_id:
            self._open()
        with sqlite_file.translated(self.path), self._lock:
            return _transact(self._pool.writer(durable), step)

    def _insert(self, connection: Connection, sql: str, parameters: Sequence[Any]) -> int:
        # RETURNING would need SQLite 3.35, which long-term distributions do not have yet.
        return int(connection.execute(sql, parameters).lastrowid)

    def _serialize(self, connection: Connection, *names: str) -> None:
        """Do nothing: the write lock already serialises everything."""

    def _now(self, connection: Connection) -> int:
        return self._clock.wall()

    def _ticks(self, connection: Connection) -> tuple[str, int]:
        return self._clock.boot, self._clock.ticks()

    # upkeep ---------------------------------------------------------

    def _check_engine(self) -> list[str]:
        problems = [text for (text,) in self._query("PRAGMA integrity_check") if text != "ok"]
        found = self._query("PRAGMA foreign_key_check")
        return problems + [f"a row of {table} refers to nothing: {row}" for table, row, *_ in found]

    def facts(self) -> dict[str, Any]:
        return {
            "engine": "sqlite",
            "engine_version": sqlite3.sqlite_version,
            "store_id": self.store_id,
            "counts": self._counts(),
            **self._read(partial(sqlite_file.facts, self.path, self._pool.writer(durable=True))),
        }


def _transact(connection: Reader, step: Callable[[Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = step(connection)
    except BaseException:
        sqlite_file.roll_back(connection)
        raise
    sqlite_file.commit(connection)
    return result
