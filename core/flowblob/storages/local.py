"""Payloads as files in a folder: written beside, synced, renamed into place, never rewritten."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flowblob.abc import Storage
from flowblob.drafts import Spooled
from flowblob.errors import ConflictError, PayloadMissingError, StorageUnavailableError
from flowblob.ownership import is_private
from flowblob.storages.spools import Spools

_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.[0-9a-f-]{32,36}\Z")
_OWNER = "store-id"
_SPOOL = "tmp"
_DAMAGED = "damaged"


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
        self._spools = Spools(folder / _SPOOL)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self._folder,))

    @property
    def url(self) -> str:
        return self._folder.as_uri() if self._folder.is_absolute() else f"file:{self._folder}"

    @property
    def is_shared(self) -> bool:
        return not is_private(self._folder)

    def spool_folder(self) -> Path:
        try:
            return self._spools.folder()
        except OSError as error:
            raise self._unavailable(error) from error

    def sweep_spool(self) -> int:
        try:
            return self._spools.sweep()
        except OSError as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        self._spools.close()

    def claim(self, store_id: str) -> None:
        marker = self._folder / _OWNER
        try:
            owner = marker.read_text(errors="replace")  # damaged, it is some other store's
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
            draft = self.spool_folder() / uuid.uuid4().hex  # threads may claim at once
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
            # The catalog forgets the name next, and a file that a power cut brings back then would
            # be nobody's. Also where it was gone: a collector may have died before this line.
            _sync_folder(self._path(name).parent)
        except FileNotFoundError:
            return  # no such folder, so no such file
        except OSError as error:
            raise self._unavailable(error) from error

    def set_aside(self, name: str) -> str:
        source, folder = self._path(name), self._folder / _DAMAGED
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            target = folder / source.name
            source.rename(target)
            _sync_folder(folder)
            _sync_folder(source.parent)
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise self._unavailable(error) from error
        return str(target)

    def names(self) -> Iterator[tuple[str, int, datetime]]:
        for number in range(256):
            folder = f"{number:02x}"
            try:
                with os.scandir(self._folder / folder) as entries:
                    listing = sorted(entries, key=lambda found: found.name)
                for found in listing:
                    name = f"{folder}/{found.name}"
                    if _NAME.match(name) and found.is_file(follow_symlinks=False):
                        with contextlib.suppress(FileNotFoundError):  # collected meanwhile
                            stat = found.stat(follow_symlinks=False)
                            yield name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._unavailable(error) from error

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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
