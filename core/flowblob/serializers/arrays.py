"""numpy arrays as bare `.npy` files, read without a copy; numpy scalars likewise.

The format is numpy's own (NEP 1): a header padded so that the data begin at a multiple of 64 bytes,
then the raw data in C or Fortran order. Whatever `.npy` would flatten (subclasses, object arrays,
dtypes with metadata) is not accepted here and goes into the pickle container.
"""

from __future__ import annotations

import base64
import functools
import io
import math
import sys
import tokenize
from typing import TYPE_CHECKING, Any, ClassVar

from flowblob.abc import Reader, Writer
from flowblob.errors import MissingDependencyError, SerializationError
from flowblob.serializers.plain import ExactSerializer, no_view

if TYPE_CHECKING:
    import numpy as np

#: Items per piece in which an array that is not contiguous is written.
_PIECE = 1 << 17
_SCALAR_KINDS = "biufcmM"
#: A longer header is refused: numpy reads it with Python's own parser, at 100 times its size.
_MAX_HEADER = 1 << 20
_SHORT_HEADER = 1 << 10


class NpySerializer(ExactSerializer):
    """Plain numpy arrays."""

    id: ClassVar[str] = "npy"
    media_type: ClassVar[str] = "application/x-npy"

    def accepts(self, value: Any) -> bool:
        numpy = sys.modules.get("numpy")
        return numpy is not None and type(value) is numpy.ndarray and _is_exact(value.dtype)

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        _write(value, writer)

    def load(self, reader: Reader) -> Any:
        return _read(reader)


class NpyScalarSerializer(NpySerializer):
    """One numpy scalar, as an array of no dimensions."""

    id = "npy-scalar"

    def accepts(self, value: Any) -> bool:
        return is_plain_scalar(value)

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        _write(_numpy().asarray(value), writer)

    def view(self, reader: Reader) -> Any:
        raise no_view(self)

    def load(self, reader: Reader) -> Any:
        return _read(reader)[()]


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise MissingDependencyError(
            "This value is a numpy array, and numpy is not installed here", hint="pip install numpy"
        ) from error
    return numpy


def _is_exact(dtype: np.dtype[Any]) -> bool:
    """Say whether a `.npy` header gives this dtype back."""
    if dtype.hasobject or not dtype.itemsize or dtype.kind not in "biufcmMSUV":
        return False
    if not _is_bare(dtype):
        return False
    if dtype.kind in _SCALAR_KINDS:
        return True
    numpy = _numpy()
    try:
        found = numpy.lib.format.descr_to_dtype(numpy.lib.format.dtype_to_descr(dtype))
        repr(dtype.names).encode(
            "latin-1"
        )  # other field names need a newer header than most readers know
    except (ValueError, TypeError, UnicodeEncodeError):
        return False
    # Alignment and the record type do not count in `==`.
    return bool(
        found == dtype
        and found.isalignedstruct == dtype.isalignedstruct
        and found.type is dtype.type
        and found.str == dtype.str
    )


def _is_bare(dtype: Any) -> bool:
    """Say whether no part of a dtype has metadata or a title."""
    if dtype.metadata is not None:
        return False
    if dtype.subdtype is not None:
        return _is_bare(dtype.subdtype[0])
    return all(_is_bare(field[0]) and len(field) == 2 for field in (dtype.fields or {}).values())


def _write(array: Any, writer: Writer) -> None:
    numpy = _numpy()
    head = io.BytesIO()
    facts = numpy.lib.format.header_data_from_array_1_0(array)
    try:
        numpy.lib.format.write_array_header_1_0(head, facts)
    except ValueError:  # a structured dtype with a description of more than 64 KiB
        numpy.lib.format.write_array_header_2_0(head, facts)
    writer.write(head.getvalue())
    if not array.size:
        return
    if facts["fortran_order"]:
        array = array.T
    if array.flags.c_contiguous:
        # As bytes: dates have no buffer format of their own.
        writer.write(memoryview(array.reshape(-1).view(numpy.uint8)))
        return
    pieces = numpy.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        buffersize=_PIECE,
        order="C",
    )
    for piece in pieces:
        writer.write(piece.tobytes())


def _read(reader: Reader) -> Any:
    numpy = _numpy()
    view = reader.view()
    try:
        head = _head(view)
        # Parsing takes longer than all else in getting a mapped array back. A dtype with fields is
        # made anew: whoever has it may rename them.
        is_shared = len(head) <= _SHORT_HEADER and b"'descr': '" in head
        shape, is_fortran, dtype = (_parse_once if is_shared else _parse)(head)
        size = math.prod(shape) * dtype.itemsize
        if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
            raise ValueError("its header describes no plain array")
        if len(view) - len(head) != size:
            raise ValueError("its size and its header disagree")
        order = "F" if is_fortran else "C"
        if not size:
            return numpy.empty(shape, dtype, order)
        return numpy.frombuffer(view, dtype, offset=len(head)).reshape(shape, order=order)
    except (
        ValueError,
        TypeError,
        EOFError,
        OverflowError,
        RecursionError,
        SyntaxError,
        tokenize.TokenError,  # from numpy's second look at a header
    ) as error:
        raise SerializationError(f"The stored array cannot be read: {error}") from error


def _head(view: memoryview) -> bytes:
    """Return what stands before the data: magic, version, length of the header, header."""
    width = 2 if bytes(view[6:7]) == b"\x01" else 4
    length = int.from_bytes(view[8 : 8 + width], "little")
    if length > _MAX_HEADER:
        raise ValueError("its header is too long")
    return bytes(view[: 8 + width + length])


def _parse(head: bytes) -> tuple[tuple[int, ...], bool, Any]:
    numpy = _numpy()
    stream = io.BytesIO(head)
    version = numpy.lib.format.read_magic(stream)
    read = {
        (1, 0): numpy.lib.format.read_array_header_1_0,
        (2, 0): numpy.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"it has the unknown .npy version {version}")
    shape, is_fortran, dtype = read(stream, max_header_size=_MAX_HEADER)
    return shape, is_fortran, dtype


_parse_once = functools.lru_cache(maxsize=256)(_parse)


# ------------------------------------------------------------------ scalars


def is_plain_scalar(value: Any) -> bool:
    """Say whether a numpy scalar is fully told by its dtype and its bytes."""
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic):
        return False
    dtype = value.dtype
    return dtype.kind in _SCALAR_KINDS and dtype.type is type(value) and dtype.metadata is None


def scalar_to_tag(value: Any) -> list[str]:
    """Return the dtype and the bytes of a plain scalar as JSON."""
    return [value.dtype.str, base64.b64encode(value.tobytes()).decode()]


def scalar_from_tag(content: list[str]) -> Any:
    """Return the scalar that `scalar_to_tag` wrote."""
    dtype, data = content
    numpy = _numpy()
    if numpy.dtype(dtype).kind not in _SCALAR_KINDS:
        raise ValueError(f"{dtype!r} is no dtype of a scalar")
    return numpy.frombuffer(base64.b64decode(data, validate=True), dtype)[0]
