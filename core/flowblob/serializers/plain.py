"""Bytes and text: stored bare, so that any tool reads them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from flowblob.abc import Reader, Serializer, Writer
from flowblob.errors import NotSupportedError, SerializationError
from flowblob.serializers.previews import describe

#: Text is encoded in pieces, so that a large one is never held twice.
_CHARACTERS = 1 << 20
_NOTHING = object()


class ExactSerializer(Serializer):
    """A format that takes only what it gives back exactly, and says so otherwise."""

    #: What to do instead, for a value that this format refuses.
    advice: ClassVar[str] = "Leave serializer= out to have one chosen, or use serializer='pickle'"

    def __init__(self, accepted: Any = _NOTHING) -> None:
        self._accepted = accepted

    def chosen(self, value: Any) -> Self:
        """Return this format for a value that it was just found to accept.

        Judging a large value costs as much as writing it, so `dump` does not judge this one again.
        """
        return type(self)(value)

    def check(self, value: Any) -> None:
        """Refuse a value that would not come back exactly.

        Raises:
            SerializationError: It is another kind of value.
        """
        if value is not self._accepted and not self.accepts(value):
            kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
            raise SerializationError(
                f"The serializer {self.id!r} cannot give back this {kind} exactly", hint=self.advice
            )

    def describe(self, value: Any) -> dict[str, Any]:
        return describe(value)


def no_view(serializer: Serializer) -> NotSupportedError:
    """Return the error for `mmap=True` where the value must be built from the bytes."""
    return NotSupportedError(
        f"mmap=True gives no view of a value stored as {serializer.id!r}",
        hint="Leave mmap out to have the value built",
    )


class BytesSerializer(ExactSerializer):
    """Bare bytes."""

    id: ClassVar[str] = "bytes"
    media_type: ClassVar[str] = "application/octet-stream"
    type: ClassVar[type] = bytes

    def accepts(self, value: Any) -> bool:
        return type(value) is self.type

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        writer.write(value)

    def load(self, reader: Reader) -> Any:
        # Not from the view: reading takes half the page faults of copying a mapping.
        return reader.data()

    def view(self, reader: Reader) -> Any:
        return reader.view()


class BytearraySerializer(BytesSerializer):
    """Bare bytes that come back as a bytearray."""

    id = "bytearray"
    type = bytearray

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
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


class OpaqueSerializer(BytesSerializer):
    """Bare bytes that whoever gets them may unpickle, as a host does with records of its own.

    They are signed and let through as pickles are. Nothing is stored so unless it is asked for.
    """

    id = "opaque"
    is_pickle: ClassVar[bool] = True


class TextSerializer(ExactSerializer):
    """UTF-8 text."""

    id: ClassVar[str] = "text"
    media_type: ClassVar[str] = "text/plain; charset=utf-8"

    def accepts(self, value: Any) -> bool:
        return type(value) is str and is_utf8(value)

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        for start in range(0, len(value), _CHARACTERS):
            writer.write(value[start : start + _CHARACTERS].encode())

    def view(self, reader: Reader) -> Any:
        raise no_view(self)

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
