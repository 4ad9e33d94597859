"""Verified bytes for serializers and streams: nothing leaves here unchecked."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from flowblob.abc import Storage
from flowblob.checks import validate_digest
from flowblob.drafts import Payload
from flowblob.errors import (
    FlowblobError,
    InvalidInputError,
    PayloadCorruptError,
    PayloadMissingError,
    PayloadUnsafeError,
    StorageUnavailableError,
)
from flowblob.payload import BLOCK, Progress, Verifier, allocate, corrupt, map_file, xxh3

#: What is asked at once of a storage that has no local files, and the most that stays in memory.
FETCH = 32 << 20

_Parts = Callable[[str], "PayloadReader"]


class PayloadReader:
    """One payload, verified before its first byte is given out.

    Args:
        payload: The catalog's row.
        storage: Where the bytes are, unless they are inline.
        verifier: What this process has verified already.
        what: The reference, for messages.
        filename: Original name of the file, empty if there is none.
        parts: Finds the reader of an attached payload.
        report: Told of a payload that was found missing or damaged.
        is_foreign: Whether others can write where it comes from.
    """

    def __init__(
        self,
        payload: Payload,
        storage: Storage,
        verifier: Verifier,
        *,
        what: str,
        filename: str = "",
        parts: _Parts | None = None,
        report: Callable[[Payload], None] | None = None,
        is_foreign: bool = False,
    ) -> None:
        self._payload = payload
        self._storage = storage
        self._verifier = verifier
        self._what = what
        self._filename = filename
        self._parts = parts
        self._report = report
        self._is_foreign = is_foreign

    @property
    def size(self) -> int:
        return self._payload.size

    @property
    def digest(self) -> str:
        return self._payload.digest

    @property
    def filename(self) -> str:
        return self._filename

    @property
    def is_foreign(self) -> bool:
        return self._is_foreign

    @property
    def is_mapped(self) -> bool:
        return not self._payload.is_inline and self._storage.path(self._payload.name) is not None

    def data(self) -> bytes:
        """Return the whole payload as bytes."""
        payload = self._payload
        if payload.data is None and (descriptor := self._open_file()) is not None:
            try:
                return _read_all(descriptor, payload.size)
            finally:
                os.close(descriptor)
        with _Telling(self):
            found = payload.data
            if found is None:
                # One byte more than there should be: what is longer is damaged as well.
                found = self._storage.read(payload.name, 0, payload.size + 1)
            self._verifier.check_bytes(found, payload.checksum, payload.size, self._what)
        return found

    def sealed(self, digest: str) -> PayloadReader:
        """Return a reader over a copy in memory whose sha256 was compared, and that nobody changes.

        The checksum of every read finds damage; it can be forged, and so can what a file holds
        after it was checked.

        Args:
            digest: `sha256:<hex>` that the version has, and its signature covers.

        Raises:
            PayloadCorruptError: These are other bytes.
        """
        data = self.data()
        if "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            self._tell()
            raise corrupt(self._what)
        sealed = copy(self)
        sealed._payload = replace(self._payload, data=data, is_inline=True)
        return sealed

    def is_sound(self) -> bool:
        """Say whether the stored bytes are there and are those that were written."""
        try:
            descriptor = self._open_file()
        except (PayloadMissingError, PayloadCorruptError, StorageUnavailableError):
            return False
        if descriptor is None:
            return self._storage.size(self._payload.name) == self._payload.stored_size
        os.close(descriptor)
        return True

    def _tell(self) -> None:
        if self._report is not None:
            self._report(self._payload)

    def view(self) -> memoryview:
        payload = self._payload
        if payload.data is None and (descriptor := self._open_file()) is not None:
            try:
                return map_file(descriptor, payload.size)
            finally:
                os.close(descriptor)
        if self._is_small:
            return memoryview(bytearray(self.data()))
        buffer = allocate(payload.size + 1)
        with _Telling(self):
            found = buffer[: self._storage.read_into(payload.name, buffer)]
            self._verifier.check_bytes(found, payload.checksum, payload.size, self._what)
        return found

    def open(self) -> BinaryIO:
        if self._payload.data is None and (descriptor := self._open_file()) is not None:
            return os.fdopen(descriptor, "rb", buffering=BLOCK)
        return io.BytesIO(self.data()) if self._is_small else self._fetch_file()

    @property
    def _is_small(self) -> bool:
        return self._payload.data is not None or self._payload.size <= FETCH

    def _fetch_file(self) -> BinaryIO:
        """Return a large payload in a temporary file without a name, verified."""
        try:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(
                    tempfile.TemporaryFile(dir=self._storage.spool_folder(), buffering=BLOCK)
                )
                for block in self._fetch():
                    file.write(block)
                file.seek(0)
                stack.pop_all()
        except OSError as error:
            raise StorageUnavailableError(
                f"Cannot fetch {self._what} into a temporary file: {error.strerror or error}",
                hint="Free space there, or set TMPDIR to another folder",
            ) from error
        return cast("BinaryIO", file)

    def _fetch(self) -> Iterator[memoryview]:
        """Yield a payload that is in no file, in constant memory; damage is told at the end."""
        payload = self._payload
        if self._is_small:
            yield memoryview(self.data())
            return
        buffer, hasher, done = allocate(FETCH), xxh3(), 0
        with _Telling(self):
            while done <= payload.size:
                count = self._storage.read_into(payload.name, buffer, done)
                hasher.update(buffer[:count])
                done += count
                yield buffer[:count]
                if count < len(buffer):
                    break
            if done != payload.size or hasher.hexdigest() != payload.checksum:
                raise corrupt(self._what)

    def _blocks(self) -> Iterator[bytes | memoryview]:
        if self._payload.data is None and (descriptor := self._open_file()) is not None:
            with os.fdopen(descriptor, "rb", buffering=BLOCK) as source:
                while block := source.read(BLOCK):
                    yield block
        else:
            yield from self._fetch()

    def part(self, name: str) -> PayloadReader:
        if self._parts is None:
            raise PayloadMissingError(f"{self._what} has no attached payload {name!r}")
        return self._parts(name)

    def checkout(self, filename: str) -> Path:
        """Return a verified read-only copy, shared by all readers of these bytes here."""
        if filename in ("", ".", "..") or "/" in filename or "\x00" in filename:
            raise InvalidInputError(f"{filename!r} is no file name")
        try:
            # From the catalog's row; a forged one must not name another folder.
            digest = validate_digest(self._payload.digest)
        except InvalidInputError as error:
            raise PayloadUnsafeError(f"The digest of {self._what} is none") from error
        target = self.folder(digest.removeprefix("sha256:")) / filename
        if not self._is_intact(target):
            self.copy_to(target, mode=0o444)
        return target

    def folder(self, name: str) -> Path:
        """Return the private folder of this name, shared by all processes of this user."""
        made = checkout_folder() / name
        made.mkdir(parents=True, exist_ok=True, mode=0o700)
        return made

    def _is_intact(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            self._verifier.check_file(
                descriptor, self._payload.checksum, self._payload.size, str(path)
            )
        except (PayloadCorruptError, OSError):
            return False  # somebody changed the copy: it is made anew
        finally:
            os.close(descriptor)
        return True

    def copy_to(self, target: Path, *, mode: int = 0o666, progress: Progress | None = None) -> None:
        """Write the payload to `target`, complete or not at all.

        Raises:
            StorageUnavailableError: The target cannot be written.
        """
        try:
            with replacing(target, mode=mode) as out:
                for block in self._blocks():
                    view = memoryview(block)
                    while view:
                        view = view[out.write(view) :]
                    if progress is not None:
                        progress(len(block))
        except OSError as error:
            raise StorageUnavailableError(
                f"Cannot write {target}: {error.strerror or error}",
                hint="Check the folder, space and permissions",
            ) from error

    def _open_file(self) -> int | None:
        """Open and verify the local file of the payload, None where the storage has none."""
        path = self._storage.path(self._payload.name)
        if path is None:
            return None
        descriptor = -1
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._verifier.check_file(
                descriptor, self._payload.checksum, self._payload.size, self._what
            )
        except BaseException as error:
            if descriptor >= 0:
                os.close(descriptor)
            if isinstance(error, FileNotFoundError | PayloadCorruptError):
                self._tell()
            if isinstance(error, OSError):
                raise _unreadable(error, path, self._what) from error
            raise
        return descriptor


class _Telling:
    """Reports damage and names the version; one made by a generator takes 1 us more of a hit."""

    __slots__ = ("_reader",)

    def __init__(self, reader: PayloadReader) -> None:
        self._reader = reader

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, PayloadCorruptError):
            self._reader._tell()
        elif isinstance(error, PayloadMissingError):
            self._reader._tell()
            # A storage knows the payload by its own name only; people know the version.
            what = f"{self._reader._what}: {error.message}"
            raise PayloadMissingError(what, hint=error.hint) from error


def _unreadable(error: OSError, path: Path, what: str) -> FlowblobError:
    if isinstance(error, FileNotFoundError):
        return PayloadMissingError(
            f"The payload of {what} is gone: {path}", hint="Store the value again to heal it"
        )
    return StorageUnavailableError(
        f"Cannot read {path}: {error.strerror or error}",
        hint="Check permissions and that the disk is mounted",
    )


def checkout_folder() -> Path:
    """Return where private copies of stored files are made: in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return root / "flowblob" / "checkout"


@contextlib.contextmanager
def replacing(target: Path, *, mode: int = 0o666) -> Iterator[io.FileIO]:
    """Open a temporary file beside `target` that replaces it on success, and vanishes otherwise."""
    path = target.parent / f".flowblob-{uuid.uuid4().hex}"
    # The process's umask applies, as for any file its user makes.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode | 0o200)
    try:
        with io.FileIO(descriptor, "wb") as out:
            yield out
            if not mode & 0o200:
                os.fchmod(descriptor, mode)
        os.replace(path, target)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.pread(descriptor, size, 0)
    if len(data) == size:
        return data
    blocks = [data]  # one read gives at most 2 GiB
    position = len(data)
    while position < size and (block := os.pread(descriptor, size - position, position)):
        blocks.append(block)
        position += len(block)
    return b"".join(blocks)
