from __future__ import annotations

import datetime
import decimal
import io
import string
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import serializers
from flowblob.errors import SerializationError

np: Any = pytest.importorskip("numpy")
pa: Any = pytest.importorskip("pyarrow")
pd: Any = pytest.importorskip("pandas")
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


# ------------------------------------------------------------------ pyarrow

DICTIONARY = pa.array(["a", "b", None]).dictionary_encode()
ARROW = {
    "table": (pa.table({"a": [1, None], "b": ["x", "y"]}), "arrow"),
    "chunks": (pa.table({"a": pa.chunked_array([[1], [2, 3]])}), "arrow"),
    "metadata": (pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}), "arrow"),
    "no rows": (pa.table({"a": pa.array([], pa.list_(pa.int8()))}), "arrow"),
    "nothing": (pa.table({}), "arrow"),
    "dictionary": (pa.table({"a": DICTIONARY}), "arrow"),
    "dictionaries": (pa.table({"a": pa.chunked_array([DICTIONARY, DICTIONARY[1:]])}), "pickle5"),
    "nested": (pa.table({"a": [{"b": [1, 2], "c": {"d": None}}]}), "arrow"),
    "map": (pa.table({"a": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))}), "arrow"),
    "batch": (pa.record_batch({"a": [1, 2]}), "arrow-batch"),
    "array": (pa.array([1, None, 3]), "arrow-array"),
    "slice": (pa.array(range(100))[10:20], "arrow-array"),
    "dictionary array": (DICTIONARY, "arrow-array"),
    "empty array": (pa.array([], pa.string()), "arrow-array"),
    "chunked array": (pa.chunked_array([[1], [2]]), "pickle5"),
    "scalar": (pa.scalar(1), "pickle5"),
}


@pytest.mark.parametrize("name", ARROW)
def test_arrow_values_come_back_exactly(name: str, there_and_back: Any, dump: Any) -> None:
    value, expected = ARROW[name]
    chosen, found = there_and_back(value)
    assert chosen == expected
    assert type(found) is type(value)
    options = {"check_metadata": True} if hasattr(value, "schema") else {}
    assert found.equals(value, **options)
    if chosen != "pickle5":
        opened = ipc.open_file(pa.py_buffer(bytes(dump(value).data))).read_all()
        assert opened.num_rows == len(value)


class Celsius(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.float64(), "test.celsius")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Celsius:
        return cls()


def test_types_that_python_defines_are_pickled(there_and_back: Any) -> None:
    array = pa.ExtensionArray.from_storage(Celsius(), pa.array([1.0]))
    for value in (
        array,
        pa.table({"a": array}),
        pa.table({"a": pa.ListArray.from_arrays([0, 1], array)}),
    ):
        chosen, found = there_and_back(value)
        assert chosen == "pickle5"
        assert found.equals(value)


def test_a_table_is_written_and_read_without_a_copy() -> None:
    array = np.arange(100_000.0)
    table = pa.table({"a": array})
    seen = []

    class Writer:
        def write(self, data: Any) -> int:
            seen.append(data)
            return len(data)

    serializers.by_id("arrow").dump(table, Writer())  # type: ignore[arg-type]
    assert any(np.shares_memory(np.frombuffer(data, np.uint8), array) for data in seen)
    memory = memoryview(bytearray(b"".join(seen)))

    class Reader:
        is_foreign = False

        def view(self) -> memoryview:
            return memory

    found = serializers.by_id("arrow").load(Reader())  # type: ignore[arg-type]
    assert np.shares_memory(found["a"].to_numpy(), np.frombuffer(memory, np.uint8))


@pytest.mark.parametrize(
    "id_", ["arrow", "arrow-batch", "arrow-array", "pandas", "pandas-series", "polars"]
)
@pytest.mark.parametrize("payload", [b"", b"ARROW1\0\0", b"ARROW1\0\0" + bytes(50) + b"ARROW1"])
def test_a_payload_that_is_no_table_is_one_error(id_: str, payload: bytes, reader: Any) -> None:
    with pytest.raises(SerializationError, match="cannot be read"):
        serializers.by_id(id_).load(reader(payload))


def test_an_arrow_file_of_somebody_else_is_no_frame_of_ours(reader: Any) -> None:
    out = io.BytesIO()
    table = pa.table({"a": [1]})
    with ipc.new_file(out, table.schema) as writer:
        writer.write(table)
    with pytest.raises(SerializationError, match="frame cannot be read"):
        serializers.by_id("pandas").load(reader(out.getvalue()))


