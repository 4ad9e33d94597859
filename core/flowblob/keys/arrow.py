"""Arrow arrays and tables: type and values. Chunks, offsets and slack in buffers do not count."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from flowblob.keys.canonical import Hashing
from flowblob.keys.hashes import hash_parts, new_hash

Parts = tuple[object, ...]
PartsOf = Callable[[Any, Hashing], Parts]

_VIEWS = {"string_view": "large_string", "binary_view": "large_binary"}
_ROWS = 1 << 20  # rows made canonical at once


def parts_of(kind: type) -> PartsOf | None:
    """Return the rule for an Arrow type, or None."""
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is None or not hasattr(arrow, "Table"):
        return None
    rules: tuple[tuple[Any, PartsOf], ...] = (
        ((arrow.Table, arrow.RecordBatch), _table),
        ((arrow.Array, arrow.ChunkedArray), _array),
        (arrow.Scalar, lambda value, _: ("arrow scalar", str(value.type), value.as_py())),
        (arrow.Schema, lambda value, _: ("arrow schema", *_schema(value))),
        (arrow.Field, lambda value, _: ("arrow field", _field(value))),
        (arrow.DataType, lambda value, _: ("arrow type", type_text(value))),
        (arrow.Buffer, lambda value, _: ("arrow buffer", memoryview(value))),
    )
    return next((rule for base, rule in rules if issubclass(kind, base)), None)


def _table(value: Any, _: Hashing) -> Parts:
    columns = [column(value.column(at)) for at in range(value.num_columns)]
    return ("arrow", type(value).__name__, value.num_rows, *_schema(value.schema), columns)


def _array(value: Any, _: Hashing) -> Parts:
    return ("arrow", type(value).__name__, column(value))


def _schema(schema: Any) -> Parts:
    return ([_field(field) for field in schema], _metadata(schema.metadata))


def _field(field: Any) -> Parts:
    return (field.name, type_text(field.type), field.nullable, _metadata(field.metadata))


def _metadata(metadata: Any) -> object:
    return sorted(metadata.items()) if metadata else None


def type_text(kind: Any) -> str:
    """Return what makes two Arrow types different, as text.

    Args:
        kind: A DataType.
    """
    return str(kind)


def column(value: Any) -> str:
    """Return the digest of an array or chunked array.

    Args:
        value: A `pyarrow.Array` or `pyarrow.ChunkedArray`.
    """
    chunks = value.chunks if hasattr(value, "chunks") else [value]
    return _column(chunks, value.type, len(value))


def _column(chunks: list[Any], kind: Any, length: int) -> str:
    nulls = sum(chunk.null_count for chunk in chunks)
    head = ("arrow", type_text(kind), str(length), _validity(chunks) if nulls else "")
    return hash_parts(*head, *_body(chunks, kind, has_nulls=bool(nulls)))


def _slices(chunks: list[Any]) -> Iterator[Any]:
    for chunk in chunks:
        for start in range(0, len(chunk), _ROWS):
            yield chunk.slice(start, _ROWS)


def _validity(chunks: list[Any]) -> str:
    sink = new_hash()
    for part in _slices(chunks):
        sink.update(_bits(part.is_valid()))
    return str(sink.hexdigest())


def _bits(array: Any) -> Any:
    """One byte per element of a boolean array without nulls."""
    arrow: Any = sys.modules["pyarrow"]
    return _fixed(array.cast(arrow.uint8()), 1)


def _fixed(array: Any, width: int) -> memoryview:
    """The bytes of the elements, without what lies before and after them in the buffer."""
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return memoryview(b"")
    start = array.offset * width
    return memoryview(buffer)[start : start + len(array) * width]


def _body(chunks: list[Any], kind: Any, *, has_nulls: bool) -> list[str]:
    arrow: Any = sys.modules["pyarrow"]
    types = arrow.types
    if types.is_null(kind):
        return ["null"]
    if types.is_dictionary(kind):
        decoded = [part.dictionary_decode() for part in _slices(chunks)]
        return ["dictionary", _column(decoded, kind.value_type, _total(decoded))]
    if isinstance(kind, arrow.BaseExtensionType):
        storage = [chunk.storage for chunk in chunks]
        written = getattr(kind, "__arrow_ext_serialize__", bytes)()
        body = _column(storage, kind.storage_type, _total(storage))
        return ["extension", kind.extension_name, written.hex(), body]
    if (plain := _VIEWS.get(str(kind))) is not None:
        cast = [part.cast(getattr(arrow, plain)()) for part in _slices(chunks)]
        return ["view", _column(cast, getattr(arrow, plain)(), _total(cast))]
    if types.is_struct(kind):
        return ["struct", *_fields(chunks, kind)]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return ["list", *_lists(chunks, kind)]
    if types.is_boolean(kind):
        return ["bool", _hashed(_bits(part.fill_null(False)) for part in _slices(chunks))]
    if (tag := _text_tag(types, kind)) is not None:
        return [tag, *_texts(chunks, has_nulls=has_nulls, is_large=tag.startswith("large"))]
    if types.is_primitive(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind):
        return ["fixed", _fixed_body(chunks, kind, has_nulls=has_nulls)]
    return ["objects", *_objects(chunks)]


def _text_tag(types: Any, kind: Any) -> str | None:
    for tag in ("string", "large_string", "binary", "large_binary"):
        if getattr(types, f"is_{tag}")(kind):
            return tag
    return None


def _hashed(parts: Iterator[Any]) -> str:
    sink = new_hash()
    for part in parts:
        sink.update(part)
    return str(sink.hexdigest())


def _fixed_body(chunks: list[Any], kind: Any, *, has_nulls: bool) -> str:
    width = kind.bit_width // 8
    # Only the valid elements: the validity, hashed before, says where they stand.
    parts = (part.drop_null() if has_nulls else part for part in _slices(chunks))
    return _hashed(_fixed(part, width) for part in parts)


def _texts(chunks: list[Any], *, has_nulls: bool, is_large: bool) -> list[str]:
    arrow: Any = sys.modules["pyarrow"]
    from pyarrow import compute

    lengths, body = new_hash(), new_hash()
    for chunk in _slices(chunks):
        part = chunk.drop_null() if has_nulls else chunk
        if not len(part):
            continue
        lengths.update(_fixed(compute.binary_length(part).cast(arrow.int64()), 8))
        _, offsets, data = part.buffers()
        if data is None:
            continue
        ends = memoryview(offsets).cast("B").cast("q" if is_large else "i")
        body.update(memoryview(data)[ends[part.offset] : ends[part.offset + len(part)]])
    return [str(lengths.hexdigest()), str(body.hexdigest())]


def _fields(chunks: list[Any], kind: Any) -> list[str]:
    columns: list[list[Any]] = [[] for _ in range(kind.num_fields)]
    for chunk in chunks:
        for at, child in enumerate(chunk.flatten()):
            columns[at].append(child)
    digests = []
    for at, children in enumerate(columns):
        digests += [kind.field(at).name, _column(children, kind.field(at).type, _total(children))]
    return digests


def _total(chunks: list[Any]) -> int:
    return sum(map(len, chunks))


def _lists(chunks: list[Any], kind: Any) -> list[str]:
    from pyarrow import compute

    arrow: Any = sys.modules["pyarrow"]
    lengths = new_hash()
    children = []
    for part in _slices(chunks):
        valid = part.drop_null()
        if len(valid):
            lengths.update(_fixed(compute.list_value_length(valid).cast(arrow.int64()), 8))
            children.append(valid.flatten())
    child = _column(children, kind.value_type, _total(children))
    return [str(lengths.hexdigest()), child]


def _objects(chunks: list[Any]) -> list[str]:
    """Rare types (views, maps, unions, run-ends): by their Python values."""
    hashing = Hashing()
    return [hashing.digest(part.to_pylist()) for part in [_combined(chunks)]]


def _combined(chunks: list[Any]) -> Any:
    arrow: Any = sys.modules["pyarrow"]
    return arrow.chunked_array(chunks) if chunks else arrow.nulls(0)
