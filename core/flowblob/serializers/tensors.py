"""PyTorch tensors: state dicts as bare safetensors files, storages inside pickles out of band.

A safetensors file is the length of a JSON header (u64), the header, and the data of all tensors
without gaps; any reader of the format opens it. PyTorch's own pickling puts each storage through a
nested archive in memory, three copies of a model; here its bytes are a buffer like any other.
"""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from flowblob.abc import Reader, Writer
from flowblob.errors import MissingDependencyError, SerializationError
from flowblob.serializers.jsonable import JsonSerializer
from flowblob.serializers.plain import ExactSerializer, is_utf8

if TYPE_CHECKING:
    import torch

_METADATA = "__metadata__"
_META = "flowblob"
_ALONE = "tensor"
_ALIGNMENT = 64
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_NAMES = {f"torch.{name}": short for short, name in _DTYPES.items()}


class SafetensorsSerializer(ExactSerializer):
    """A tensor, or a dict of tensors such as a state dict, on the CPU and free of gradients."""

    id: ClassVar[str] = "safetensors"
    media_type: ClassVar[str] = "application/x-safetensors"

    def accepts(self, value: Any) -> bool:
        torch = sys.modules.get("torch")
        if torch is None or "numpy" not in sys.modules:
            return False
        if type(value) is torch.Tensor:
            return _is_plain(value)
        if type(value) not in (dict, OrderedDict) or not value:
            return False
        tensors = list(value.values())
        return (
            all(type(tensor) is torch.Tensor for tensor in tensors)
            and all(type(name) is str and name != _METADATA for name in value)
            and is_utf8("\n".join(value))
            and all(map(_is_plain, tensors))
            and _is_unshared(tensors)
            and _is_state(vars(value) if type(value) is OrderedDict else {})
        )

    def dump(self, value: Any, writer: Writer) -> None:
        self.check(value)
        tensors = value if isinstance(value, dict) else {_ALONE: value}
        meta = {"type": type(value).__name__}
        if state := (vars(value) if type(value) is OrderedDict else {}):
            meta["_metadata"] = state["_metadata"]
        # The widest first, so that every tensor is aligned though there are no gaps.
        order = sorted(tensors, key=lambda name: -tensors[name].element_size())
        ends, position = {}, 0
        for name in order:
            position += tensors[name].nbytes
            ends[name] = position
        header: dict[str, Any] = {_METADATA: {_META: json.dumps(meta)}}
        for name, tensor in tensors.items():
            header[name] = {
                "dtype": _NAMES[str(tensor.dtype)],
                "shape": list(tensor.shape),
                "data_offsets": [ends[name] - tensor.nbytes, ends[name]],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-(8 + len(text)) % _ALIGNMENT)
        writer.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            if tensors[name].nbytes:
                writer.write(_bytes_of(tensors[name]))

    def load(self, reader: Reader) -> Any:
        torch = _torch()
        view = reader.view()
        try:
            length = int.from_bytes(view[:8], "little")
            header = json.loads(str(view[8 : 8 + length], "utf-8"))
            meta = json.loads(header.pop(_METADATA, {}).get(_META, "{}"))
            data = view[8 + length :]
            tensors = {name: _tensor(torch, data, facts) for name, facts in header.items()}
        except (
            ValueError,
            TypeError,
            LookupError,
            ArithmeticError,
            AttributeError,
            RuntimeError,  # torch's own, and too deep a nesting
        ) as error:
            raise SerializationError(f"The stored tensors cannot be read: {error}") from error
        if meta.get("type") == "Tensor":
            return tensors[_ALONE]
        if meta.get("type") != "OrderedDict":
            return tensors
        ordered: OrderedDict[str, Any] = OrderedDict(tensors)
        if "_metadata" in meta:
            ordered._metadata = OrderedDict(meta["_metadata"])  # type: ignore[attr-defined]
        return ordered


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "This value holds PyTorch tensors, and torch is not installed here",
            hint="pip install torch",
        ) from error
    return torch


def _is_plain(tensor: torch.Tensor) -> bool:
    return (
        tensor.device.type == "cpu"
        and str(tensor.layout) == "torch.strided"
        and str(tensor.dtype) in _NAMES
        and not tensor.requires_grad
        and not tensor.is_neg()
        and tensor.is_contiguous()
        and not vars(tensor)
    )


def _is_unshared(tensors: list[torch.Tensor]) -> bool:
    """Say whether no two tensors lie in one storage: tied weights must stay tied."""
    places = [t.untyped_storage().data_ptr() for t in tensors if t.nbytes]
    return len(set(places)) == len(places)


def _is_state(attributes: dict[str, Any]) -> bool:
    """Say whether an OrderedDict is bare, or a state dict with its versions beside it."""
    if not attributes:
        return True
    versions = attributes.get("_metadata")
    return (
        len(attributes) == 1
        and type(versions) is OrderedDict
        and not vars(versions)
        and JsonSerializer().accepts(dict(versions))
    )


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())


def _tensor(torch: Any, data: memoryview, facts: dict[str, Any]) -> torch.Tensor:
    dtype = getattr(torch, _DTYPES[facts["dtype"]])
    shape = [int(length) for length in facts["shape"]]
    start, end = facts["data_offsets"]
    count = math.prod(shape)
    if min(shape, default=0) < 0 or not 0 <= start <= end <= len(data):
        raise ValueError("a tensor lies outside of the file")
    if end - start != count * dtype.itemsize:
        raise ValueError("shape and size of a tensor disagree")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=start).reshape(shape)


# ------------------------------------------------------------------ inside pickles


class _Bytes:
    """The bytes of one storage: one object for all tensors that lie in it."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def __reduce__(self) -> tuple[Any, ...]:
        import torch

        flat = torch.empty(0, dtype=torch.uint8).set_(self._storage)
        return (restore_bytes, (pickle.PickleBuffer(flat.numpy()),))


def storage_reducers() -> dict[type, Callable[[Any], tuple[Any, ...]]]:
    """Return how a pickler writes PyTorch's storages; for one value, since it remembers them."""
    torch = sys.modules.get("torch")
    if torch is None or "numpy" not in sys.modules:
        return {}
    known: dict[int, _Bytes] = {}

    def reduce_storage(storage: Any) -> Any:
        untyped = storage._untyped_storage
        if untyped.device.type != "cpu" or not untyped.nbytes():
            return storage.__reduce__()
        content = known.setdefault(untyped.data_ptr(), _Bytes(untyped))
        return (restore_storage, (content, storage.dtype))

    return {torch.storage.TypedStorage: reduce_storage}


def restore_bytes(buffer: Any) -> Any:
    """Return a storage over these bytes."""
    torch = _torch()
    return torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage()


def restore_storage(untyped: Any, dtype: Any) -> Any:
    """Return the storage as tensors of this type see it."""
    return _torch().storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)
