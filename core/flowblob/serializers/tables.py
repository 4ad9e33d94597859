"""pyarrow tables and polars frames as bare Arrow IPC files."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from flowblob.abc import Reader, Writer
from flowblob.errors import FlowblobError, MissingDependencyError, SerializationError
from flowblob.serializers import batches, ipc
from flowblob.serializers.plain import ExactSerializer

#: A slice whose buffers hold this much more than its rows is copied before it is written.
_WASTE = 1 << 20


class _TableSerializer(ExactSerializer):
    media_type: ClassVar[str] = ipc.MEDIA_TYPE


class ArrowTableSerializer(_TableSerializer):
    """A pyarrow Table."""

    id: ClassVar[str] = "arrow"

    def accepts(self, value: Any) -> bool:
        arrow = ipc.pyarrow_if_loaded()
        if arrow is None or type(value) is not arrow.Table:
            return False
        is_one_batch = all(column.num_chunks <= 1 for column in value.columns)
        return ipc.survives(value.schema, is_one_batch=is_one_batch)

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        ipc.write(writer, value.schema, value)

    def load(self, reader: Reader) -> Any:
        return ipc.read_table(reader)


class ArrowBatchSerializer(_TableSerializer):
    """A pyarrow RecordBatch."""

    id: ClassVar[str] = "arrow-batch"

    def accepts(self, value: Any) -> bool:
        arrow = ipc.pyarrow_if_loaded()
        return (
            arrow is not None
            and type(value) is arrow.RecordBatch
            and ipc.survives(value.schema, is_one_batch=True)
        )

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        ipc.write(writer, value.schema, value)

    def load(self, reader: Reader) -> Any:
        return _only_batch(reader)


class ArrowArraySerializer(_TableSerializer):
    """A pyarrow Array, as the one column `values`."""

    id: ClassVar[str] = "arrow-array"

    def accepts(self, value: Any) -> bool:
        arrow = ipc.pyarrow_if_loaded()
        if arrow is None or not isinstance(value, arrow.Array):
            return False
        # A subclass made in Python belongs to an extension type.
        is_own = type(value).__module__.startswith("pyarrow")
        return is_own and ipc.survives(arrow.schema([("values", value.type)]), is_one_batch=True)

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        batch = ipc.require("pyarrow").record_batch([value], names=["values"])
        ipc.write(writer, batch.schema, batch)

    def load(self, reader: Reader) -> Any:
        batch = _only_batch(reader)
        if batch.num_columns != 1:
            raise SerializationError("The stored array cannot be read: the file is no one column")
        return batch.column(0)


def _only_batch(reader: Reader) -> Any:
    arrow = ipc.require("pyarrow")
    found = ipc.open_file(reader.view())
    try:
        if found.num_record_batches != 1:
            raise SerializationError("The stored batch cannot be read: the file holds several")
        batch = found.get_batch(0)
        ipc.validate(batch, is_foreign=reader.is_foreign)
    except (arrow.ArrowException, OSError, UnicodeError) as error:
        raise SerializationError(f"The stored batch cannot be read: {error}") from error
    return batch


# ------------------------------------------------------------------ polars


class PolarsSerializer(_TableSerializer):
    """A polars DataFrame, whose own pickling compresses and copies."""

    id: ClassVar[str] = "polars"
    type_name: ClassVar[str] = "DataFrame"

    def accepts(self, value: Any) -> bool:
        polars = sys.modules.get("polars")
        if polars is None:
            return False
        if type(value) is polars.LazyFrame:
            raise SerializationError(
                "A polars LazyFrame is a plan, not data: what it gives depends on when it runs",
                hint="Store frame.collect()",
            )
        return type(value) is getattr(polars, self.type_name) and _is_exact(self._frame(value))

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        frame = self._frame(value)
        if (table := _to_arrow(frame)) is not None:
            ipc.write(writer, table.schema, table)
        else:
            frame.write_ipc(_PolarsSink(writer), compat_level=_newest())

    def load(self, reader: Reader) -> Any:
        polars = ipc.require("polars")
        try:
            return _read_polars(polars, reader)
        except FlowblobError:
            raise
        except (Exception, polars.exceptions.PanicException) as error:
            raise SerializationError(f"The stored table cannot be read: {error}") from error

    def _frame(self, value: Any) -> Any:
        return value


class PolarsSeriesSerializer(PolarsSerializer):
    """A polars Series, as a frame of one column of its name."""

    id = "polars-series"
    type_name = "Series"

    def load(self, reader: Reader) -> Any:
        frame = super().load(reader)
        if frame.width != 1:
            raise SerializationError("The stored series cannot be read: the file is no one column")
        return frame.to_series(0)

    def _frame(self, value: Any) -> Any:
        return value.to_frame()


def _read_polars(polars: Any, reader: Reader) -> Any:
    try:
        return _from_arrow(ipc.read_table(reader))
    except MissingDependencyError:
        pass
    except SerializationError as error:
        # A polars without pyarrow may have written a type that pyarrow lacks.
        if not isinstance(error.__cause__, NotImplementedError):
            raise
    view = reader.view()
    batches.check(view)
    return polars.read_ipc(bytes(view))


def _newest() -> Any:
    return sys.modules["polars"].CompatLevel.newest()


def _is_exact(frame: Any) -> bool:
    """Try the types on the frame without its rows: a type is kept for all values or for none."""
    if any(name in repr(kind) for kind in frame.dtypes for name in ("Object", "Unknown")):
        return False
    empty = frame.clear()
    try:
        table = _to_arrow(empty)
        back = empty if table is None else _from_arrow(table)
    except Exception:  # noqa: BLE001 - a type that Arrow does not know fails in many ways
        return False
    return bool(back.schema == frame.schema)


def _from_arrow(table: Any) -> Any:
    frame = sys.modules["polars"].from_arrow(table, rechunk=False)
    frame.columns = table.column_names  # polars calls a nameless one "column_0"
    return frame


def _to_arrow(frame: Any) -> Any:
    """Return the frame as a pyarrow table without copying, None where pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401 - whether it is installed
    except ImportError:
        return None
    table = frame.to_arrow(compat_level=_newest())
    # Views of strings, 16 bytes each, keep the whole text that a slice was cut from.
    needed = frame.estimated_size() + 16 * frame.height * frame.width
    if table.get_total_buffer_size() > 2 * needed + _WASTE:
        table = frame.to_arrow(compat_level=sys.modules["polars"].CompatLevel.oldest())
    return table


class _PolarsSink:
    """The least that polars takes for a file."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, data: Any) -> int:
        return self._writer.write(data)

    def flush(self) -> None:
        """Nothing is held back."""
