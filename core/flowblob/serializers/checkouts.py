"""Private copies of stored files and folders, and folders made where the user wants them.

Nothing is written through a link, and nothing stands at a target unless it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from flowblob.abc import Reader
from flowblob.errors import (
    AlreadyExistsError,
    PayloadCorruptError,
    PayloadUnsafeError,
    SerializationError,
    StorageUnavailableError,
)
from flowblob.files import Dir, File
from flowblob.serializers.manifests import MAX_MANIFEST, Entry, parents, parse, path_problem

BLOCK = 1 << 20


def safe_name(name: str) -> str:
    """Return a name that is one part of a path and nothing else."""
    if "/" in name or path_problem(name):
        raise PayloadUnsafeError(f"{name!r} is no file name; nothing was written")
    return name


def checkout_file(reader: Reader, name: str) -> File:
    """Return a private copy of a payload as a File of this name."""
    return File(reader.checkout(safe_name(name)))


def read_manifest(reader: Reader) -> bytes:
    """Return the manifest of a stored folder, bounded.

    Raises:
        PayloadUnsafeError: It is too large to be one.
    """
    if reader.size > MAX_MANIFEST:
        raise PayloadUnsafeError(
            f"The manifest has {reader.size:,} bytes, the limit is {MAX_MANIFEST:,}"
        )
    return bytes(reader.view())


def checkout_tree(manifest: bytes, reader: Reader, name: str) -> Dir:
    """Return a private copy of a folder, made anew unless the one that is there is intact."""
    entries = parse(manifest)
    home = reader.folder("tree-" + hashlib.sha256(manifest).hexdigest())
    target = home / safe_name(name)
    while not is_intact(target, entries):
        if os.path.lexists(target):
            # Moved away before it is removed: at no time does a half-removed folder bear the name.
            trash = home / f".{uuid.uuid4().hex}"
            with contextlib.suppress(FileNotFoundError):  # somebody else was quicker
                os.rename(target, trash)
            shutil.rmtree(trash, ignore_errors=True)
        with contextlib.suppress(AlreadyExistsError):  # as above
            restore(entries, reader, target, is_private=True)
    return Dir(target)


def restore(
    entries: list[Entry],
    reader: Reader,
    target: Path,
    *,
    is_private: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Make the folder `target` with everything in it; it appears complete or not at all.

    Args:
        entries: From `parse`, which has refused whatever leads elsewhere.
        reader: Gives the attached payloads.
        target: Where to make it.
        is_private: Whether the files are read-only, for a copy that several readers share.
        progress: Called with numbers of bytes.

    Raises:
        AlreadyExistsError: Something stands at the target.
        StorageUnavailableError: It cannot be written.
    """
    taken = AlreadyExistsError(
        f"{target} exists already", hint="Choose another target, or remove it"
    )
    if os.path.lexists(target):
        raise taken
    fresh = target.with_name(f".flowblob-{uuid.uuid4().hex}")
    try:
        fresh.mkdir(parents=True)
        _check_room(fresh, entries)
        _fill(fresh, entries, reader, is_private, progress)
        os.rename(fresh, target)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) and os.path.lexists(
            target
        ):
            raise taken from error
        raise StorageUnavailableError(
            f"Cannot write {error.filename or target}: {error.strerror or error}",
            hint="Check the folder, space and permissions",
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _check_room(folder: Path, entries: list[Entry]) -> None:
    """Refuse what does not fit before it fills the disk: one payload may stand in many places."""
    needed = sum(entry.size for entry in entries)
    if needed > (free := shutil.disk_usage(folder).free):
        raise StorageUnavailableError(
            f"The folder needs {needed:,} bytes at {folder.parent}, {free:,} are free",
            hint="Choose another target, or free some space",
            retryable=False,
        )


def _fill(
    root: Path,
    entries: list[Entry],
    reader: Reader,
    is_private: bool,
    progress: Callable[[int], None] | None,
) -> None:
    folders = {parent for entry in entries for parent in parents(entry.path)}
    folders |= {entry.path for entry in entries if not entry.part and not entry.link}
    for folder in sorted(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for entry in entries:
        if entry.part:
            mode = 0o777 if entry.is_executable else 0o666
            _copy(
                reader.part(entry.part),
                entry,
                root / entry.path,
                mode & 0o555 if is_private else mode,
                progress,
            )
    # Links last, so that nothing is ever written through one.
    for entry in entries:
        if entry.link:
            os.symlink(entry.link, root / entry.path)


def _copy(
    part: Reader, entry: Entry, path: Path, mode: int, progress: Callable[[int], None] | None
) -> None:
    if part.size != entry.size:
        raise PayloadCorruptError(
            f"{entry.path!r} has {part.size:,} bytes, its manifest says {entry.size:,}",
            hint="Store the folder again",
        )
    descriptor = os.open(
        path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
    )
    with os.fdopen(descriptor, "wb") as out, part.open() as source:
        while block := source.read(BLOCK):
            out.write(block)
            if progress is not None:
                progress(len(block))


#: (device, inode) -> (size, mtime, ctime) and the digest that was computed then.
_digests: dict[tuple[int, int], tuple[tuple[int, int, int], str]] = {}


def is_intact(target: Path, entries: list[Entry]) -> bool:
    """Say whether a folder is exactly what its manifest says, by content."""
    wanted = {entry.path: entry for entry in entries}
    try:
        found = dict(walk(target, ""))
        return found.keys() == wanted.keys() and all(
            _is_entry(target / path, info, wanted[path]) for path, info in found.items()
        )
    except (OSError, SerializationError):
        return False


def _is_entry(path: Path, info: os.stat_result, entry: Entry) -> bool:
    if entry.link:
        return stat.S_ISLNK(info.st_mode) and os.readlink(path) == entry.link
    if not entry.part:
        return stat.S_ISDIR(info.st_mode)
    return (
        stat.S_ISREG(info.st_mode)
        and info.st_size == entry.size
        and bool(info.st_mode & stat.S_IXUSR) == entry.is_executable
        and _digest(path, info) == entry.part
    )


def _digest(path: Path, info: os.stat_result) -> str:
    place, mark = (info.st_dev, info.st_ino), (info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    known = _digests.get(place)
    if known is None or known[0] != mark:
        with path.open("rb") as source:
            known = (mark, "sha256:" + hashlib.file_digest(source, "sha256").hexdigest())
        if len(_digests) > 100_000:
            _digests.clear()
        _digests[place] = known
    return known[1]


def walk(root: Path, below: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what is below, without following links; a folder only if it is empty."""
    pending = [below]
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as found:
            items = [
                (f"{folder}/{item.name}".lstrip("/"), item.stat(follow_symlinks=False))
                for item in found
            ]
        if folder and not items:
            yield folder, os.lstat(root / folder)
        for path, info in items:
            if problem := path_problem(path):
                raise SerializationError(f"{str(root / path)!r} cannot be stored: {problem}")
            if stat.S_ISDIR(info.st_mode):
                pending.append(path)
            else:
                yield path, info
