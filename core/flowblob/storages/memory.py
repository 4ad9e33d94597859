"""Payloads in this process's memory, for tests and `memory://`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

from flowblob.abc import Storage
from flowblob.drafts import Spooled
from flowblob.errors import ConflictError, PayloadMissingError


class MemoryStorage(Storage):
    """Payloads that live as long as the process.

    Example:
        >>> MemoryStorage().size("ab/abc.1") is None
        True
    """

    def __init__(self) -> None:
        self._payloads: dict[str, tuple[bytes, datetime]] = {}
        self._store_id = ""
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return "memory://"

    @property
    def is_shared(self) -> bool:
        return False

    def claim(self, store_id: str) -> None:
        with self._lock:
            if self._store_id not in ("", store_id):
                raise ConflictError(
                    f"This storage belongs to store {self._store_id}, not to {store_id}"
                )
            self._store_id = store_id

    def write(self, name: str, spooled: Spooled, *, op: str) -> None:
        del op
        data = spooled.data if spooled.data is not None else _file_bytes(spooled)
        with self._lock:
            self._payloads[name] = (data, datetime.now(UTC))

    def size(self, name: str) -> int | None:
        found = self._payloads.get(name)
        return None if found is None else len(found[0])

    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        found = self._payloads.get(name)
        if found is None:
            raise PayloadMissingError(f"No payload {name} in memory", hint="Store the value again")
        return found[0][offset:] if length < 0 else found[0][offset : offset + length]

    def delete(self, name: str) -> None:
        with self._lock:
            self._payloads.pop(name, None)

    def names(self) -> Iterator[tuple[str, int, datetime]]:
        for name, (data, changed) in list(self._payloads.items()):
            yield name, len(data), changed


def _file_bytes(spooled: Spooled) -> bytes:
    assert spooled.path is not None
    return spooled.path.read_bytes()
