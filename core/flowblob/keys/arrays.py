"""NumPy arrays and scalars, and torch tensors: value, dtype and shape.

Memory layout does not count: C order, Fortran order, a strided view and a copy of it are equal.
The libraries are taken from `sys.modules`: whoever holds an array has imported its library.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from typing import Any

from flowblob.keys.canonical import Hashing, unstable
from flowblob.keys.hashes import hash_buffer, new_hash
from flowblob.keys.kinds import is_found

Parts = tuple[object, ...]
PartsOf = Callable[[Any, Hashing], Parts]

_CHUNK = 1 << 18  # elements of a strided view that are made contiguous at once


def parts_of(kind: type) -> PartsOf | None:
    """Return the rule for an array type, or None."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, getattr(numpy, "ndarray", ())):
        return _array
    torch: Any = sys.modules.get("torch")
    if torch is not None and issubclass(kind, getattr(torch, "Tensor", ())):
        return _tensor
    return None


def _ufunc(value: Any, _: Hashing) -> Parts:
    if not is_found(value, value.__name__):
        raise unstable(value, "it was made from a function that it does not show")
    return ("ufunc", value.__name__)


def scalar_parts_of(kind: type) -> PartsOf | None:
    """Return the rule for a NumPy scalar, dtype or ufunc, or for torch's names, or None."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "ndarray"):
        if issubclass(kind, numpy.generic):
            return _scalar
        if issubclass(kind, numpy.dtype):
            return lambda value, _: ("dtype", _dtype(value))
        if issubclass(kind, numpy.ufunc):
            return _ufunc
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor"):
        if issubclass(kind, torch.dtype | torch.device | torch.layout | torch.memory_format):
            return lambda value, _: ("torch", str(value))
        if issubclass(kind, torch.Size):
            return lambda value, _: ("torch", "Size", tuple(value))
    return None


def _dtype(dtype: Any) -> Any:
    """Describe a dtype by what makes two of them different."""
    if dtype.names is not None:
        listed = [(name, dtype.fields[name]) for name in dtype.names]
        described = tuple((name, _dtype(item[0]), item[1], item[2:]) for name, item in listed)
        return ("record", described, dtype.itemsize, _metadata(dtype))
    if dtype.subdtype is not None:
        return ("sub", _dtype(dtype.subdtype[0]), dtype.subdtype[1])
    if dtype.kind == "T":
        return ("text", getattr(dtype, "na_object", None), hasattr(dtype, "na_object"))
    if dtype.metadata:
        return (dtype.str, _metadata(dtype))
    # Types that other packages add, such as the kinds of float8, share one anonymous text.
    return (dtype.str, dtype.name) if dtype.isbuiltin == 2 else dtype.str


def _metadata(dtype: Any) -> object:
    return dict(dtype.metadata) if dtype.metadata else None


def _array(value: Any, hashing: Hashing) -> Parts:
    numpy: Any = sys.modules["numpy"]
    kind = type(value)
    if kind is numpy.ndarray:
        return ("ndarray", _dtype(value.dtype), value.shape, array_body(value))
    plain = value.view(numpy.ndarray)
    more: tuple[object, ...] = ()
    if isinstance(value, numpy.ma.MaskedArray):
        plain = value.data.view(numpy.ndarray)
        more = (numpy.ma.getmaskarray(value), value.fill_value)
    elif not isinstance(value, numpy.memmap):  # which keeps its file name there
        state: dict[str, Any] = getattr(value, "__dict__", {})
        more = tuple((name, state[name]) for name in sorted(state) if state[name] is not None)
    body = array_body(plain)
    return ("ndarray", _dtype(value.dtype), value.shape, body, hashing.class_id(kind), more)


def array_body(array: Any) -> object:
    """Return what stands for the elements: a hash of their bytes, or the objects themselves.

    Args:
        array: A plain ndarray of any dtype.
    """
    dtype = array.dtype
    if dtype.names is not None:
        # Field by field: the padding between fields is whatever was in memory.
        return tuple(array_body(array[name]) for name in dtype.names)
    if dtype.hasobject or dtype.kind == "T":
        return array.ravel(order="C").tolist()
    if dtype.char in "gG":
        return _long_doubles(array)
    if array.size == 0 or dtype.itemsize == 0:
        return ""
    if array.flags.c_contiguous:
        return hash_buffer(_raw(array))
    sink = new_hash()
    for chunk in _in_order(array):
        sink.update(chunk)
    return str(sink.hexdigest())


def _raw(array: Any) -> memoryview:
    numpy: Any = sys.modules["numpy"]
    # Through uint8, since datetime64 and others do not export a buffer.
    return memoryview(array.reshape(-1).view(numpy.uint8))


def _in_order(array: Any) -> Iterator[Any]:
    """Give the elements in C order, a bounded copy at a time."""
    numpy: Any = sys.modules["numpy"]
    if array.ndim == 0 or array.size <= _CHUNK:
        yield _raw(numpy.ascontiguousarray(array))
        return
    row = array.size // array.shape[0]
    if row > _CHUNK:
        for part in array:
            yield from _in_order(part)
        return
    step = max(1, _CHUNK // row)
    for start in range(0, array.shape[0], step):
        yield _raw(numpy.ascontiguousarray(array[start : start + step]))


def _long_doubles(array: Any) -> object:
    """Hash extended floats without their padding, which holds whatever was in memory."""
    numpy: Any = sys.modules["numpy"]
    real = numpy.ascontiguousarray(array).reshape(-1).view(numpy.longdouble)
    width = real.dtype.itemsize
    used = 10 if numpy.finfo(numpy.longdouble).nmant == 63 else width
    return hash_buffer(_raw(numpy.ascontiguousarray(real.view("u1").reshape(-1, width)[:, :used])))


def _scalar(value: Any, _: Hashing) -> Parts:
    numpy: Any = sys.modules["numpy"]
    array = numpy.asarray(value)
    return ("scalar", type(value).__name__, _dtype(array.dtype), array_body(array))


def _tensor(value: Any, hashing: Hashing) -> Parts:
    torch: Any = sys.modules["torch"]
    kind = type(value)
    name = "" if kind is torch.Tensor else hashing.class_id(kind)
    head = ("tensor", name, str(value.dtype), value.requires_grad, value.device.type)
    plain = value.detach()
    if plain.is_meta:
        raise unstable(value, "a tensor on the meta device has no values")
    if plain.is_nested:
        return (*head, "nested", list(plain.unbind()))
    shape = tuple(plain.shape)
    if plain.is_quantized:
        return (*head, shape, str(plain.qscheme()), plain.dequantize(), plain.int_repr())
    if plain.layout is not torch.strided:
        return (*head, shape, str(plain.layout), *_sparse(plain, torch))
    return (*head, shape, _tensor_body(plain))


def _sparse(plain: Any, torch: Any) -> Parts:
    if not str(plain.layout).startswith("torch.sparse"):
        return (plain.to_dense(),)
    listed = (
        plain.to_sparse_coo().coalesce()
        if plain.layout is not torch.sparse_coo
        else (plain.coalesce())
    )
    return (listed.indices(), listed.values())


def _tensor_body(plain: Any) -> str:
    whole = plain.resolve_conj().resolve_neg().cpu().contiguous()
    size = whole.numel() * whole.element_size()
    if not size:
        return ""
    # By address: bfloat16 and float8 have no NumPy type, and NumPy need not be there.
    return hash_buffer(memoryview((ctypes.c_char * size).from_address(whole.data_ptr())).cast("B"))
