"""What disks and people do to payload files."""

from __future__ import annotations

from pathlib import Path

from flowblob import Store


def path_of(store: Store, ref: str) -> Path:
    """Return the file of a version's payload."""
    [payload] = store.catalog.payloads(store.resolve(ref).id)
    path = store.storage.path(payload.name)
    assert path is not None
    return path


def flip(path: Path) -> None:
    """Turn one bit of a file."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(99)
        byte = file.read(1)[0]
        file.seek(99)
        file.write(bytes([byte ^ 1]))
