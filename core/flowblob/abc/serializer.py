"""The contract of a format, and of what it writes to and reads from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol


class Writer(Protocol):
    """Where a serializer writes."""

    def write(self, data: Any, /) -> int:
        """Take any bytes-like object without copying it."""

    def copy_file(self, path: Path) -> None:
        """Take a whole file in constant memory; the kernel copies it where it can."""

    def attach(self, path: Path) -> str:
        """Store a file as a payload of its own; returns its part name.

        The name is the digest of its bytes (`sha256:<hex>`), so that equal files are one part and
        a manifest that names its parts stands for their content. A file that changes while it is
        read is refused with InvalidInputError.
        """


class Reader(Protocol):
    """Where a serializer reads from: verified bytes only."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def is_mapped(self) -> bool:
        """Whether `view` costs no copy because it maps a file."""

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else may have written the bytes.

        A format that libraries read in place, trusting what it says about itself, must be checked
        to its last byte then; the checksum has found damage already, and not an attacker.
        """

    def view(self) -> memoryview:
        """Return the whole payload, writable; a private mapping where the storage is local."""

    def data(self) -> bytes:
        """Return the whole payload as bytes."""

    def open(self) -> BinaryIO:
        """Return a seekable stream over the payload."""

    def part(self, name: str) -> Reader:
        """Return the reader of an attached payload."""

    def checkout(self, filename: str) -> Path:
        """Return a verified private copy of the payload as a file of this name."""

    def folder(self, name: str) -> Path:
        """Return the private folder of this name among the checkouts, made at first use."""

    @property
    def filename(self) -> str:
        """Original file name of the value, empty if there is none."""


class Serializer(ABC):
    """One format. The id is stored with every version and never taken from the bytes."""

    id: ClassVar[str]
    media_type: ClassVar[str]
    #: Whether loading can run code that the payload chose.
    is_pickle: ClassVar[bool] = False

    @abstractmethod
    def accepts(self, value: Any) -> bool:
        """Say whether this format gives this value back exactly. Must not import a library."""

    @abstractmethod
    def dump(self, value: Any, writer: Writer) -> None:
        """Write the value.

        Raises:
            SerializationError: It cannot be written; the put leaves nothing behind.
        """

    @abstractmethod
    def load(self, reader: Reader) -> Any:
        """Return the value.

        Raises:
            SerializationError: This process cannot build it.
        """

    def view(self, reader: Reader) -> Any:
        """Return the value over the mapped payload without copying, for `mmap=True`.

        Raises:
            NotSupportedError: The format has no such view.
        """
        return self.load(reader)

    def describe(self, value: Any) -> dict[str, Any]:
        """Return a small JSON-able picture of the value for previews (type, shape, columns)."""
        return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
