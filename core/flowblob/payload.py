"""One pass over the bytes: spool and hash on the way in, verify on the way out.

Why a thread beside the writer: sha256, write and fsync overlapped reach the speed of sha256 alone,
where one after the other they reach half of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import queue
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from flowblob.drafts import Spooled
from flowblob.errors import InvalidInputError, PayloadCorruptError, StorageUnavailableError

if TYPE_CHECKING:
    from flowblob.abc import Storage

BLOCK = 1 << 20
#: Payloads up to this size stay in memory while they are spooled.
MEMORY = 1 << 20
#: Window in which a mapping is hashed: a whole mapping would count into the resident size.
WINDOW = 1 << 24
COPY_WINDOW = 8 << 20
_HUGE = 4 << 20

Progress = Callable[[int], None]


def xxh3(data: Any = b"") -> Any:
    """Return an xxh3-128 hasher; the checksum that every read is verified by."""
    import xxhash  # loaded at first use: `import flowblob` loads no third-party module

    return xxhash.xxh3_128(data)


class Spool:
    """A payload on its way in: written once, hashed once, in memory while it is small.

    Use it as a context manager; leaving it removes the temporary file.
    """

    def __init__(
        self, storage: Storage, *, progress: Progress | None = None, memory: int = MEMORY
    ) -> None:
        self._storage = storage
        self._progress = progress
        self._memory = memory
        self._pending = bytearray()
        self._size = 0
        self._file: _HashedFile | None = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._pending.clear()
        if self._file is not None:
            self._file.close()

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._size

    def write(self, data: Any, /) -> int:
        """Take any bytes-like object; a large one is not copied and must not change meanwhile."""
        view = memoryview(data)
        if view.format != "B" or view.ndim != 1 or not view.c_contiguous:
            view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        length = len(view)
        self._size += length
        if length < BLOCK // 4 or self._size <= self._memory:
            self._pending += view
            if len(self._pending) >= BLOCK and self._size > self._memory:
                self._flush()
        else:
            self._flush()
            self._open().write(view)
        if self._progress is not None:
            self._progress(length)
        return length

    def copy(self, source: BinaryIO) -> None:
        """Take a stream to its end, in constant memory.

        Raises:
            InvalidInputError: It gives text, or nothing for now instead of blocking.
        """
        while block := _bytes_of(source.read(BLOCK)):
            self.write(block)

    def copy_file(self, path: Path) -> None:
        """Take a whole file: the kernel copies, the copy is hashed.

        Raises:
            InvalidInputError: It is no readable file, or changed while it was read.
        """
        try:
            with path.open("rb", buffering=0) as source:
                before = os.fstat(source.fileno())
                self._copy_descriptor(source, before.st_size)
                after = os.fstat(source.fileno())
        except OSError as error:  # of the source: those of the spool are translated already
            raise InvalidInputError(f"Cannot read {path}: {error.strerror or error}") from error
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise InvalidInputError(
                f"{path} changed while it was read", hint="Store it again when nobody writes to it"
            )

    def _copy_descriptor(self, source: Any, size: int) -> None:
        if size <= self._memory:
            self.copy(source)
            return
        self._flush()
        target = self._open()
        done = 0
        while count := target.pull(source.fileno(), COPY_WINDOW):
            done += count
            self._size += count
            if self._progress is not None:
                self._progress(count)
        if done < size:
            self.copy(source)  # a file system without copy_file_range

    def finish(self) -> Spooled:
        """Return the digests and where the bytes are; a file is synced when this returns."""
        if self._file is None and self._size <= self._memory:
            data = bytes(self._pending)
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            return Spooled(digest, xxh3(data).hexdigest(), len(data), data=data)
        self._flush()
        target = self._open()
        digest, checksum = target.finish()
        return Spooled(digest, checksum, self._size, path=target.path)

    def _flush(self) -> None:
        if self._pending:
            block, self._pending = self._pending, bytearray()
            self._open().write(memoryview(block))

    def _open(self) -> _HashedFile:
        if self._file is None:
            self._file = _HashedFile(self._storage)
        return self._file


def _bytes_of(block: object) -> bytes:
    # The stream may reuse its buffer; the hashing thread must see these bytes.
    if isinstance(block, bytes | bytearray | memoryview):
        return bytes(block)
    # None means "nothing yet" on a stream that does not block: the end would be taken too early.
    given = "nothing yet" if block is None else f"a {type(block).__name__}"
    raise InvalidInputError(
        f"The stream gave {given}, not bytes", hint="Open it in binary and blocking mode"
    )


class _HashedFile:
    """A temporary file whose bytes are hashed by a thread while they are written."""

    def __init__(self, storage: Storage) -> None:
        self.path = storage.spool_folder() / uuid.uuid4().hex
        try:
            self._descriptor = os.open(
                self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise _storage_error(error, storage.url) from error
        self._position = 0
        self._sha256 = hashlib.sha256()
        self._xxh3 = xxh3()
        self._failure: BaseException | None = None
        self._is_pulled = False
        # Bounded, so that a fast producer of small writes does not fill the memory. One large value
        # is one item however long: writing must run ahead of hashing, or the sync at the end finds
        # all of it still to do.
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=64)
        self._thread = threading.Thread(target=self._hash, name="flowblob-hash", daemon=True)
        self._thread.start()

    def write(self, view: memoryview) -> None:
        self._queue.put(view)
        written = 0
        try:
            while written < len(view):
                block = view[written : written + BLOCK]
                count = os.write(self._descriptor, block)
                if not self._is_pulled:  # here, since the other thread is the slower one
                    self._xxh3.update(block[:count])
                written += count
        except OSError as error:
            raise _storage_error(error, str(self.path.parent)) from error
        self._position += written

    def pull(self, source: int, length: int) -> int:
        """Copy up to `length` bytes inside the kernel; the copy is what gets hashed."""
        if not hasattr(os, "copy_file_range"):
            return 0
        try:
            count = os.copy_file_range(source, self._descriptor, length)
        except OSError as error:
            if error.errno in _NO_KERNEL_COPY:
                return 0
            raise _storage_error(error, str(self.path.parent)) from error
        if count:
            self._is_pulled = True
            self._queue.put((self._position, count))
            self._position += count
        return count

    def finish(self) -> tuple[str, str]:
        self._queue.put(None)
        try:
            # Synced here, while the hashing thread is still at work: the wait costs nothing then.
            os.fsync(self._descriptor)
        except OSError as error:
            # Never sync the same file again: the kernel may have dropped the dirty pages.
            raise _storage_error(error, str(self.path.parent)) from error
        self._thread.join()
        os.close(self._descriptor)
        self._descriptor = -1
        if self._failure is not None:
            raise StorageUnavailableError(
                f"Could not read back {self.path}: {self._failure}"
            ) from self._failure
        return "sha256:" + self._sha256.hexdigest(), self._xxh3.hexdigest()

    def close(self) -> None:
        """End the thread and remove the file."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        # The put is decided; a file that stays goes once this process is over.
        with contextlib.suppress(OSError):
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self.path.unlink(missing_ok=True)

    def _hash(self) -> None:
        buffer = memoryview(bytearray(BLOCK))
        is_pulled = False
        while (block := self._queue.get()) is not None:
            if self._failure is not None:
                continue
            try:
                if isinstance(block, tuple):
                    is_pulled = True
                    self._hash_range(buffer, *block)
                else:
                    self._sha256.update(block)
                    if is_pulled:  # what was pulled before comes first
                        self._xxh3.update(block)
            except Exception as error:  # noqa: BLE001 - the writing thread raises it
                self._failure = error

    def _hash_range(self, buffer: memoryview, start: int, length: int) -> None:
        end = start + length
        while start < end:
            count = os.preadv(self._descriptor, [buffer[: min(BLOCK, end - start)]], start)
            if not count:
                raise OSError("the copy is shorter than what was copied")
            self._xxh3.update(buffer[:count])
            self._sha256.update(buffer[:count])
            start += count


