"""Payloads as files in a folder: written beside, synced, renamed into place, never rewritten."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flowblob.abc import Storage
from flowblob.drafts import Spooled
from flowblob.errors import ConflictError, PayloadMissingError, StorageUnavailableError
from flowblob.ownership import is_private

_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.[0-9a-f-]{32,36}\Z")
_OWNER = "store-id"
_SPOOL = "tmp"


class LocalStorage(Storage):
    """Payload files under one folder.

    The 256 folders are made and synced with the store, so that a put syncs only the file and the
    one folder it is renamed into. A payload file is never rewritten in place: a truncated mapping
    kills the reader.

    Args:
        folder: Where the payloads are; made on first use by `claim`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._spool: tuple[int, Path, int] | None = (
            None  # process, folder, descriptor that holds its lock
        )

    @property
    def url(self) -> str:
        return self._folder.as_uri() if self._folder.is_absolute() else f"file:{self._folder}"

    @property
    def is_shared(self) -> bool:
        return not is_private(self._folder)

    def spool_folder(self) -> Path:
        if self._spool is None or self._spool[0] != os.getpid():
            with self._lock:
                if self._spool is None or self._spool[0] != os.getpid():
                    self._spool = (os.getpid(), *self._make_spool())
        return self._spool[1]

    def _make_spool(self) -> tuple[Path, int]:
        """Make a folder that this process holds a lock on: no lock, nobody alive.

        A forked child makes its own; the descriptor it inherits only keeps the parent's longer.
        """
        folder = self._folder / _SPOOL / uuid.uuid4().hex
        try:
            # Under the shared lock, a collector cannot meet the folder before it is locked itself.
            with _locked(self._folder / _SPOOL, fcntl.LOCK_SH):
                folder.mkdir(mode=0o700)
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
        except OSError as error:
            raise self._unavailable(error) from error
        # What killed puts left is room that this one may need; another sweeper will do as well.
        with contextlib.suppress(OSError):
            self._sweep(fcntl.LOCK_EX | fcntl.LOCK_NB)
        return folder, descriptor

    def sweep_spool(self) -> int:
        try:
            return self._sweep(fcntl.LOCK_EX)
        except OSError as error:
            raise self._unavailable(error) from error

    def _sweep(self, how: int) -> int:
        with _locked(self._folder / _SPOOL, how):
            found = [
                entry.path
                for entry in os.scandir(self._folder / _SPOOL)
                if entry.is_dir(follow_symlinks=False)
            ]
            return sum(map(_remove_if_abandoned, found))

    def close(self) -> None:
        with self._lock:
            if self._spool is not None and self._spool[0] == os.getpid():
                with contextlib.suppress(OSError):  # files of a put still running keep the folder
                    self._spool[1].rmdir()
                os.close(self._spool[2])
            self._spool = None

    def claim(self, store_id: str) -> None:
        marker = self._folder / _OWNER
        try:
            owner = marker.read_text()
        except FileNotFoundError:
            owner = self._create(store_id)
        except OSError as error:
            raise self._unavailable(error) from error
        if owner.strip() != store_id:
            raise ConflictError(
                f"The payloads in {self._folder} are of store {owner.strip()}, not of {store_id}",
                hint="Open the catalog with the storage it was made with",
            )

    def _create(self, store_id: str) -> str:
        """Make the folders, then the marker: a killed creation is continued by the next open."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._folder / _SPOOL).mkdir(exist_ok=True, mode=0o700)
            for number in range(256):
                (self._folder / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
            draft = self.spool_folder() / _OWNER
            with draft.open("w") as out:
                out.write(store_id)
                out.flush()
                os.fsync(out.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, self._folder / _OWNER)  # the first of several creators wins
            draft.unlink()
            _sync_folder(self._folder)
            _sync_folder(self._folder.parent)
            return (self._folder / _OWNER).read_text()
        except OSError as error:
            raise self._unavailable(error) from error

    def write(self, name: str, spooled: Spooled, *, op: str) -> None:
        del op
        target = self._path(name)
        try:
            if not target.parent.is_dir():  # somebody removed it: make it again, durably
                target.parent.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._folder)
            if spooled.path is None or not _link(spooled.path, target):
                self._spill(spooled, target)
            _sync_folder(target.parent)
        except OSError as error:
            raise self._unavailable(error) from error

    def _spill(self, spooled: Spooled, target: Path) -> None:
        """Write bytes from memory, or from a file that cannot be linked, beside the target."""
        path = self.spool_folder() / uuid.uuid4().hex
        try:
            with path.open("xb", buffering=0) as out:
                if spooled.path is not None:
                    with spooled.path.open("rb") as source:
                        shutil.copyfileobj(source, out, 1 << 20)
                view = memoryview(spooled.data or b"")
                while view:
                    view = view[out.write(view) :]
                os.fsync(out.fileno())
            os.rename(path, target)
        finally:
            path.unlink(missing_ok=True)

    def size(self, name: str) -> int | None:
        try:
            return self._path(name).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from error

    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        try:
            with self._path(name).open("rb") as source:
                source.seek(offset)
                return source.read(length)
        except FileNotFoundError as error:
            raise PayloadMissingError(
                f"The payload file {name} is gone from {self._folder}",
                hint="Store the value again to heal it",
            ) from error
        except OSError as error:
            raise self._unavailable(error) from error

    def delete(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(error) from error

    def names(self) -> Iterator[tuple[str, int, datetime]]:
        for number in range(256):
            folder = f"{number:02x}"
            try:
                listing = sorted(os.scandir(self._folder / folder), key=lambda found: found.name)
            except FileNotFoundError:
                continue
            for found in listing:
                name = f"{folder}/{found.name}"
                if _NAME.match(name) and found.is_file(follow_symlinks=False):
                    stat = found.stat(follow_symlinks=False)
                    yield name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)

    def path(self, name: str) -> Path | None:
        return self._path(name)

    def _path(self, name: str) -> Path:
        # Names come from the catalog, but a forged catalog must not reach outside the folder.
        if not _NAME.match(name):
            raise PayloadMissingError(f"{name!r} is no name of a payload")
        return self._folder / name

    def _unavailable(self, error: OSError) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"The payload folder {self._folder} failed: {error.strerror or error}",
            hint="Check space, permissions and that the disk is mounted",
        )


@contextlib.contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> bool:
    """Give a synced file its payload name; it stays in the spool, should it be needed again."""
    try:
        os.link(source, target)
    except FileExistsError:
        # This put wrote it before and was asked again. The name is its own, but what stands there
        # may be less than what the spool holds: the copy is renamed over it.
        return os.path.samefile(source, target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS):
            return False
        raise
    return True


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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
