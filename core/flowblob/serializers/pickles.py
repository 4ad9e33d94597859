"""The container for everything else: a pickle stream whose large buffers stand beside it.

```text
pickle stream, protocol 5 | padding | buffer 0 | padding | buffer 1 | ... | index | footer
```

The C pickler writes straight into the payload, and every large buffer (numpy, pandas, Arrow: PEP
574) follows as it is, at a multiple of 64 bytes: nothing is copied on the way out, and on the way
in arrays stand, writable, on the private mapping of the file. The index and the footer come last
because a writer in one pass learns only then where things are:

    index   per buffer: offset u64, length u64
    footer  length of the pickle stream u64, number of buffers u64, version u32, magic 12 bytes

all little-endian. Files and folders inside the value are attached payloads: the stream holds a
call of `_file` or `_tree`, which only the reader of this container can answer.

Reading this format runs code that the payload chose (`is_pickle`); whether to trust it is decided
before, by the store.
"""

from __future__ import annotations

import functools
import io
import pickle
import struct
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from flowblob.abc import Reader, Serializer, Writer
from flowblob.errors import FlowblobError, SerializationError
from flowblob.files import Dir, File
from flowblob.serializers import checkouts, definitions, tensors, trees
from flowblob.serializers.previews import describe

if TYPE_CHECKING:
    import cloudpickle

ALIGNMENT = 64
#: Smaller buffers stay in the stream, where they cost less than their padding.
OUT_OF_BAND = 512
_MAGIC = b"flowblob-pk5"
_FOOTER = struct.Struct("<QQI12s")
_RANGE = struct.Struct("<QQ")
_VERSION = 1


class PickleSerializer(Serializer):
    """Pickle protocol 5 with buffers out of band; cloudpickle for what has no importable name."""

    id: ClassVar[str] = "pickle5"
    media_type: ClassVar[str] = "application/x-flowblob-pickle5"
    is_pickle: ClassVar[bool] = True

    def accepts(self, value: Any) -> bool:
        """Any value: what cannot be pickled is found out by `dump`."""
        return True

    def dump(self, value: Any, writer: Writer) -> None:
        sink = _Sink(writer)
        buffers: list[pickle.PickleBuffer] = []
        try:
            _pickler(sink, buffers, writer).dump(value)
        except (FlowblobError, MemoryError):
            raise
        except RecursionError as error:
            raise SerializationError(
                "The value is nested too deeply to be pickled",
                hint="Flatten it, or raise sys.setrecursionlimit in writer and readers",
            ) from error
        except Exception as error:  # the value's own code runs here
            if error is sink.failure:
                raise
            from flowblob.serializers.blame import blame

            raise blame(value, error) from error
        length = sink.position
        ranges = [sink.align_and_write(buffer) for buffer in buffers]
        sink.pad()
        sink.write(b"".join(_RANGE.pack(*place) for place in ranges))
        sink.write(_FOOTER.pack(length, len(ranges), _VERSION, _MAGIC))

    def load(self, reader: Reader) -> Any:
        view = reader.view()
        length, buffers = _read_index(view)
        raw = io.BufferedReader(_ViewFile(view[:length]), 1 << 16)
        try:
            return _Unpickler(raw, reader, buffers).load()
        except (FlowblobError, MemoryError):
            raise
        except Exception as error:  # the value's own code runs here
            raise SerializationError(
                f"This process cannot build the stored value: {type(error).__name__}: {error}",
                hint="Load it with the versions of Python and of the libraries that wrote it",
            ) from error

    def describe(self, value: Any) -> dict[str, Any]:
        return describe(value)


# ------------------------------------------------------------------ writing


class _Sink:
    """Counts what goes by, so that buffers can be aligned, and tells whose an error is."""

    def __init__(self, writer: Writer) -> None:
        self._write = writer.write
        self.position = 0
        self.failure: BaseException | None = None

    def write(self, data: Any) -> int:
        length = data.nbytes if isinstance(data, memoryview) else len(data)
        try:
            self._write(data)
        except BaseException as error:
            self.failure = error
            raise
        self.position += length
        return int(length)

    def pad(self) -> None:
        if missing := -self.position % ALIGNMENT:
            self.write(bytes(missing))

    def align_and_write(self, buffer: pickle.PickleBuffer) -> tuple[int, int]:
        self.pad()
        start = self.position
        return start, self.write(buffer.raw())


