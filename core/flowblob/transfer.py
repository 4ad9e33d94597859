"""Payloads to files and folders of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flowblob.errors import InvalidInputError
from flowblob.payload import Progress
from flowblob.serializers.checkouts import read_manifest, restore
from flowblob.serializers.manifests import parse

if TYPE_CHECKING:
    from flowblob.model import Blob
    from flowblob.reader import PayloadReader


def download(blob: Blob, reader: PayloadReader, target: Path, progress: Progress | None) -> Path:
    """Write a payload to a file, or restore a stored folder; see `Store.download`."""
    if blob.serializer == "tree":
        return _restore(reader, target, progress)
    if target.is_dir():
        target = target / safe_name(blob)
    if not target.parent.is_dir():
        raise InvalidInputError(f"There is no folder {target.parent}", hint="Make it first")
    reader.copy_to(target, progress=progress)
    return target


def safe_name(blob: Blob) -> str:
    """Return a file name for a blob that cannot lead anywhere else than into its folder."""
    name = Path(blob.filename or blob.key.rpartition("/")[2]).name
    return name if name not in ("", ".", "..") and "\x00" not in name else "payload"


def _restore(reader: PayloadReader, target: Path, progress: Progress | None) -> Path:
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        target.rmdir()  # an empty folder may be the target; a full one is refused
    restore(parse(read_manifest(reader)), reader, target, progress=progress)
    return target
