"""Folders for temporary files that vanish with their process: no lock, nobody alive."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from flowblob.errors import StorageUnavailableError

WAIT_SECONDS = 60.0


class Spools:
    """This process's folder for temporary files, among those of other processes.

    A process holds a lock on its folder as long as it lives; a folder without one is removed by
    any other. Safe in threads; a forked child makes a folder of its own.

    Attributes:
        root: Where the folders are; made with the first of them, but not what it is in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._own: tuple[int, Path, int] | None = None  # process, folder, descriptor of its lock

    def folder(self) -> Path:
        """Return this process's folder, made at first use.

        Raises:
            OSError: It cannot be made.
        """
        if self._own is None or self._own[0] != os.getpid():
            with self._lock:
                if self._own is None or self._own[0] != os.getpid():
                    self._own = (os.getpid(), *self._make())
        return self._own[1]

    def _make(self) -> tuple[Path, int]:
        """Make a folder that this process holds a lock on.

        The descriptor that a forked child inherits only keeps the parent's longer.
        """
        folder = self.root / uuid.uuid4().hex
        # Under the shared lock, a collector cannot meet the folder before it is locked itself.
        self.root.mkdir(mode=0o700, exist_ok=True)
        with _locked(self.root, fcntl.LOCK_SH):
            folder.mkdir(mode=0o700)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        # What killed puts left is room that this one may need; another sweeper will do as well.
        with contextlib.suppress(OSError):
            self._sweep(fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folder, descriptor

    def sweep(self) -> int:
        """Remove the files of processes that died; returns how many.

        Raises:
            OSError: A folder cannot be read or removed.
        """
        return self._sweep(fcntl.LOCK_EX) if self.root.exists() else 0

    def _sweep(self, how: int) -> int:
        with _locked(self.root, how):
            found = [
                entry.path for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False)
            ]
            return sum(map(_remove_if_abandoned, found))

    def close(self) -> None:
        """Give the folder back, unless a put is still using it."""
        with self._lock:
            if self._own is not None and self._own[0] == os.getpid():
                with contextlib.suppress(OSError):  # files of a put still running keep the folder
                    self._own[1].rmdir()
                os.close(self._own[2])
            self._own = None


def shared_root() -> Path:
    """Return where storages without a folder of their own spool: in the system's temporary folder.

    Raises:
        StorageUnavailableError: Others could change there what is about to be stored.
    """
    root = Path(tempfile.gettempdir()) / f"flowblob-{os.geteuid()}"
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        facts = root.lstat()
    except OSError as error:
        raise StorageUnavailableError(
            f"Cannot make {root}: {error.strerror or error}",
            hint="Check space and permissions, or set TMPDIR to another folder",
        ) from error
    is_own = facts.st_uid == os.geteuid() and not facts.st_mode & 0o077
    if not (is_own and stat.S_ISDIR(facts.st_mode)):
        raise StorageUnavailableError(
            f"{root} is open to others, who could change what is stored",
            hint="Remove it, or set TMPDIR to a folder of your own",
            retryable=False,
        )
    return root


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, how, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int, folder: Path) -> None:
    """Take a lock that is held for moments; who is frozen with it must not freeze everybody.

    Raises:
        OSError: Another process held it for a minute, or, with LOCK_NB, holds it now.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if how & fcntl.LOCK_NB:
                raise
            if time.monotonic() > deadline:
                raise OSError(
                    errno.EBUSY, f"another process has held {folder} for {WAIT_SECONDS:g} s"
                ) from error
            time.sleep(0.01)
        else:
            return


def _remove_if_abandoned(folder: str) -> int:
    """Remove a spool folder whose process is dead: a living one holds a lock on it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0  # its process has just closed it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        removed = len(os.listdir(folder))
        shutil.rmtree(folder)
    except (BlockingIOError, FileNotFoundError):
        return 0
    finally:
        os.close(descriptor)
    return removed
