"""Whether Arrow gives a pandas frame back exactly.

It does for most, but not for all: objects of mixed types, several levels of column names, sparse
columns. So a frame is trusted to Arrow only if

- its columns are unique texts or integers, and its attributes plain JSON;
- every column and index level has a type that Arrow keeps, whatever the values;
- its first rows (all, if there are few) were written, read back and found the same in every detail.

Everything else goes into the pickle container, which keeps it.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from flowblob.serializers import ipc
from flowblob.serializers.framing import is_object, read, write
from flowblob.serializers.jsonable import JsonSerializer
from flowblob.serializers.plain import is_utf8

#: A frame of up to so many rows is read back whole before it is trusted to Arrow.
PROBE = 1000
_FIRST = 5
#: Levels of a larger index are not compared, the index is pickled.
_MULTI_LIMIT = 1_000_000
_WITH_NAN = ("Float32Dtype", "Float64Dtype")
_NULLABLE = frozenset(f"{sign}Int{bits}Dtype" for sign in ("", "U") for bits in (8, 16, 32, 64))


def fits(frame: Any) -> bool:
    """Say whether an Arrow IPC file gives this frame back exactly."""
    if not frame.flags.allows_duplicate_labels or not JsonSerializer().accepts(frame.attrs):
        return False
    if not _columns_fit(frame.columns) or not _index_fits(frame.index):
        return False
    dtypes = list(frame.dtypes)
    if not all(map(_dtype_fits, set(dtypes))):
        return False
    for position, dtype in enumerate(dtypes):
        if _is_scanned(dtype) and not _values_fit(frame.iloc[:, position].array, dtype):
            return False
    # One column stands for all of its type: values were judged above, where they matter.
    kinds: dict[Any, int] = {}
    for position, dtype in enumerate(dtypes):
        kinds.setdefault(dtype, position)
    sample = frame if len(kinds) == len(dtypes) else frame.iloc[:, list(kinds.values())]
    return _survives(sample if len(frame) <= PROBE else sample.iloc[:_FIRST])


def _columns_fit(columns: Any) -> bool:
    pandas = sys.modules["pandas"]
    if type(columns) not in (pandas.Index, pandas.RangeIndex) or not columns.is_unique:
        return False
    if type(columns.name) not in (str, type(None)):
        return False
    if columns.dtype.kind == "i":
        return True
    texts = list(columns)
    # Such a name is what an index without a name is written under.
    return all(
        type(text) is str and not text.startswith("__index_level_") for text in texts
    ) and is_utf8("\n".join(texts))


def _index_fits(index: Any) -> bool:
    pandas = sys.modules["pandas"]
    if any(type(name) not in (str, type(None)) for name in index.names):
        return False
    named = [name for name in index.names if name is not None]
    if len(set(named)) != len(named) or any(name.startswith("__index_level_") for name in named):
        return False
    if type(index) is pandas.RangeIndex:
        return True
    if isinstance(index, pandas.MultiIndex):
        return type(index) is pandas.MultiIndex and _levels_fit(index)
    return _dtype_fits(index.dtype) and _values_fit(index.array, index.dtype) and _freq_fits(index)


def _levels_fit(index: Any) -> bool:
    """Say whether levels made anew from the values are the ones there are: sorted, all in use."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if len(index) > _MULTI_LIMIT or any((codes < 0).any() for codes in index.codes):
        return False
    if not all(
        _index_fits(level) and getattr(level, "freq", None) is None for level in index.levels
    ):
        return False
    values = [index.get_level_values(position) for position in range(index.nlevels)]
    anew = pandas.MultiIndex.from_arrays(values, names=index.names)
    return all(
        _is_same_index(left, right) for left, right in zip(index.levels, anew.levels, strict=True)
    ) and all(
        numpy.array_equal(left, right) for left, right in zip(index.codes, anew.codes, strict=True)
    )


def _freq_fits(index: Any) -> bool:
    freq = getattr(index, "freq", None)
    if freq is None:
        return True
    from pandas.tseries.frequencies import to_offset

    try:
        return bool(to_offset(freq.freqstr) == freq)
    except ValueError:
        return False


