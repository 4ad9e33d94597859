"""A writer and a reader in memory, independent of the store's own."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from flowblob import serializers
from flowblob.abc import Serializer


class MemoryWriter:
    def __init__(self) -> None:
        self.data = bytearray()
        self.parts: dict[str, bytes] = {}
        self.largest = 0

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        assert view.c_contiguous
        self.largest = max(self.largest, view.nbytes)
        self.data += view.cast("B") if view.nbytes else b""
        return view.nbytes

    def copy_file(self, path: Path) -> None:
        self.data += path.read_bytes()

    def attach(self, path: Path) -> str:
        content = path.read_bytes()
        name = "sha256:" + hashlib.sha256(content).hexdigest()
        self.parts[name] = content
        return name


class MemoryReader:
    is_mapped = False
    is_foreign = False

    def __init__(
        self, data: bytes, parts: dict[str, bytes], folder: Path, filename: str = ""
    ) -> None:
        self._data = bytes(data)
        self._parts = parts
        self._folder = folder
        self.filename = filename
        self.opened: list[str] = []

    @property
    def size(self) -> int:
        return len(self._data)

    def data(self) -> bytes:
        return self._data

    def view(self) -> memoryview:
        return memoryview(bytearray(self._data))

    def open(self) -> BinaryIO:
        return io.BytesIO(self._data)

    def part(self, name: str) -> MemoryReader:
        self.opened.append(name)
        return MemoryReader(self._parts[name], self._parts, self._folder)

    def checkout(self, filename: str) -> Path:
        target = self.folder(hashlib.sha256(self._data).hexdigest()) / filename
        target.write_bytes(self._data)
        return target

    def folder(self, name: str) -> Path:
        target = self._folder / name
        target.mkdir(parents=True, exist_ok=True)
        return target


@pytest.fixture
def dump() -> Callable[..., MemoryWriter]:
    def write(value: Any, serializer: Serializer | None = None) -> MemoryWriter:
        writer = MemoryWriter()
        (serializer or serializers.for_value(value)).dump(value, writer)
        return writer

    return write


@pytest.fixture
def reader(tmp_path: Path) -> Callable[..., MemoryReader]:
    def make(data: Any, parts: dict[str, bytes] | None = None, filename: str = "") -> MemoryReader:
        return MemoryReader(data, parts or {}, tmp_path / "checkouts", filename)

    return make


@pytest.fixture
def there_and_back(dump: Any, reader: Any) -> Callable[..., tuple[str, Any]]:
    """Store a value and return the id that was chosen with what comes back."""

    def go(value: Any, name: str = "") -> tuple[str, Any]:
        serializer = serializers.by_name(name) if name else serializers.for_value(value)
        written = dump(value, serializer)
        filename = getattr(value, "name", "") if serializer.id in ("file", "tree") else ""
        found = serializers.by_id(serializer.id).load(reader(written.data, written.parts, filename))
        return serializer.id, found

    return go


def _same(left: Any, right: Any) -> bool:
    """Exact equality: type for type, order for order, NaN equal to itself, -0.0 unlike 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return left.hex() == right.hex()
    if isinstance(left, int | str | bytes | memoryview):
        return bool(left == right)
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            _same(a, b) for a, b in zip(left.items(), right.items(), strict=True)
        )
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, set | frozenset):
        return sorted(map(_mark, left)) == sorted(map(_mark, right))
    return repr(left) == repr(right) and bool(
        left == right or repr(left) in ("nan", "Decimal('NaN')", "Decimal('sNaN')")
    )


def _mark(item: Any) -> str:
    return (
        f"{type(item).__name__} {item!r}"
        if not isinstance(item, frozenset | tuple)
        else str(sorted(map(_mark, item)))
    )


@pytest.fixture
def same() -> Callable[[Any, Any], bool]:
    return _same
