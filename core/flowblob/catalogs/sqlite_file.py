"""The SQLite file itself: opening, making, migrating it, and what its errors mean."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowblob.catalogs import migrations
from flowblob.catalogs.mounts import refuse_network
from flowblob.catalogs.pool import Reader
from flowblob.checks import new_id
from flowblob.errors import (
    CatalogUnavailableError,
    ConflictError,
    FlowblobError,
    InvalidInputError,
    NotSupportedError,
)

if TYPE_CHECKING:
    from flowblob.catalogs.clock import Clock
    from flowblob.catalogs.lock import WriteLock
    from flowblob.catalogs.pool import Pool
    from flowblob.catalogs.sql import Connection

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x466C4231  # "FlB1", so that `file` and a foreign database are told apart
ENGINE = "sqlite"
_STATEMENTS = 512
_OLDEST = (3, 24)  # ON CONFLICT DO UPDATE


def prepare(path: Path) -> None:
    """Make the folder and an empty file that only the user may read; refuse network disks.

    Raises:
        NotSupportedError: SQLite cannot work there, or is too old.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise NotSupportedError(
            f"SQLite {sqlite3.sqlite_version} is too old",
            hint=f"Use a Python built with SQLite {'.'.join(map(str, _OLDEST))} or newer",
        )
    refuse_network(path)
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # SQLite gives its side files the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def connect(path: Path, wait: float, durable: bool) -> Reader:
    """Open a connection that syncs at every commit, or only at checkpoints."""
    try:
        return _connect(str(path), wait=wait, durable=durable)
    except sqlite3.OperationalError as error:
        # Which of the two it is depends on whether the file itself may be written.
        names = ("SQLITE_CANTOPEN", "SQLITE_READONLY")
        if _name_of(error) not in names or not _is_settled(path):
            raise
        # A folder that cannot be written, after a clean close: SQLite may not make the side files
        # of WAL there, and need not, as long as it looks at each state of the file only once.
        connection = _connect(f"{path.as_uri()}?immutable=1", wait=wait, durable=durable)
        connection.is_passing = True
        return connection


