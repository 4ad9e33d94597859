"""Tables of pandas and polars: columns in order, each by its values and type.

How pandas keeps columns together in blocks does not count, so that a slice equals its copy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from flowblob.keys import arrow
from flowblob.keys.arrays import array_body
from flowblob.keys.canonical import Hashing, unstable

Parts = tuple[object, ...]
PartsOf = Callable[[Any, Hashing], Parts]


def parts_of(kind: type) -> PartsOf | None:
    """Return the rule for a table, column or index type, or None."""
    return _pandas_rule(kind) or _polars_rule(kind) or arrow.parts_of(kind)


def _pandas_rule(kind: type) -> PartsOf | None:
    pandas: Any = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "DataFrame"):
        return None
    rules: tuple[tuple[Any, PartsOf], ...] = (
        (pandas.DataFrame, _frame),
        (pandas.Series, _series),
        (pandas.Index, _index),
        (pandas.api.extensions.ExtensionDtype, _extension_dtype),
        (pandas.Timestamp, _timestamp),
        (pandas.Timedelta, lambda value, _: ("pandas timedelta", value.asm8)),
        (type(pandas.NaT), lambda *_: ("pandas", "NaT")),
        (type(pandas.NA), lambda *_: ("pandas", "NA")),
    )
    if issubclass(kind, pandas.api.extensions.ExtensionArray):
        return _extension if _is_pandas(kind) else None
    return next((rule for base, rule in rules if issubclass(kind, base)), None)


def _is_pandas(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "pandas"


def _own(value: Any, plain: Any, hashing: Hashing) -> object:
    kind = type(value)
    if kind is plain:
        return ""
    # What a subclass of a pandas table carries along, such as the geometry of geopandas.
    noted = [(name, getattr(value, name, None)) for name in getattr(value, "_metadata", ())]
    return (hashing.class_id(kind), [pair for pair in noted if pair[0] != "_name"])


def _frame(value: Any, hashing: Hashing) -> Parts:
    pandas: Any = sys.modules["pandas"]
    # The hint saves a Series for each column, which is most of the cost of a wide frame.
    hinted = getattr(value, "_iter_column_arrays", None)
    columns = hinted() if hinted else (value.iloc[:, at].array for at in range(value.shape[1]))
    return (
        "frame",
        _own(value, pandas.DataFrame, hashing),
        value.shape,
        value.index,
        value.columns,
        [_column(column) for column in columns],
        value.attrs,
        value.flags.allows_duplicate_labels,
    )


def _series(value: Any, hashing: Hashing) -> Parts:
    pandas: Any = sys.modules["pandas"]
    own = _own(value, pandas.Series, hashing)
    flag = value.flags.allows_duplicate_labels
    return ("series", own, value.name, value.index, _column(value.array), value.attrs, flag)


def _index(value: Any, _: Hashing) -> Parts:
    pandas: Any = sys.modules["pandas"]
    names = list(value.names)
    if isinstance(value, pandas.RangeIndex):
        return ("range index", names, value.start, value.stop, value.step)
    if isinstance(value, pandas.MultiIndex):
        # By values: two equal ones may differ in levels that no row uses.
        levels = [_column(value.get_level_values(at).array) for at in range(value.nlevels)]
        return ("multi index", names, len(value), levels)
    freq = getattr(value, "freqstr", None)
    return ("index", type(value).__name__, names, _column(value.array), freq)


def _extension(value: Any, _: Hashing) -> Parts:
    return ("extension array", _column(value))


def _extension_dtype(value: Any, hashing: Hashing) -> Parts:
    return ("extension dtype", hashing.class_id(type(value)), str(value))


def _timestamp(value: Any, _: Hashing) -> Parts:
    return ("timestamp", value.asm8, value.tzinfo, value.fold)


def _column(array: Any) -> Parts:
    """Describe one column by its dtype and values."""
    pandas: Any = sys.modules["pandas"]
    numpy: Any = sys.modules["numpy"]
    if type(array) is pandas.arrays.NumpyExtensionArray:  # columns of strings are a subclass
        array = array.to_numpy()
    dtype = array.dtype
    name = str(dtype)
    if isinstance(dtype, numpy.dtype):
        plain = array if isinstance(array, numpy.ndarray) else numpy.asarray(array)
        return (name, len(plain), array_body(plain))
    if isinstance(dtype, pandas.CategoricalDtype):
        categories = _column(array.categories.array)
        return ("category", dtype.ordered, categories, array_body(numpy.asarray(array.codes)))
    if isinstance(dtype, pandas.IntervalDtype):
        return (name, _column(array.left.array), _column(array.right.array), array.closed)
    if isinstance(dtype, pandas.DatetimeTZDtype | pandas.PeriodDtype):
        return (name, len(array), array_body(array.asi8))
    if _is_pandas(type(array)) and (chunks := getattr(array, "_pa_array", None)) is not None:
        # Strings and other Arrow-backed columns; without the hint they count as objects: a miss.
        return (name, str(getattr(dtype, "na_value", "")), arrow.column(chunks))
    if not _is_pandas(type(array)):
        return (name, array)  # another package's: only it knows what is in there
    if (plain := _masked(array, dtype)) is not None:
        return (name, len(array), *plain)
    return (name, str(getattr(dtype, "na_value", "")), list(array))


def _masked(array: Any, dtype: Any) -> Parts | None:
    """Values and mask of a nullable column; what lies under the mask does not count."""
    numpy: Any = sys.modules["numpy"]
    plain = getattr(dtype, "numpy_dtype", None)
    if not isinstance(plain, numpy.dtype) or plain.hasobject or not hasattr(array, "to_numpy"):
        return None
    values = array.to_numpy(dtype=plain, na_value=plain.type(0))
    return (array_body(numpy.asarray(values)), array_body(numpy.asarray(array.isna())))


def _polars_rule(kind: type) -> PartsOf | None:
    polars: Any = sys.modules.get("polars")
    if polars is None or not hasattr(polars, "DataFrame"):
        return None
    if issubclass(kind, polars.DataFrame):
        return _polars_frame
    if issubclass(kind, polars.Series):
        return _polars_series
    if issubclass(kind, polars.LazyFrame):
        return _polars_lazy
    return None


def _polars_frame(value: Any, hashing: Hashing) -> Parts:
    polars: Any = sys.modules["polars"]
    own = _own(value, polars.DataFrame, hashing)
    columns = [_polars_column(column) for column in value.get_columns()]
    return ("polars frame", own, value.shape, value.columns, columns)


def _polars_series(value: Any, hashing: Hashing) -> Parts:
    polars: Any = sys.modules["polars"]
    return ("polars series", _own(value, polars.Series, hashing), value.name, _polars_column(value))


def _polars_column(value: Any) -> Parts:
    categories = getattr(value.dtype, "categories", None)
    name = (repr(value.dtype), None if categories is None else list(categories))
    if value.dtype == sys.modules["polars"].Object:
        return (name, value.to_list())
    if _has_arrow():
        return (name, arrow.column(value.to_arrow()))
    return (name, value.to_list())


def _has_arrow() -> bool:
    if "pyarrow" in sys.modules:
        return sys.modules["pyarrow"] is not None
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


def _polars_lazy(value: Any, _: Hashing) -> Parts:
    raise unstable(value, "it is a query that has not been run; pass value.collect()")
