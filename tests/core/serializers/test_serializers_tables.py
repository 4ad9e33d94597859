"""Frames and series of pandas come back exactly, through Arrow or a pickle."""

from __future__ import annotations

import datetime
import decimal
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import serializers

np: Any = pytest.importorskip("numpy")
pd: Any = pytest.importorskip("pandas")
pa: Any = pytest.importorskip("pyarrow")
ipc: Any = pytest.importorskip("pyarrow.ipc")

DAYS = pd.date_range("2020", periods=3)
COLUMNS = {
    "integers": [1, 2, 3],
    "unsigned bytes": np.arange(3, dtype="u1"),
    "floats": [1.0, np.nan, -0.0],
    "small floats": np.arange(3, dtype="f4"),
    "half floats": np.arange(3, dtype="f2"),
    "bools": [True, False, True],
    "text": ["a", "grün", ""],
    "text with gaps": ["a", None, "b"],
    "object text": pd.Series(["a", None, "b"], dtype=object),
    "object bytes": pd.Series([b"a", None, b""], dtype=object),
    "object nothing": pd.Series([None, None, None], dtype=object),
    "string": pd.array(["a", None, "b"], dtype="string"),
    "days": DAYS,
    "gaps in days": [pd.Timestamp("2020"), pd.NaT, pd.Timestamp("2021")],
    "nanoseconds": pd.to_datetime([1, 2, 3]),
    "seconds": np.array(["2020", "2021", "NaT"], dtype="M8[s]"),
    "zone": DAYS.tz_localize("Europe/Berlin"),
    "utc": DAYS.tz_localize("UTC"),
    "offset": DAYS.tz_localize(datetime.timezone(datetime.timedelta(hours=2))),
    "durations": pd.to_timedelta([1, 2, None], unit="s"),
    "nullable": pd.array([1, None, 3], dtype="Int16"),
    "nullable float": pd.array([1.5, None, 3], dtype="Float64"),
    "nullable bool": pd.array([True, None, False], dtype="boolean"),
    "categories": pd.Categorical(["b", "a", None], categories=["z", "b", "a"], ordered=True),
    "categories of numbers": pd.Categorical([3, 1, 3]),
    "arrow": pd.array([1, None, 3], dtype="int64[pyarrow]"),
}
#: pandas 2 makes a zone of another library of it.
LOST_BY_OLDER = {"offset"} if pd.__version__ < "3" else set()
OTHER_COLUMNS = {
    "mixed": pd.Series([1, "a", None], dtype=object),
    "objects with nan": pd.Series(["a", np.nan, None], dtype=object),
    "bools and none": pd.Series([True, None, False], dtype=object),
    "dates": [datetime.date(2020, 1, 1)] * 3,
    "decimals": [decimal.Decimal("1.10")] * 3,
    "lists": [[1], [2, 3], None],
    "complex": [1j, 2, 3],
    "periods": pd.period_range("2020", periods=3),
    "intervals": pd.interval_range(0, 3),
    "sparse": pd.arrays.SparseArray([0, 0, 1]),
    "lone surrogate": pd.Series(["\ud800", "b", "c"], dtype=object),
}
INDEXES = {
    "range": pd.RangeIndex(3, 9, 2, name="r"),
    "integers": pd.Index([5, 3, 3]),
    "floats": pd.Index([0.5, np.nan, 1]),
    "text": pd.Index(["a", "b", "b"], name="label"),
    "days with frequency": pd.date_range("2020", periods=3, freq="MS", name="month"),
    "days without": pd.DatetimeIndex(["2020-01-01", "2020-01-05", "2020-01-06"]),
    "utc": pd.date_range("2020", periods=3, freq="h", tz="UTC"),
    "durations": pd.timedelta_range("1h", periods=3, freq="h"),
    "categories": pd.CategoricalIndex(["x", "y", "x"], categories=["y", "x", "z"]),
    "levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["k", None]),
    "nameless levels": pd.MultiIndex.from_product([["a", "b", "c"], [1]]),
}
OTHER_INDEXES = {
    "unused level": pd.MultiIndex.from_product([["a", "b", "c", "d"], [1]])[:3],
    "gap in a level": pd.MultiIndex.from_tuples([("a", 1), (None, 2), ("b", 1)]),
    "mixed": pd.Index([1, "a", None]),
    "tuple as name": pd.Index([1, 2, 3], name=("a", 1)),
    "intervals": pd.IntervalIndex.from_breaks([0, 1, 2, 3]),
    "same names": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["k", "k"]),
}