def _pickler(
    sink: Any, buffers: list[pickle.PickleBuffer], writer: Writer | None
) -> cloudpickle.Pickler:
    def keep(buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of band (False), or leave it in the stream (True)."""
        try:
            if buffer.raw().nbytes < OUT_OF_BAND:
                return True
        except BufferError:  # not contiguous: the pickler says so itself
            return True
        buffers.append(buffer)
        return False

    return _pickler_class()(sink, keep, writer)


@functools.cache
def _pickler_class() -> Callable[..., cloudpickle.Pickler]:
    """Make the class at first use: cloudpickle takes 40 ms to import."""
    import copyreg

    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def __init__(self, sink: Any, keep: Any, writer: Writer | None) -> None:
            # Set before the C part starts, which looks it up only once. One dict, where
            # cloudpickle has a chain of them that costs a Python call per object.
            self.dispatch_table = {
                **copyreg.dispatch_table,
                **_numpy_texts(),
                **tensors.storage_reducers(),
                **cloudpickle.Pickler._dispatch_table,
                memoryview: _reduce_memoryview,
                File: lambda value: _reduce_file(value, writer),
                Dir: lambda value: _reduce_tree(value, writer),
            }
            super().__init__(sink, protocol=5, buffer_callback=keep)

        def dump(self, obj: Any) -> None:
            # Not cloudpickle's, which turns a RecursionError into another one.
            pickle.Pickler.dump(self, obj)

        def reducer_override(self, obj: Any) -> Any:
            # Only functions and classes may need cloudpickle: everything else goes the C way.
            is_class = isinstance(obj, type)
            if not is_class and type(obj) is not types.FunctionType:
                return NotImplemented
            if definitions.is_lost(obj.__module__):
                if is_class and (reduced := definitions.reduce_class(obj)) is not None:
                    return reduced
                definitions.keep_module(obj.__module__)
            return super().reducer_override(obj)

    return Pickler


def _numpy_texts() -> dict[type, Callable[[Any], tuple[Any, ...]]]:
    """Return reducers for the two scalars whose own pickling drops NULs at the end."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return {}
    return {
        numpy.str_: lambda value: (numpy.str_, (str.__str__(value),)),
        numpy.bytes_: lambda value: (numpy.bytes_, (bytes.__getitem__(value, slice(None)),)),
    }


def _reduce_memoryview(value: memoryview) -> tuple[Any, ...]:
    # cloudpickle would make it bytes.
    if not value.c_contiguous:
        raise TypeError("a memoryview that is not contiguous cannot be stored")
    flat = value.cast("B") if value.nbytes else value
    return (_memoryview, (pickle.PickleBuffer(flat), value.format, value.shape))


def _memoryview(data: Any, format_: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(data)
    if format_ == "B" and len(shape) == 1:
        return view
    return view.cast("B").cast(format_, shape) if view.nbytes else view  # type: ignore[call-overload]


def _reduce_file(value: File, writer: Writer | None) -> tuple[Any, ...]:
    if writer is None:  # a trial run that looks for the part that cannot be pickled
        return (_file, ("", value.name))
    return (_file, (trees.attach_file(value.path, writer), value.name))


def _reduce_tree(value: Dir, writer: Writer | None) -> tuple[Any, ...]:
    if writer is None:
        return (_tree, (b"", value.name))
    return (_tree, (trees.build(value.path, writer), value.name))


def _file(_part: str, name: str) -> File:
    raise SerializationError(
        f"The file {name!r} is attached to a stored value and cannot be read by itself"
    )


def _tree(_manifest: bytes, name: str) -> Dir:
    raise SerializationError(
        f"The folder {name!r} is attached to a stored value and cannot be read by itself"
    )


# ------------------------------------------------------------------ reading


def _read_index(view: memoryview) -> tuple[int, list[memoryview]]:
    """Return the length of the pickle stream and the buffers."""
    try:
        length, count, version, magic = _FOOTER.unpack(view[-_FOOTER.size :])
        if magic != _MAGIC:
            raise ValueError("it has no footer")
        if version != _VERSION:
            raise ValueError(f"it has version {version}; upgrade flowblob")
        start = len(view) - _FOOTER.size - count * _RANGE.size
        if start < length:
            raise ValueError("its index is larger than itself")
        index = view[start : len(view) - _FOOTER.size]
        buffers = []
        for offset, size in _RANGE.iter_unpack(index):
            if offset < length or offset + size > start:
                raise ValueError("a buffer lies outside of it")
            buffers.append(view[offset : offset + size])
    except (ValueError, struct.error) as error:
        raise SerializationError(f"The stored pickle container cannot be read: {error}") from error
    return length, buffers


class _ViewFile(io.RawIOBase):
    """The pickle stream as a file, without a copy of the whole."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        part = self._view[self._position : self._position + len(target)]
        target[: len(part)] = part
        self._position += len(part)
        return len(part)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, reader: Reader, buffers: list[memoryview]) -> None:
        super().__init__(file, buffers=buffers)
        self._own: dict[str, Callable[..., Any]] = {
            "_file": lambda part, name: checkouts.checkout_file(reader.part(part), name),
            "_tree": lambda manifest, name: checkouts.checkout_tree(manifest, reader, name),
        }

    def find_class(self, module: str, name: str) -> Any:
        if module == __name__ and name in self._own:
            return self._own[name]
        try:
            return super().find_class(module, name)
        except ModuleNotFoundError as error:
            raise SerializationError(
                f"The stored value needs the module {error.name or module!r} ({module}.{name}), "
                "which cannot be imported here",
                hint="Install it, or put it on the path of this process",
            ) from error
        except (ImportError, AttributeError) as error:
            raise SerializationError(
                f"The stored value needs {module}.{name}, which does not exist here: {error}",
                hint="Define it again under this name, or load with the code that stored it",
            ) from error


def trial(value: Any, sink: Any) -> None:
    """Pickle a value into nothing, to find out whether that works; attaches no file."""
    _pickler(sink, [], None).dump(value)