# ------------------------------------------------------------------ polars


def test_polars_frames_come_back_exactly(there_and_back: Any) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "integer": [1, 2, None],
            "text": ["a", "long enough to stand outside of its view", None],
            "categories": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
            "enum": pl.Series(["x", "y", None], dtype=pl.Enum(["z", "x", "y"])),
            "list": [[1], [2, 3], None],
            "array": pl.Series([[1, 2]] * 3, dtype=pl.Array(pl.Int8, 2)),
            "struct": [{"a": 1}, {"a": None}, None],
            "date": [datetime.date(2020, 1, 1)] * 3,
            "time": [datetime.time(1)] * 3,
            "duration": [datetime.timedelta(1)] * 3,
            "zone": pl.Series([0, 1, None]).cast(pl.Datetime("us", "Asia/Tokyo")),
            "decimal": [decimal.Decimal("1.10")] * 3,
            "bytes": [b"a", b"", None],
            "nothing": [None, None, None],
            "": [True, None, False],
        }
    )
    for value in (
        frame,
        frame.head(1),
        frame.clear(),
        pl.concat([frame, frame], rechunk=False),
        pl.DataFrame(),
    ):
        chosen, found = there_and_back(value)
        if hasattr(pl, "Int128"):  # older ones export an Enum as a Categorical
            assert chosen == "polars"
        assert found.schema == value.schema
        assert found.equals(value, null_equal=True)
    for name in frame.columns:
        chosen, found = there_and_back(frame[name])
        assert (chosen == "polars-series") or not hasattr(pl, "Int128")
        assert (found.name, found.dtype) == (name, frame[name].dtype)
        assert found.equals(frame[name], null_equal=True)


def test_a_polars_type_that_arrow_lacks_is_pickled(there_and_back: Any) -> None:
    pl = pytest.importorskip("polars")
    if not hasattr(pl, "Int128"):
        pytest.skip("this polars has no such type")
    frame = pl.DataFrame({"a": pl.Series([2**100, None], dtype=pl.Int128)})
    chosen, found = there_and_back(frame)
    assert chosen == "pickle5"
    assert found.schema == frame.schema
    assert found.equals(frame)


def test_without_pyarrow_polars_writes_and_reads_by_itself_and_pandas_is_pickled(
    tmp_path: Any, reader: Any
) -> None:
    pl = pytest.importorskip("polars")
    script = """
import sys
sys.modules["pyarrow"] = None
import pandas, polars
from flowblob import serializers
class Out:
    def __init__(self): self.data = bytearray()
    def write(self, data): self.data += data; return len(data)
class In:
    is_foreign = False
    def __init__(self, data): self.data = data
    def view(self): return memoryview(bytearray(self.data))
def there_and_back(value):
    chosen, out = serializers.for_value(value), Out()
    chosen.dump(value, out)
    return chosen.id, chosen.load(In(out.data)), out.data
frame = polars.DataFrame({"a": [1, None], "s": ["x", "y"], "": [True, False]})
id_, found, data = there_and_back(frame)
assert (id_, found.schema) == ("polars", frame.schema) and found.equals(frame)
id_, found, _ = there_and_back(frame[""])
assert (id_, found.name) == ("polars-series", "")
open(sys.argv[1], "wb").write(data)
frame = pandas.DataFrame({"a": [1, 2], "s": ["x", None]})
id_, found, _ = there_and_back(frame)
assert id_ == "pickle5"
pandas.testing.assert_frame_equal(frame, found)
"""
    payload = tmp_path / "payload"
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, payload], check=True)
    found = serializers.by_id("polars").load(reader(payload.read_bytes()))
    assert found.equals(pl.DataFrame({"a": [1, None], "s": ["x", "y"], "": [True, False]}))


def test_a_slice_of_long_text_does_not_carry_the_rest(dump: Any) -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": ["long enough to stand outside of its view " * 20] * 10_000})
    assert len(dump(frame.head(3)).data) < 100_000


def test_a_polars_plan_is_refused_with_a_way_out() -> None:
    pl = pytest.importorskip("polars")
    with pytest.raises(SerializationError, match=r"frame\.collect\(\)"):
        serializers.for_value(pl.LazyFrame({"a": [1]}))