def _connect(target: str, *, wait: float = 0, durable: bool = True) -> Reader:
    connection = sqlite3.connect(
        target,
        timeout=wait,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
        uri=target.startswith("file:"),
        factory=Reader,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        # In KiB, filled as pages are read. The default of 2 MB does not hold the upper pages of
        # the indexes of a million versions: each look-up would read them again.
        connection.execute("PRAGMA cache_size = -32768")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _is_settled(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return path.is_file() and not (log.exists() and log.stat().st_size)


def connect_memory() -> Reader:
    """Open a database that lives as long as its connection."""
    return _connect(":memory:")


def open_store(pool: Pool, lock: WriteLock, clock: Clock, path: Path | None) -> str:
    """Return the store's id, making or migrating the schema where it is needed."""
    store_id = _read_store(pool, path)
    if store_id is None:
        with lock:
            migrate(pool.writer(durable=True), clock, path)
        store_id = _read_store(pool, path)
    assert store_id is not None
    return store_id


def _read_store(pool: Pool, path: Path | None) -> str | None:
    epoch = pool.epoch
    connection = pool.take()
    try:
        if missing_steps(connection, path):
            return None
        found = connection.execute("SELECT id FROM store").fetchone()
        if found is None:
            raise CatalogUnavailableError(
                f"{path or 'the in-memory catalog'} has lost the id of its store",
                hint="Restore the catalog from a backup",
                retryable=False,
            )
        return str(found[0])
    finally:
        pool.give(connection, epoch)


def missing_steps(connection: sqlite3.Connection, path: Path | None) -> list[int]:
    """Return the migrations that have not run; all of them for a file that is still empty.

    Raises:
        SchemaVersionError: Newer code made it.
        InvalidInputError: It is the database of another program.
    """
    # In this order: while another process makes the store, each may only be newer than the last.
    used = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    mark = int(connection.execute("PRAGMA application_id").fetchone()[0])
    number = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if used and mark != APPLICATION_ID:
        raise InvalidInputError(
            f"{path} is an SQLite database of another program", hint="Choose another file"
        )
    return migrations.pending(ENGINE, number, path)


def migrate(connection: sqlite3.Connection, clock: Clock, path: Path | None) -> list[int]:
    """Bring the schema up to date in one transaction; the caller holds the write lock.

    What was there before is copied first, since there is no way back to an older flowblob.
    """
    if path is not None:
        connection.execute("PRAGMA journal_mode = WAL")
    steps = missing_steps(connection, path)
    if path is not None and steps and steps[0] > 1:
        _back_up(connection, path, steps[0] - 1)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in steps:
            for statement in _statements(step):
                connection.execute(statement)
            # In the same transaction, so that a process killed here leaves the file as it was.
            connection.execute(f"PRAGMA user_version = {step}")
        if steps[:1] == [1]:
            connection.execute("INSERT INTO store VALUES (1, ?, ?)", (new_id(), clock.wall()))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    if steps and steps[0] > 1:
        logger.info("Migrated %s to schema %d", path, steps[-1])
    return steps


def _back_up(connection: sqlite3.Connection, path: Path, number: int) -> None:
    """Copy the database to a file of its own that names its schema."""
    kept = path.with_name(f"{path.name}.schema-{number}")
    unfinished = kept.with_name(f"{kept.name}.part")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with closing(sqlite3.connect(unfinished)) as copy:
            connection.backup(copy)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(unfinished, kept)
    logger.info("Copied %s to %s before its migration", path, kept)


def commit(connection: sqlite3.Connection) -> None:
    """End the transaction; what fails here has not happened, and will not.

    A change that was written to the log and not synced is undone for all who run now. Yet it lies
    there, whole, and after a crash the next to open the file would find and apply it. So something
    that changes nothing is written in its place.

    Raises:
        CatalogUnavailableError: That failed as well, so nobody knows what a crash would leave.
    """
    try:
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        roll_back(connection)
        if _name_of(error) != "SQLITE_IOERR":
            raise
        try:
            # An UPDATE to the same value would write nothing.
            number = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute(f"PRAGMA user_version = {number}")
        except sqlite3.Error:
            roll_back(connection)
            raise CatalogUnavailableError(
                f"The disk failed while a change was made, so it may be done or not: {error}",
                hint=_HINTS["SQLITE_IOERR"],
                retryable=False,
            ) from error
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what stands open; a full disk or a broken one may have done so already."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # the first error is the one to tell
            connection.execute("ROLLBACK")


def _statements(step: int) -> Iterator[str]:
    statement = ""
    for line in migrations.text_of(ENGINE, step).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def facts(path: Path | None, writer: Connection, connection: Connection) -> dict[str, Any]:
    """Return modes and sizes of the file; how durable it is, only the writer knows."""

    def pragma(name: str, of: Connection = connection) -> Any:
        return of.execute(f"PRAGMA {name}").fetchone()[0]

    found = {
        "schema": pragma("user_version"),
        "journal_mode": pragma("journal_mode"),
        "synchronous": {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}[
            pragma("synchronous", writer)
        ],
        "size": pragma("page_count") * pragma("page_size"),
        "free": pragma("freelist_count") * pragma("page_size"),
    }
    if path is not None:
        log = path.with_name(path.name + "-wal")
        found |= {"path": str(path), "wal_size": log.stat().st_size if log.exists() else 0}
    return found


# ------------------------------------------------------------------ errors

_HINTS = {
    "SQLITE_FULL": "Free space on the disk that holds the store, then try again",
    "SQLITE_READONLY": "The store can only be read: give this user write permission",
    "SQLITE_BUSY": "Another program holds the database; close it, then try again",
    "SQLITE_LOCKED": "Another program holds the database; close it, then try again",
    "SQLITE_IOERR": "Look at the disk: the kernel's log says more",
    "SQLITE_CORRUPT": "Restore the catalog from a backup; `flowblob verify` lists what is wrong",
    "SQLITE_NOTADB": "This file is no SQLite database: restore it from a backup",
    "SQLITE_CANTOPEN": "Check that the folder exists and that this user may write to it",
}
_SHARED = 32 << 10  # what SQLite adds to its `-shm` file at a time
_LASTING = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY", "SQLITE_CANTOPEN")


#: What the driver raises.
REFUSALS = (sqlite3.Error, UnicodeError, OverflowError)


@contextmanager
def translated(path: Path | None) -> Iterator[None]:
    """Turn what the driver and the file system raise into errors of ours."""
    try:
        yield
    except (*REFUSALS, OSError) as error:
        raise translate(error, path) from error


def translate(error: Exception, path: Path | None) -> FlowblobError:
    """Return the error of ours that says what a driver's error means here."""
    where = path or "the in-memory catalog"
    if isinstance(
        error, UnicodeError | OverflowError | sqlite3.InterfaceError | sqlite3.ProgrammingError
    ):
        return InvalidInputError(f"The catalog cannot hold this value: {error}")
    if isinstance(error, OSError):
        return CatalogUnavailableError(
            f"Cannot open {where}: {error.strerror or error}",
            hint=_HINTS["SQLITE_CANTOPEN"],
            retryable=False,
        )
    if isinstance(error, sqlite3.IntegrityError):
        return ConflictError(f"{where} refused a record: {error}", hint="Try again")
    name = _name_of(error)
    if name == "SQLITE_IOERR" and path is not None and _is_full(path):
        name = "SQLITE_FULL"
    return CatalogUnavailableError(
        f"{where}: {error}",
        hint=_HINTS.get(name, "`flowblob doctor` looks at what may be wrong"),
        retryable=name not in _LASTING,
    )


def _is_full(path: Path) -> bool:
    """Say whether the disk has no room even for the memory that readers share."""
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _SHARED


def _name_of(error: Exception) -> str:
    """Return the name of SQLite's primary code, such as SQLITE_FULL."""
    name: str = getattr(error, "sqlite_errorname", "") or ""
    return "_".join(name.split("_")[:2])