def _dtype_fits(dtype: Any) -> bool:
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if isinstance(dtype, numpy.dtype):
        return dtype.kind in "biuMmO" or (dtype.kind == "f" and dtype.itemsize <= 8)
    if isinstance(dtype, pandas.CategoricalDtype):
        return dtype.categories is not None and _index_fits(dtype.categories)
    if isinstance(dtype, pandas.ArrowDtype):
        schema = ipc.require("pyarrow").schema([("column", dtype.pyarrow_dtype)])
        return ipc.survives(schema, is_one_batch=False)
    plain = (pandas.DatetimeTZDtype, pandas.StringDtype, pandas.BooleanDtype)
    return isinstance(dtype, plain) or type(dtype).__name__ in (*_NULLABLE, *_WITH_NAN)


def _is_scanned(dtype: Any) -> bool:
    return is_object(dtype) or type(dtype).__name__ in ("StringDtype", *_WITH_NAN)


def _values_fit(array: Any, dtype: Any) -> bool:
    """Judge by the values what the type leaves open."""
    numpy = sys.modules["numpy"]
    if type(dtype).__name__ in _WITH_NAN:
        # A NaN that is not missing would come back missing.
        return not numpy.isnan(array.to_numpy(dtype="float64", na_value=0.0)).any()
    if not is_object(dtype) and getattr(dtype, "storage", "") != "python":
        return True
    values = numpy.asarray(array, dtype=object)
    kinds = set(map(type, values))
    if not is_object(dtype):
        return is_utf8("\n".join(value for value in values if type(value) is str))
    if kinds <= {str, type(None)}:
        return is_utf8("\n".join(value for value in values if value is not None))
    return kinds <= {bytes, type(None)}


def _survives(frame: Any) -> bool:
    """Write a small frame, read it back, and compare it in every detail."""
    pandas = sys.modules["pandas"]
    if isinstance(frame.index, pandas.MultiIndex):
        frame = frame.set_axis(frame.index.remove_unused_levels(), axis=0)
    memory = io.BytesIO()
    try:
        write(frame, _Memory(memory), {})
        back, _ = read(memory.getbuffer())
        pandas.testing.assert_frame_equal(
            frame, back, check_exact=True, check_index_type="exact", check_column_type="exact"
        )
    except Exception:  # noqa: BLE001 - whatever Arrow or pandas makes of it, it is not this frame
        return False
    return (
        _is_same_index(frame.columns, back.columns)
        and _is_same_index(frame.index, back.index)
        and all(map(_is_same_dtype, frame.dtypes, back.dtypes))
        and frame.attrs == back.attrs
        and all(_has_same_kinds(frame.iloc[:, i], back.iloc[:, i]) for i in range(frame.shape[1]))
    )


class _Memory:
    def __init__(self, memory: io.BytesIO) -> None:
        self.write = memory.write


def _has_same_kinds(left: Any, right: Any) -> bool:
    # None and NaN are one to the comparison of pandas.
    return not is_object(left.dtype) or list(map(type, left)) == list(map(type, right))


def _is_same_index(left: Any, right: Any) -> bool:
    if type(left) is not type(right) or left.names != right.names or not left.equals(right):
        return False
    if hasattr(left, "levels"):
        return all(map(_is_same_index, left.levels, right.levels))
    return (
        _is_same_dtype(left.dtype, right.dtype)
        and getattr(left, "freq", None) == getattr(right, "freq", None)
        and getattr(left, "step", None) == getattr(right, "step", None)
    )


def _is_same_dtype(left: Any, right: Any) -> bool:
    if type(left) is not type(right) or left != right or repr(left) != repr(right):
        return False
    if hasattr(left, "categories") and not _is_same_index(left.categories, right.categories):
        return False
    return type(getattr(left, "tz", None)) is type(getattr(right, "tz", None)) and repr(
        getattr(left, "na_value", None)
    ) == repr(getattr(right, "na_value", None))