def assert_same_frame(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    pd.testing.assert_frame_equal(left, right, check_exact=True, check_index_type="exact")
    assert type(left.index) is type(right.index)
    assert type(left.columns) is type(right.columns)
    assert left.columns.dtype == right.columns.dtype
    assert getattr(left.index, "freq", None) == getattr(right.index, "freq", None)
    assert left.attrs == right.attrs
    for one, other in zip(left.dtypes, right.dtypes, strict=True):
        assert repr(one) == repr(other)
        assert type(getattr(one, "tz", None)) is type(getattr(other, "tz", None))
    for position in range(left.shape[1]):
        if left.dtypes.iloc[position] == "object":
            kinds = [[type(item) for item in side.iloc[:, position]] for side in (left, right)]
            assert kinds[0] == kinds[1]


def assert_writable(frame: Any) -> None:
    for position in range(frame.shape[1]):
        if len(frame):
            frame.iloc[0, position] = frame.iloc[-1, position]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_goes_through_arrow_and_comes_back_exactly(
    name: str, dump: Any, there_and_back: Any
) -> None:
    frame = pd.DataFrame({name: COLUMNS[name], "second": [1.5, 2.5, 3.5]})
    chosen, found = there_and_back(frame)
    assert chosen == ("pickle5" if name in LOST_BY_OLDER else "pandas")
    assert_same_frame(frame, found)
    assert_writable(found)
    if chosen == "pickle5":
        return
    table = ipc.open_file(pa.py_buffer(bytes(dump(frame).data))).read_all()
    assert table.column_names == [name, "second"]
    assert table.column("second").to_pylist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_without_rows_and_a_large_one_come_back_exactly(
    name: str, there_and_back: Any
) -> None:
    floats = [1.5, np.nan, 3.5]
    frame = pd.DataFrame({name: COLUMNS[name], "f": floats, "g": floats, "h": floats})
    assert_same_frame(frame.iloc[:0], there_and_back(frame.iloc[:0])[1])
    # Beyond 1 MiB columns stand on the mapping itself.
    large = pd.concat([frame] * 15_000, ignore_index=True)
    chosen, found = there_and_back(large)
    assert chosen == ("pickle5" if name in LOST_BY_OLDER else "pandas")
    assert_same_frame(large, found)
    assert_writable(found)


@pytest.mark.parametrize("name", OTHER_COLUMNS)
def test_a_column_that_arrow_would_change_is_pickled(name: str, there_and_back: Any) -> None:
    frame = pd.DataFrame({name: OTHER_COLUMNS[name]})
    chosen, found = there_and_back(frame)
    assert chosen == "pickle5"
    assert_same_frame(frame, found)


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_goes_through_arrow_and_comes_back_exactly(name: str, there_and_back: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]}, index=INDEXES[name])
    chosen, found = there_and_back(frame)
    assert chosen == "pandas"
    assert_same_frame(frame, found)
    if name == "levels":
        assert [list(level) for level in found.index.levels] == [["a", "b"], [1, 2]]


@pytest.mark.parametrize("name", OTHER_INDEXES)
def test_an_index_that_arrow_would_change_is_pickled(name: str, there_and_back: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=OTHER_INDEXES[name])
    chosen, found = there_and_back(frame)
    assert chosen == "pickle5"
    assert_same_frame(frame, found)


FRAMES = {
    "nothing": (pd.DataFrame(), "pandas"),
    "rows only": (pd.DataFrame(index=range(3)), "pandas"),
    "labels only": (pd.DataFrame(index=["a", "b"]), "pandas"),
    "columns only": (pd.DataFrame(columns=["a", "b"]), "pandas"),
    "numbered columns": (pd.DataFrame(np.eye(3)), "pandas"),
    "any numbers": (pd.DataFrame(np.eye(3), columns=[7, -1, 2]), "pandas"),
    "named columns": (pd.DataFrame({"a": [1]}).rename_axis(columns="c"), "pandas"),
    "named numbers": (pd.DataFrame(np.eye(2)).rename_axis(columns="c"), "pandas"),
    "index named as a column": (pd.DataFrame({"a": [1]}, index=pd.Index([2], name="a")), "pandas"),
    "attributes": (pd.DataFrame({"a": [1]}), "pandas"),
    "other attributes": (pd.DataFrame({"a": [1]}), "pickle5"),
    "double names": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "pickle5"),
    "mixed names": (pd.DataFrame([[1, 2]], columns=["a", 1]), "pickle5"),
    "two levels of names": (
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([["a"], ["b", "c"]])),
        "pickle5",
    ),
    "name of an index": (pd.DataFrame({"__index_level_0__": [1]}), "pickle5"),
    "no duplicates": (pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False), "pickle5"),
    "every second row": (pd.DataFrame({"a": range(10), "b": np.arange(10.0)}).iloc[::2], "pandas"),
}
FRAMES["attributes"][0].attrs = {"unit": "m", "n": [1, None]}
FRAMES["other attributes"][0].attrs = {"at": datetime.date(2020, 1, 1)}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_every_shape_come_back_exactly(name: str, there_and_back: Any) -> None:
    frame, expected = FRAMES[name]
    chosen, found = there_and_back(frame)
    assert chosen == expected
    assert_same_frame(frame, found)
    assert found.flags.allows_duplicate_labels == frame.flags.allows_duplicate_labels