_NO_KERNEL_COPY = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}


def _storage_error(error: OSError, where: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"Cannot write to {where}: {error.strerror or error}",
        hint="Nothing was stored; free space or fix the permissions, then put again",
    )


# ------------------------------------------------------------------ the way out


class Verifier:
    """Checks payloads before any byte is given out; a local file once per process and change.

    A file counts as unchanged while device, inode, size, mtime and ctime are the same.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[int, int, int, str]] = {}

    def check_bytes(self, data: Any, checksum: str, size: int, what: str) -> None:
        """Verify bytes in memory.

        Raises:
            PayloadCorruptError: They are not those that were written.
        """
        if len(data) != size or xxh3(data).hexdigest() != checksum:
            raise corrupt(what)

    def check_file(self, descriptor: int, checksum: str, size: int, what: str) -> None:
        """Verify an open file, unless this process did so since it last changed.

        Raises:
            PayloadCorruptError: It is not what was written.
        """
        stat = os.fstat(descriptor)
        mark = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, checksum)
        place = (stat.st_dev, stat.st_ino)
        if self._seen.get(place) == mark:
            return
        if stat.st_size != size or checksum_of(descriptor, size) != checksum:
            raise corrupt(what)
        if len(self._seen) > 100_000:
            self._seen.clear()
        self._seen[place] = mark


def corrupt(what: str) -> PayloadCorruptError:
    """Return the error for bytes that are not those that were written."""
    return PayloadCorruptError(
        f"The payload of {what} is damaged: its checksum does not match",
        hint="Store the value again to heal it; 'flowblob repair' looks for another copy",
    )


def checksum_of(descriptor: int, size: int) -> str:
    """Return the xxh3-128 of an open file in hex, in constant memory."""
    hasher = xxh3()
    if size <= WINDOW:
        hasher.update(os.pread(descriptor, size, 0))
        return str(hasher.hexdigest())
    for start in range(0, size, WINDOW):
        length = min(WINDOW, size - start)
        with mmap.mmap(
            descriptor, length, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ, offset=start
        ) as window:
            hasher.update(window)
    return str(hasher.hexdigest())


def map_file(descriptor: int, size: int) -> memoryview:
    """Return a private, writable view of a whole file; writing to it never reaches the file."""
    if not size:
        return memoryview(bytearray())
    return memoryview(
        mmap.mmap(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    )


def allocate(size: int) -> memoryview:
    """Return a writable buffer; a large one on large pages, which halves what filling it costs."""
    if size < _HUGE:
        return memoryview(bytearray(size))
    # Private: a shared one would be shared with forked children, and has no large pages.
    made = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            made.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(made)
