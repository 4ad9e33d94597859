"""Arrow IPC files: written without a copy, read in place over the mapped payload.

The format is the Arrow IPC file (also called Feather 2), uncompressed, as the Arrow columnar format
specification has it: any Arrow library opens it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowblob.abc import Reader, Writer
from flowblob.errors import MissingDependencyError, SerializationError
from flowblob.serializers import batches

if TYPE_CHECKING:
    import pyarrow as pa

MEDIA_TYPE = "application/vnd.apache.arrow.file"


def require(module: str) -> Any:
    """Import a library of the `tables` extra.

    Raises:
        MissingDependencyError: It is not installed; the message says how to.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = "flowblob[tables]" if module.startswith("pyarrow") else module
        raise MissingDependencyError(
            f"This value is a table, and {module} is not installed here",
            hint=f"pip install '{install}'",
        ) from error


def pyarrow_if_loaded() -> Any:
    """Return pyarrow where the process has it loaded, else None."""
    return sys.modules.get("pyarrow")


class _Sink:
    """What pyarrow writes to; its buffers go on as they are."""

    closed = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, data: Any) -> int:
        return self._writer.write(memoryview(data).cast("B")) if len(data) else 0

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """The payload ends when the put does."""


def write(writer: Writer, schema: pa.Schema, content: pa.Table | pa.RecordBatch) -> None:
    """Write a table or a batch as an Arrow IPC file.

    Raises:
        SerializationError: Arrow cannot write it.
    """
    arrow = require("pyarrow")
    ipc = require("pyarrow.ipc")
    sink = arrow.PythonFile(_Sink(writer), mode="w")
    try:
        with ipc.new_file(sink, schema) as out:
            out.write(content)
    except arrow.ArrowException as error:
        raise SerializationError(f"Arrow cannot write this table: {error}") from error


def open_file(view: memoryview) -> Any:
    """Return the pyarrow reader of an IPC file that lies in memory.

    Raises:
        SerializationError: It is no Arrow IPC file, or a newer one.
        PayloadUnsafeError: It would become larger than it is.
    """
    batches.check(view)
    arrow = require("pyarrow")
    ipc = require("pyarrow.ipc")
    try:
        return ipc.open_file(arrow.py_buffer(view))
    except (arrow.ArrowException, OSError) as error:
        raise SerializationError(f"The stored table cannot be read: {error}") from error


def read_table(reader: Reader) -> pa.Table:
    """Return the whole table, in place."""
    return table_over(reader.view(), is_foreign=reader.is_foreign)


def table_over(view: memoryview, *, is_foreign: bool) -> pa.Table:
    """Return the table whose IPC file lies in this memory.

    Args:
        view: The file.
        is_foreign: Whether somebody else may have written it.
    """
    arrow = require("pyarrow")
    try:
        table = open_file(view).read_all()
        validate(table, is_foreign=is_foreign)
    except (arrow.ArrowException, OSError, UnicodeError) as error:
        raise SerializationError(f"The stored table cannot be read: {error}") from error
    return table


def validate(content: pa.Table | pa.RecordBatch, *, is_foreign: bool) -> None:
    """Refuse what would lead Arrow out of the file, by raising an error of Arrow or UnicodeError.

    It is cheap, since it only compares the lengths of buffers. An offset inside a column could
    still lead out of it: where that may be on purpose, every one is looked at, and every name.
    """
    content.validate(full=is_foreign)
    if is_foreign:
        _ = content.schema.names


def types_within(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Yield a type and all types nested in it."""
    yield kind
    if hasattr(kind, "value_type") and not hasattr(kind, "fields"):
        yield from types_within(kind.value_type)
    for position in range(kind.num_fields):
        yield from types_within(kind.field(position).type)


def survives(schema: pa.Schema, *, is_one_batch: bool) -> bool:
    """Say whether an IPC file gives columns of these types back exactly.

    A type that a Python class defines needs this class at reading, and comes back as its storage
    where it is missing. A dictionary that changes from batch to batch is not allowed in a file.
    """
    arrow = pyarrow_if_loaded()
    for column in schema.types:
        for kind in types_within(column):
            if isinstance(kind, arrow.ExtensionType):
                return False
            if arrow.types.is_dictionary(kind) and not is_one_batch:
                return False
    return True