class Frame(pd.DataFrame):  # type: ignore[misc]
    @property
    def _constructor(self) -> Any:
        return Frame


def test_a_subclass_keeps_its_type(there_and_back: Any) -> None:
    chosen, found = there_and_back(Frame({"a": [1]}))
    assert (chosen, type(found)) == ("pickle5", Frame)


def test_a_surrogate_behind_the_first_rows_is_seen(there_and_back: Any) -> None:
    frame = pd.DataFrame({"a": pd.Series(["x"] * 2000 + ["\udc80"], dtype=object)})
    chosen, found = there_and_back(frame)
    assert chosen == "pickle5"
    assert found["a"].iloc[-1] == "\udc80"


def test_an_odd_object_behind_the_first_rows_is_seen(there_and_back: Any) -> None:
    frame = pd.DataFrame({"a": pd.Series(["x"] * 2000 + [1], dtype=object)})
    assert there_and_back(frame)[0] == "pickle5"


def test_large_columns_of_numbers_stand_on_the_mapping(dump: Any) -> None:
    frame = pd.DataFrame({"i": np.arange(200_000), "f": np.arange(2e5), "d": np.arange(200_000)})
    frame["d"] = frame["d"].astype("M8[ns]")
    frame.iloc[5, 1] = np.nan
    memory = memoryview(bytearray(dump(frame).data))

    class Reader:
        is_foreign = False

        def view(self) -> memoryview:
            return memory

    found = serializers.by_id("pandas").load(Reader())  # type: ignore[arg-type]
    mapped = np.frombuffer(memory, np.uint8)
    assert all(np.shares_memory(found[name].to_numpy(), mapped) for name in frame)
    found.loc[0, "i"] = -1
    assert frame.loc[0, "i"] == 0


SERIES = {
    "named": (pd.Series([1, 2], name="n"), "pandas-series"),
    "nameless": (pd.Series([1.5, None]), "pandas-series"),
    "empty name": (pd.Series([1], name=""), "pandas-series"),
    "numbered": (pd.Series([1], name=3), "pandas-series"),
    "other name": (pd.Series([1], name=(1, 2)), "pickle5"),
    "empty": (pd.Series([], dtype="f8"), "pandas-series"),
    "indexed": (pd.Series(["a"], index=pd.Index(["k"], name="key"), name="n"), "pandas-series"),
    "utc": (pd.Series(pd.date_range("2020", periods=2, tz="UTC")), "pandas-series"),
    "attributes": (pd.Series([1], name="n"), "pandas-series"),
    "categories": (pd.Series(["a", "b"], dtype="category"), "pandas-series"),
    "mixed": (pd.Series([1, "a"], dtype=object), "pickle5"),
}
SERIES["attributes"][0].attrs = {"unit": "m"}


@pytest.mark.parametrize("name", SERIES)
def test_series_come_back_exactly(name: str, there_and_back: Any) -> None:
    series, expected = SERIES[name]
    chosen, found = there_and_back(series)
    assert chosen == expected
    pd.testing.assert_series_equal(series, found, check_exact=True, check_index_type="exact")
    assert (type(found), found.attrs, type(found.name)) == (
        type(series),
        series.attrs,
        type(series.name),
    )
    found.iloc[: len(found)] = series


def test_other_pandas_objects_are_pickled(there_and_back: Any) -> None:
    for value in (pd.Timestamp("2020", tz="UTC"), pd.Index([1]), pd.NaT, pd.Interval(0, 1)):
        chosen, found = there_and_back(value)
        assert chosen == "pickle5"
        assert type(found) is type(value)


CELLS = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "bool": st.booleans(),
    "str": st.text(string.printable + "é🌱", max_size=5) | st.none(),
    "object": st.text(max_size=3) | st.none() | st.integers() | st.just(float("nan")),
    "Int64": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "category": st.sampled_from(["a", "b", "c"]) | st.none(),
    "datetime64[ns]": st.integers(-(2**63) + 1, 2**63 - 1).map(pd.Timestamp) | st.none(),
}


@st.composite
def frames(draw: Any) -> Any:
    height = draw(st.integers(0, 6))
    names = draw(st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=4))
    data = {}
    for name in names:
        dtype = draw(st.sampled_from([*CELLS]))
        cells = draw(st.lists(CELLS[dtype], min_size=height, max_size=height))
        data[name] = pd.Series(cells, dtype=dtype)
    frame = pd.DataFrame(data, index=range(height))
    keys = draw(st.sampled_from([[], [], names[:1], names[:2]]))
    return frame.set_index(keys, drop=draw(st.booleans())) if keys else frame


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(frame=frames())
def test_any_frame_comes_back_exactly(frame: Any, there_and_back: Any) -> None:
    _, found = there_and_back(frame)
    assert_same_frame(frame, found)
