"""Bytes and text: stored bare, so that any tool reads them."""

from __future__ import annotations

from typing import Any, ClassVar

from flowblob.abc import Reader, Serializer, Writer
from flowblob.errors import SerializationError
from flowblob.serializers.previews import describe

#: Text is encoded in pieces, so that a large one is never held twice.
_CHARACTERS = 1 << 20


def refuse(serializer: Serializer, value: Any, hint: str = "") -> SerializationError:
    """Return the error for a value that this format would not give back exactly."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return SerializationError(
        f"The serializer {serializer.id!r} cannot give back this {kind} exactly",
        hint=hint or "Leave serializer= out to have one chosen, or use serializer='pickle'",
    )


class _Described(Serializer):
    def describe(self, value: Any) -> dict[str, Any]:
        return describe(value)


class BytesSerializer(_Described):
    """Bare bytes."""

    id: ClassVar[str] = "bytes"
    media_type: ClassVar[str] = "application/octet-stream"
    type: ClassVar[type] = bytes

    def accepts(self, value: Any) -> bool:
        return type(value) is self.type

    def dump(self, value: Any, writer: Writer) -> None:
        if not self.accepts(value):
            raise refuse(self, value)
        writer.write(value)

    def load(self, reader: Reader) -> Any:
        return bytes(reader.view())


class BytearraySerializer(BytesSerializer):
    """Bare bytes that come back as a bytearray."""

    id = "bytearray"
    type = bytearray

    def dump(self, value: Any, writer: Writer) -> None:
        if not self.accepts(value):
            raise refuse(self, value)
        # A view, since its export forbids resizing while the writer still looks at the bytes.
        writer.write(memoryview(value))

    def load(self, reader: Reader) -> bytearray:
        return bytearray(reader.view())


class MemoryviewSerializer(BytesSerializer):
    """Bare bytes that come back as a memoryview over the mapped payload."""

    id = "memoryview"
    type = memoryview

    def accepts(self, value: Any) -> bool:
        # Another shape or format would be lost; the pickle container keeps it.
        return (
            type(value) is memoryview
            and value.format == "B"
            and value.ndim == 1
            and value.c_contiguous
        )

    def load(self, reader: Reader) -> memoryview:
        return reader.view()


class TextSerializer(_Described):
    """UTF-8 text."""

    id: ClassVar[str] = "text"
    media_type: ClassVar[str] = "text/plain; charset=utf-8"

    def accepts(self, value: Any) -> bool:
        return type(value) is str and is_utf8(value)

    def dump(self, value: Any, writer: Writer) -> None:
        if not self.accepts(value):
            raise refuse(self, value)
        for start in range(0, len(value), _CHARACTERS):
            writer.write(value[start : start + _CHARACTERS].encode())

    def load(self, reader: Reader) -> str:
        try:
            return str(reader.view(), "utf-8")
        except UnicodeDecodeError as error:
            raise SerializationError(f"The stored text is not UTF-8: {error}") from error


def is_utf8(text: str) -> bool:
    """Say whether UTF-8 can carry the text; a lone surrogate it cannot."""
    if text.isascii():
        return True
    try:
        for start in range(0, len(text), _CHARACTERS):
            text[start : start + _CHARACTERS].encode()
    except UnicodeEncodeError:
        return False
    return True
