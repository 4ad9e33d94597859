"""A pandas frame as an Arrow IPC file, and a frame that stands on such a file.

Beside what pandas and Arrow write for other tools, the schema holds under `flowblob` what they
would lose: integer column names, the frequency of an index, object columns, Python's own UTC.

On the way back a column of numbers stands on the mapping of the file, writable: pandas' own
conversion would copy it, or give a frame whose columns refuse assignment.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC
from typing import Any

from flowblob.errors import SerializationError
from flowblob.serializers import ipc

_META = b"flowblob"
#: Below this, copying columns costs less than finding them on the mapping.
_SMALL = 1 << 20
_FLOATS = ("float64", "float32", "float16")


def is_object(dtype: Any) -> bool:
    """Say whether a column holds Python objects."""
    return isinstance(dtype, sys.modules["numpy"].dtype) and dtype.kind == "O"


def write(frame: Any, writer: Any, extra: dict[str, Any]) -> None:
    """Write a frame of which `fidelity.fits` is true; `extra` comes back with it."""
    arrow = ipc.require("pyarrow")
    pandas = sys.modules["pandas"]
    columns, index = frame.columns, frame.index
    meta: dict[str, Any] = {
        **extra,
        "width": len(columns),
        "objects": [position for position, dtype in enumerate(frame.dtypes) if is_object(dtype)],
        # Arrow knows zones by name, and pandas makes a ZoneInfo of it.
        "utc": [position for position, dtype in enumerate(frame.dtypes) if _is_utc(dtype)],
        "utc_index": _is_utc(index.dtype),
        "attrs": frame.attrs,
    }
    if columns.dtype.kind == "i":
        meta["columns"] = _numbers(columns)
        frame = frame.set_axis([str(name) for name in columns], axis=1)
    if type(index) is pandas.RangeIndex:
        meta["index"] = _numbers(index)
    elif getattr(index, "freq", None) is not None:
        meta["freq"] = index.freq.freqstr
    table = arrow.Table.from_pandas(frame)
    for position, dtype in enumerate(frame.dtypes):
        # Arrow takes NaN for missing; then the column would not be the array it came from.
        if dtype in _FLOATS and table.column(position).null_count:
            values = arrow.array(frame.iloc[:, position].to_numpy(), from_pandas=False)
            table = table.set_column(position, table.field(position), values)
    text = json.dumps(meta, separators=(",", ":"))
    table = table.replace_schema_metadata({**table.schema.metadata, _META: text})
    ipc.write(writer, table.schema, table)


def _is_utc(dtype: Any) -> bool:
    return getattr(dtype, "tz", None) is UTC


def _numbers(index: Any) -> dict[str, Any]:
    if hasattr(index, "step"):
        return {"name": index.name, "range": [index.start, index.stop, index.step]}
    return {"name": index.name, "values": index.tolist(), "dtype": str(index.dtype)}


def read(view: memoryview, *, is_foreign: bool = False) -> tuple[Any, dict[str, Any]]:
    """Return the frame that lies in this memory, and what was written beside it.

    Args:
        view: The Arrow IPC file.
        is_foreign: Whether somebody else may have written it.

    Raises:
        SerializationError: The libraries here cannot build it.
    """
    pandas = ipc.require("pandas")
    table = ipc.table_over(view, is_foreign=is_foreign)
    try:
        meta = json.loads(table.schema.metadata[_META])
        return _assemble(pandas, table, meta, view), meta
    except (ValueError, TypeError, LookupError, NotImplementedError) as error:
        raise SerializationError(
            f"The stored frame cannot be read: {error}",
            hint="Load it with the versions of pandas and pyarrow that wrote it",
        ) from error


def _assemble(pandas: Any, table: Any, meta: dict[str, Any], view: memoryview) -> Any:
    width, objects, utc = meta["width"], set(meta["objects"]), set(meta["utc"])
    # From no rows: names and types as pandas has them.
    outline = table.slice(0, 0).to_pandas()
    data: dict[int, Any] = {}
    for position in objects:
        values = table.column(position).to_numpy(zero_copy_only=False).astype(object, copy=False)
        data[position] = pandas.Series(values, dtype=object, copy=False)
    if len(view) > _SMALL:
        data |= _in_place(table, list(outline.dtypes), view)
    others = [position for position in range(width) if position not in data]
    # A deep copy, because what pandas takes over from Arrow refuses assignment.
    rest = table.select([*others, *range(width, table.num_columns)]).to_pandas().copy(deep=True)
    rest.index = index = _row_index(pandas, rest.index, meta)
    if data or utc:
        for place, position in enumerate(others):
            series = rest.iloc[:, place]
            data[position] = series.dt.tz_convert(UTC) if position in utc else series
        for values in data.values():
            if isinstance(values, pandas.Series):
                values.index = index  # the same object, so that nothing is aligned
        rest = pandas.DataFrame({at: data[at] for at in range(width)}, index=index, copy=False)
    rest.columns = _index(pandas, meta["columns"]) if "columns" in meta else outline.columns
    rest.attrs = meta["attrs"]
    return rest


def _row_index(pandas: Any, found: Any, meta: dict[str, Any]) -> Any:
    index = _index(pandas, meta["index"]) if "index" in meta else found
    if meta["utc_index"]:
        index = index.tz_convert(UTC)
    if "freq" in meta:
        index.freq = meta["freq"]
    return index


def _index(pandas: Any, numbers: dict[str, Any]) -> Any:
    if "range" in numbers:
        return pandas.RangeIndex(*numbers["range"], name=numbers["name"])
    return pandas.Index(numbers["values"], dtype=numbers["dtype"], name=numbers["name"])


def _in_place(table: Any, dtypes: list[Any], view: memoryview) -> dict[int, Any]:
    """Return the columns of numbers as arrays over the mapping, where they are whole."""
    numpy = sys.modules["numpy"]
    base = numpy.frombuffer(view, numpy.uint8).ctypes.data
    found = {}
    for position, dtype in enumerate(dtypes):
        column = table.column(position)
        if not isinstance(dtype, numpy.dtype) or dtype.kind not in "iufMm":
            continue
        if column.num_chunks != 1 or column.null_count:
            continue
        chunk = column.chunk(0)
        start = chunk.buffers()[1].address - base + chunk.offset * dtype.itemsize
        is_inside = 0 <= start <= len(view) - len(chunk) * dtype.itemsize
        if is_inside and chunk.type.bit_width == 8 * dtype.itemsize:
            found[position] = numpy.frombuffer(view, dtype, count=len(chunk), offset=start)
    return found
