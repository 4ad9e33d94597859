"""Paths as inputs: a file counts by its content and its name, a folder by all it holds."""

from __future__ import annotations

import os
import pathlib
import stat
import threading
import time
from collections.abc import Callable
from typing import Any

from flowblob.errors import InvalidInputError
from flowblob.files import Dir, File
from flowblob.keys.canonical import Hashing
from flowblob.keys.hashes import hash_parts, new_hash

_CHUNK = 1 << 20
_RACY_NS = 2_000_000_000  # the coarsest clock of a common file system (FAT) ticks every 2 s
_LIMIT = 10_000

Identity = tuple[int, int, int, int, int]


class FileMemo:
    """Content hashes of files that have not changed since, by device, inode, size and times.

    A file whose mtime is not older than the moment of hashing by more than two seconds is hashed
    again next time: it may have changed twice within one tick of its clock (git's "racy" rule).

    Attributes:
        hashed: How many times a file was read.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._known: dict[Identity, str] = {}
        self._limit = limit
        self.hashed = 0
        self._lock = threading.Lock()

    def digest(self, path: str | os.PathLike[str]) -> str:
        """Return `b3:<hex>` of a file's content.

        Args:
            path: A regular file.
        """
        with open(path, "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            identity = _identity(before)
            known = self._known.get(identity)
            if known is not None:
                return known
            self.hashed += 1
            now = time.time_ns()
            sink = new_hash(b"flowblob file fb1\n")
            buffer = memoryview(bytearray(min(_CHUNK, max(before.st_size, 1))))
            while count := file.readinto(buffer):
                sink.update(buffer[:count])
            digest = "b3:" + str(sink.hexdigest())
            unchanged = _identity(os.fstat(file.fileno())) == identity
        if unchanged and now - before.st_mtime_ns > _RACY_NS:
            with self._lock:
                if len(self._known) >= self._limit:
                    del self._known[next(iter(self._known))]
                self._known[identity] = digest
        return digest


def _identity(found: os.stat_result) -> Identity:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


_memo = FileMemo()


def parts_of(kind: type) -> Callable[[Any, Hashing], tuple[object, ...]] | None:
    """Return the rule for a path type, or None."""
    if issubclass(kind, File | Dir):
        return _content
    if issubclass(kind, pathlib.Path):
        return _path
    if issubclass(kind, pathlib.PurePath):
        return lambda value, hashing: ("pure path", hashing.class_id(kind), str(value))
    return None


def _path(value: pathlib.Path, hashing: Hashing) -> tuple[object, ...]:
    if hashing.in_code:
        return ("path", value.as_posix())
    try:
        return path_parts(value)
    except FileNotFoundError:
        # The name of something that is still to be written: only its text can count.
        return ("absent path", value.as_posix())
    except OSError as error:
        raise _unreadable(value, error) from error


def _content(value: File | Dir, _: Hashing) -> tuple[object, ...]:
    try:
        return (type(value).__name__, *path_parts(value.path))
    except OSError as error:
        raise _unreadable(value.path, error) from error


def _unreadable(path: pathlib.Path, error: OSError) -> InvalidInputError:
    return InvalidInputError(
        f"The path {str(path)!r} cannot be read for the cache key: {error}",
        hint="Make it readable, pass its text instead of a Path, or ignore the argument",
    )


def path_parts(path: pathlib.Path) -> tuple[object, ...]:
    """Return what counts of a file or folder: its name and content, never where it lies.

    The name counts because functions look at suffixes.

    Args:
        path: An existing file or folder.

    Raises:
        OSError: It cannot be read.
        InvalidInputError: It is a device, a socket or a pipe.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return ("file", path.name, _memo.digest(path))
    if stat.S_ISDIR(mode):
        return ("folder", path.name, folder_digest(path))
    raise InvalidInputError(f"The path {str(path)!r} is neither a file nor a folder")


def folder_digest(path: pathlib.Path) -> str:
    """Return the digest of a folder: every relative name with its content, in sorted order.

    Args:
        path: A folder. Symbolic links count by what they point to; a way back counts as text.
    """
    lines: list[str] = []
    _walk(path, "", (os.path.realpath(path),), lines)
    return hash_parts("folder", *lines)


def _walk(folder: pathlib.Path, prefix: str, above: tuple[str, ...], lines: list[str]) -> None:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir():
            real = os.path.realpath(entry.path)
            if real in above:
                lines += (name, "loop", str(above.index(real)))
            else:
                lines += (name, "folder", "")
                _walk(pathlib.Path(entry.path), name + "/", (*above, real), lines)
        elif entry.is_file():
            lines += (name, "file", _memo.digest(entry.path))
        elif entry.is_symlink():
            lines += (name, "link", os.readlink(entry.path))
        else:
            raise InvalidInputError(f"{entry.path!r} is neither a file nor a folder")
