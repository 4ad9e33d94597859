"""Files and folders: bare bytes, and a manifest whose parts are the files.

Links are kept as links, and only those that stay inside; what is neither file, folder nor link is
refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, ClassVar

from flowblob.abc import Reader, Writer
from flowblob.errors import InvalidInputError, SerializationError
from flowblob.files import Dir, File
from flowblob.serializers.checkouts import checkout_file, checkout_tree, read_manifest, walk
from flowblob.serializers.manifests import Entry, encode, link_problem
from flowblob.serializers.plain import ExactSerializer, no_view


class FileSerializer(ExactSerializer):
    """One file: the payload is exactly its bytes; its name stands on the blob."""

    id: ClassVar[str] = "file"
    media_type: ClassVar[str] = "application/octet-stream"
    advice = "Give a flowblob.File, or leave serializer= out"

    def accepts(self, value: Any) -> bool:
        return type(value) is File

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        writer.copy_file(_checked(value.path))

    def view(self, reader: Reader) -> Any:
        return reader.view()

    def load(self, reader: Reader) -> File:
        return checkout_file(reader, reader.filename or "file")


class TreeSerializer(ExactSerializer):
    """A folder: the payload is the manifest, every distinct file an attached payload."""

    id: ClassVar[str] = "tree"
    media_type: ClassVar[str] = "application/x-flowblob-tree+json"
    advice = "Give a flowblob.Dir, or leave serializer= out"

    def accepts(self, value: Any) -> bool:
        return type(value) is Dir

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        writer.write(build(value.path, writer))

    def view(self, reader: Reader) -> Any:
        raise no_view(self)

    def load(self, reader: Reader) -> Dir:
        return checkout_tree(read_manifest(reader), reader, reader.filename or "folder")

    def describe(self, value: Any) -> dict[str, Any]:
        sizes = [info.st_size for _, info in walk(value.path, "") if stat.S_ISREG(info.st_mode)]
        return {**super().describe(value), "files": len(sizes), "bytes": sum(sizes)}


# ------------------------------------------------------------------ building


def _checked(path: Path) -> Path:
    """Return the path of a regular file, or say why it is none; a fifo would block for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidInputError(f"Cannot read {path}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise InvalidInputError(f"{path} is a folder", hint="Store it as flowblob.Dir(path)")
    if not stat.S_ISREG(mode):
        raise InvalidInputError(f"{path} is {_what(mode)}; only files and folders can be stored")
    return path


def _what(mode: int) -> str:
    kinds = {stat.S_ISSOCK: "a socket", stat.S_ISFIFO: "a named pipe", stat.S_ISBLK: "a device"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def attach_file(path: Path, writer: Writer) -> str:
    """Attach a regular file and return its part name."""
    return writer.attach(_checked(path))


def build(root: Path, writer: Writer) -> bytes:
    """Attach every file below `root` and return the manifest.

    Raises:
        InvalidInputError: It cannot be read, or changed while it was read.
        SerializationError: It holds something that cannot be stored, which the message names.
    """
    if not root.is_dir():
        raise InvalidInputError(
            f"{root} is no folder", hint="Store a single file as flowblob.File(path)"
        )
    known: dict[tuple[int, ...], str] = {}
    try:
        entries = [_entry(root, path, info, writer, known) for path, info in walk(root, "")]
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read {error.filename or root}: {error.strerror}"
        ) from error
    return encode(entries)


def _entry(
    root: Path, path: str, info: os.stat_result, writer: Writer, known: dict[tuple[int, ...], str]
) -> Entry:
    full = root / path
    if stat.S_ISDIR(info.st_mode):
        return Entry(path)
    if stat.S_ISLNK(info.st_mode):
        target = os.readlink(full)
        if problem := link_problem(path, target):
            raise SerializationError(
                f"The link {full} -> {target} cannot be stored: {problem}",
                hint="Replace it by what it points to, or remove it",
            )
        return Entry(path, link=target)
    if not stat.S_ISREG(info.st_mode):
        raise SerializationError(
            f"{full} is {_what(info.st_mode)}; only files, folders and links can be stored"
        )
    mark = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
    if mark not in known:  # hard links are read once
        known[mark] = writer.attach(full)
    _unchanged(full, info)
    return Entry(path, known[mark], info.st_size, bool(info.st_mode & stat.S_IXUSR))


def _unchanged(path: Path, before: os.stat_result) -> None:
    after = os.lstat(path)
    if any(
        getattr(before, name) != getattr(after, name)
        for name in ("st_ino", "st_size", "st_mtime_ns", "st_mode")
    ):
        raise InvalidInputError(
            f"{path} changed while it was read", hint="Store it again when nobody writes to it"
        )
