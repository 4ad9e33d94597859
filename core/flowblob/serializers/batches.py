"""What an Arrow IPC file says about its batches, read before Arrow acts on it.

A hostile file of a few kilobytes may fill the memory: bodies can be compressed, and many batches or
buffers can lie over the same bytes. Nothing that flowblob writes is compressed or overlaps, so both
are refused. Only the few fields that tell are read here; Arrow itself checks the rest.

The layout is that of the Arrow columnar format, "IPC File Format", and of FlatBuffers, "Internals".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from flowblob.errors import PayloadUnsafeError, SerializationError

_MAGIC = b"ARROW1"
#: Fields of the tables by their place in the schema (format/File.fbs, format/Message.fbs).
_DICTIONARIES, _BATCHES = 2, 3
_KIND, _HEADER, _BODY_LENGTH = 1, 2, 3
_DICTIONARY_KIND, _BATCH_KIND = 2, 3
_DICTIONARY_DATA = 1
_BUFFERS, _COMPRESSION = 2, 3
_BLOCK, _BUFFER = 24, struct.Struct("<qq")
_CONTINUES = 0xFFFFFFFF


def check(view: memoryview) -> None:
    """Refuse a file whose content is larger than itself.

    Raises:
        PayloadUnsafeError: It is compressed, or its parts overlap.
        SerializationError: It is no Arrow IPC file.
    """
    try:
        total = sum(_body(view, start) for start in _blocks(view))
    except (struct.error, ValueError) as error:
        raise SerializationError(f"The stored table cannot be read: {error}") from error
    if total > len(view):
        raise _unsafe("its parts lie over each other")


def _blocks(view: memoryview) -> Iterator[int]:
    """Yield where each message with data begins."""
    end = len(view) - len(_MAGIC) - 4
    if bytes(view[-len(_MAGIC) :]) != _MAGIC or end < 0:
        raise ValueError("it has no footer")
    footer = _follow(view, end - _number(view, end, "<i"))
    for field in (_DICTIONARIES, _BATCHES):
        places = _items(view, _field(view, footer, field), _BLOCK)
        for at in range(0, len(places), _BLOCK):
            yield _number(places, at, "<q")


def _body(view: memoryview, start: int) -> int:
    """Return the length of a body that its message does not blow up."""
    # Before version 0.15 of Arrow, the length of a message stood first.
    at = start + (8 if _number(view, start, "<I") == _CONTINUES else 4)
    message = _follow(view, at)
    kind_at, header_at = _field(view, message, _KIND), _field(view, message, _HEADER)
    length_at = _field(view, message, _BODY_LENGTH)
    length = _number(view, length_at, "<q") if length_at else 0
    if not kind_at or not header_at or length < 0:
        raise ValueError("a message of it is none")
    batch, kind = _follow(view, header_at), _number(view, kind_at, "<B")
    if kind == _DICTIONARY_KIND:
        data = _field(view, batch, _DICTIONARY_DATA)
        batch = _follow(view, data) if data else batch
    elif kind != _BATCH_KIND:
        raise ValueError("a batch of it is none")
    if _field(view, batch, _COMPRESSION):
        raise _unsafe("it is compressed, and nothing says how large it would become")
    buffers = _items(view, _field(view, batch, _BUFFERS), _BUFFER.size)
    sizes = [size for _, size in _BUFFER.iter_unpack(buffers)]
    if min(sizes, default=0) < 0:
        raise ValueError("a column of it has less than no bytes")
    if sum(sizes) > length:
        raise _unsafe("its columns lie over each other")
    return length


def _unsafe(problem: str) -> PayloadUnsafeError:
    return PayloadUnsafeError(
        f"The stored table is refused: {problem}",
        hint="It was not written by flowblob; download it to read it with other tools",
    )


# ------------------------------------------------------------------ FlatBuffers


def _number(view: memoryview, at: int, form: str) -> int:
    if at < 0:  # Python would count from the end
        raise ValueError("it points before its beginning")
    found: int = struct.unpack_from(form, view, at)[0]
    return found


def _follow(view: memoryview, at: int) -> int:
    return at + _number(view, at, "<I")


def _field(view: memoryview, table: int, number: int) -> int:
    """Return where a field of a table stands, 0 where it is left out."""
    layout = table - _number(view, table, "<i")
    place = 4 + 2 * number
    if place + 2 > _number(view, layout, "<H"):
        return 0
    offset = _number(view, layout + place, "<H")
    return table + offset if offset else 0


def _items(view: memoryview, at: int, size: int) -> memoryview:
    """Return the structs of a vector."""
    if not at:
        return view[:0]
    start = _follow(view, at)
    end = start + 4 + _number(view, start, "<I") * size
    if end > len(view):
        raise ValueError("a list of it is longer than itself")
    return view[start + 4 : end]
