"""The contract of what keeps payload bytes."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from flowblob.drafts import Spooled


class Storage(ABC):
    """Payload bytes under names that are never used twice.

    Every method may be called from any thread and process. A write is atomic (readers see nothing
    or everything), durable at return, and idempotent. A storage pickles by its place, without
    connections; one that cannot leave its process refuses with TypeError. `flowblob.testing` has a
    test for each rule.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the bytes are, with every secret masked."""

    @property
    def is_shared(self) -> bool:
        """Whether somebody other than this user could have written the bytes.

        Those of a pickle are then compared with their sha256 before it is loaded: the checksum of
        every read finds damage, and not an attacker.
        """
        return True

    def spool_folder(self) -> Path:
        """Return this process's folder for temporary files, from which `write` takes payloads."""
        return Path(tempfile.gettempdir())

    def sweep_spool(self) -> int:
        """Remove the temporary files of processes that died; returns how many."""
        return 0

    @abstractmethod
    def claim(self, store_id: str) -> None:
        """Bind this storage to a catalog, once; of several who come together exactly one wins.

        Raises:
            ConflictError: It belongs to another catalog.
        """

    @abstractmethod
    def write(self, name: str, spooled: Spooled, *, op: str) -> None:
        """Keep the spooled bytes under `name`, complete and durable at return.

        Args:
            name: Physical name from the catalog.
            spooled: The bytes; a temporary file stays the caller's, who may write it again.
            op: Uuid of the put, by which an ambiguous reply is settled.

        Raises:
            StorageUnavailableError: Not written, or unknown after all retries.
        """

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return the stored length in bytes, None if there is nothing."""

    @abstractmethod
    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        """Return a range of the bytes, to the end if `length` is negative.

        Raises:
            PayloadMissingError: Nothing stands under this name.
        """

    def read_into(self, name: str, buffer: memoryview, offset: int = 0) -> int:
        """Fill a buffer with the bytes from `offset` on; return how many, less only at the end.

        Large payloads are read by this; a storage across a network fetches ranges side by side.

        Raises:
            PayloadMissingError: Nothing stands under this name.
        """
        found = self.read(name, offset, len(buffer))
        buffer[: len(found)] = found
        return len(found)

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove exactly this name; removing nothing is no error."""

    def set_aside(self, name: str) -> str:
        """Move damaged bytes to where no reader looks, and say where that is.

        A storage that cannot do so leaves them and returns nothing: their row says what they are.
        """
        del name
        return ""

    @abstractmethod
    def names(self) -> Iterator[tuple[str, int, datetime]]:
        """Yield (name, size, time of last change) of everything that looks like a payload."""

    def path(self, name: str) -> Path | None:
        """Return the local file that holds exactly these bytes, where there is one."""
        del name
        return None

    def close(self) -> None:
        """Give back connections; the storage may be used again."""
