"""Arrays, frames and Arrow tables count by value, dtype and shape."""

from __future__ import annotations

import copy
import tracemalloc
from typing import Any

import pytest

from flowblob.errors import InvalidInputError
from flowblob.keys import identify_value, portable_digest, value_digest

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")


class Lazy:
    __flowblob_lazy__ = True

    def __init__(self, value: object) -> None:
        self.digest = portable_digest(value)

    def value_digest(self) -> str:
        return self.digest


class Own(np.ndarray):  # type: ignore[misc,name-defined]
    pass


def frame() -> Any:
    return pd.DataFrame(
        {
            "i": [1, 2, 3, 4],
            "f": [0.5, np.nan, -0.0, 2.0],
            "s": ["a", "b", None, "d"],
            "o": [[1], (2,), {"x": 3}, None],
            "t": pd.date_range("2020", periods=4, tz="Europe/Berlin"),
            "d": pd.to_timedelta([1, 2, 3, 4], unit="s"),
            "c": pd.Categorical(["x", "y", "x", None]),
            "n": pd.array([1, None, 3, 4], dtype="Int64"),
            "b": pd.array([True, None, False, True], dtype="boolean"),
            "p": pd.period_range("2020-01", periods=4, freq="M"),
            "a": pd.array([1, 2, None, 4], dtype="int64[pyarrow]"),
        },
        index=pd.Index(["w", "x", "y", "z"], name="row"),
    )


ARRAYS: list[Any] = [
    np.arange(6),
    np.arange(6, dtype="i4"),
    np.arange(6, dtype=">i8"),
    np.arange(6, dtype="u8"),
    np.arange(6).astype("m8[s]"),
    np.arange(6).astype("M8[s]"),
    np.arange(6).astype("M8[ms]"),
    np.arange(6).reshape(2, 3),
    np.arange(6).reshape(3, 2),
    np.arange(6).reshape(1, 6),
    np.arange(6.0),
    np.arange(6, dtype="f4"),
    np.arange(6, dtype="f2"),
    np.arange(6, dtype="c16"),
    np.arange(6, dtype="longdouble"),
    np.arange(6).astype(bool),
    np.arange(6).astype("U2"),
    np.arange(6).astype("S2"),
    np.arange(6).astype("S3"),
    np.arange(6).astype(object),
    np.array([]),
    np.zeros((0, 3)),
    np.zeros((3, 0)),
    np.zeros((), dtype=int),
    np.zeros(1, dtype=int),
    np.zeros(2, dtype="S0"),
    np.int64(0),
    np.int32(0),
    np.float64(0),
    np.float64(-0.0),
    np.bool_(False),
    np.str_(""),
    np.datetime64(0, "s"),
    np.datetime64(0, "ms"),
    np.zeros(2, dtype=[("a", "i4"), ("b", "f8")]),
    np.zeros(2, dtype=[("a", "i4"), ("c", "f8")]),
    np.zeros(2, dtype=[("a", "i4", 2)]),
    np.zeros(2, dtype=np.dtype([("a", "i4"), ("b", "f8")], align=True)),
    np.zeros(2, dtype=np.dtype("f8", metadata={"unit": "m"})),
    np.zeros(2).view(Own),
    np.ma.masked_array([0, 0], [True, False], dtype=float),
    np.ma.masked_array([0, 0], [False, False], dtype=float),
    np.dtype("f8"),
    np.dtype("f4"),
    np.add,
    np.subtract,
    np.mean,
    np.median,
    [0, 1, 2, 3, 4, 5],
    pd.Series(np.arange(6)),
    pd.Series(np.arange(6), name="x"),
    pd.Series(np.arange(6), index=list("abcdef")),
    pd.Index(np.arange(6)),
    pd.RangeIndex(6),
    pd.MultiIndex.from_arrays([np.arange(6), np.arange(6)]),
    pd.Timestamp("2020"),
    pd.Timestamp("2020", tz="UTC"),
    pd.Timedelta(1),
    pd.NaT,
    pd.NA,
    pd.Categorical(["a", "b"]),
    pd.Categorical(["a", "b"], ordered=True),
    pd.Categorical(["a", "b"], categories=["b", "a"]),
    pd.DataFrame({"a": [1]}),
    pd.DataFrame({"a": [1.0]}),
    pd.DataFrame({"b": [1]}),
    pd.DataFrame({"a": [1]}, index=[1]),
    pd.DataFrame({"a": [1], "b": [1]}),
    pd.DataFrame({"b": [1], "a": [1]}),
    pd.DataFrame({"a": ["1"]}),
    pd.DataFrame({"a": ["1"]}, dtype=object),
    pd.DataFrame({"a": pd.array([1], dtype="Int64")}),
    pd.DataFrame({"a": pd.array([1], dtype="int64[pyarrow]")}),
    pd.DataFrame({"a": pd.Categorical([1])}),
    pd.DataFrame(),
    pl.DataFrame({"a": [1]}),
    pl.DataFrame({"b": [1]}),
    pl.DataFrame({"a": [1.0]}),
    pl.DataFrame({"a": ["1"]}),
    pl.DataFrame({"a": [None, 1]}),
    pl.DataFrame({"a": [1, None]}),
    pl.Series("a", [1]),
    pl.Series("b", [1]),
    pl.Series("a", [[1], [2, 3]]),
    pl.Series("a", [[1, 2], [3]]),
    pa.table({"a": [1]}),
    pa.table({"b": [1]}),
    pa.table({"a": [1.0]}),
    pa.table({"a": [None, 1]}),
    pa.table({"a": [0, 1]}),
    pa.table({"a": ["a", "b"]}),
    pa.table({"a": ["", "ab"]}),
    pa.table({"a": ["ab", ""]}),
    pa.table({"a": [None, "ab"]}),
    pa.table({"a": [b"a", b"b"]}),
    pa.table({"a": pa.array(["a", "b"], pa.large_string())}),
    pa.table({"a": pa.array(["a", "b"], pa.string_view())}),
    pa.table({"a": pa.array(["a", "b"]).dictionary_encode()}),
    pa.table({"a": [[1], [2]]}),
    pa.table({"a": [[1, 2], []]}),
    pa.table({"a": [[1, 2], None]}),
    pa.table({"a": [{"x": 1}, {"x": 2}]}),
    pa.table({"a": [{"x": 1}, None]}),
    pa.table({"a": [{"x": 1}, {"x": None}]}),
    pa.table({"a": [True, False]}),
    pa.table({"a": [False, True]}),
    pa.table({"a": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64()))}),
    pa.table({"a": pa.nulls(2)}),
    pa.table({"a": [1]}).replace_schema_metadata({"x": "y"}),
    pa.record_batch({"a": [1]}),
    pa.array([1]),
    pa.chunked_array([[1]]),
    pa.scalar(1),
    pa.int64(),
    pa.schema([("a", pa.int64())]),
    frame(),
]


def test_no_two_different_arrays_share_a_digest() -> None:
    found: dict[str, Any] = {}
    for value in ARRAYS:
        digest = value_digest(value)
        assert digest not in found, f"{value!r} meets {found[digest]!r}"
        found[digest] = value


@pytest.mark.parametrize("at", range(len(ARRAYS)))
def test_a_copy_has_the_same_digest(at: int) -> None:
    assert value_digest(copy.deepcopy(ARRAYS[at])) == value_digest(ARRAYS[at])
    assert value_digest([copy.copy(ARRAYS[at])]) == value_digest([ARRAYS[at]])


def test_exact_rules_bring_no_warnings() -> None:
    for value in ARRAYS:
        assert identify_value(value).warnings == ()


@pytest.mark.parametrize("dtype", ["f8", "i2", "M8[ns]", "U3", "O", "c8", "?", [("a", "i4")]])
def test_memory_layout_does_not_count(dtype: Any) -> None:
    base = np.arange(24).astype("i4").astype(dtype).reshape(4, 6)
    expected = value_digest(base)
    assert value_digest(np.asfortranarray(base)) == expected
    assert value_digest(np.repeat(base, 2, axis=1)[:, ::2]) == expected
    assert value_digest(base[::-1][::-1]) == expected
    assert value_digest(base.T) == value_digest(np.ascontiguousarray(base.T))
    assert value_digest(base[1:3, 2:]) == value_digest(base[1:3, 2:].copy())


def test_large_strided_arrays_equal_their_copies() -> None:
    base = np.arange(3 * 1_200_000, dtype="i4").reshape(3, -1)
    assert value_digest(np.asfortranarray(base)) == value_digest(base)
    assert value_digest(base.T) == value_digest(np.ascontiguousarray(base.T))
    assert value_digest(base[:, ::2]) == value_digest(base[:, ::2].copy())
    assert value_digest(base[1, ::-1]) == value_digest(base[1, ::-1].copy())


def test_padding_does_not_count() -> None:
    dtype = np.dtype([("a", "u1"), ("b", "f8")], align=True)
    one = np.frombuffer(b"\x00" * 32, dtype=dtype)
    other = np.frombuffer(b"\x00" + b"\xff" * 7 + b"\x00" * 8 + b"\x00" * 16, dtype=dtype)
    assert value_digest(one) == value_digest(other)
    long = np.ones(2, dtype="longdouble")
    dirty = long.copy()
    if np.finfo("longdouble").nmant == 63:
        dirty.view("u1")[10:16] = 7
    assert value_digest(long) == value_digest(dirty)


def test_what_lies_under_a_mask_does_not_count_in_nullable_columns() -> None:
    one = pd.arrays.IntegerArray(np.array([1, 5]), np.array([False, True]))
    other = pd.arrays.IntegerArray(np.array([1, 7]), np.array([False, True]))
    assert value_digest(pd.Series(one)) == value_digest(pd.Series(other))


def test_hashing_a_large_array_makes_no_copy() -> None:
    array = np.zeros(4_000_000)
    value_digest(array[:1])
    tracemalloc.start()
    value_digest(array)
    value_digest([array])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_hashing_a_strided_array_copies_a_bounded_part() -> None:
    array = np.asfortranarray(np.zeros((4000, 4000)))
    tracemalloc.start()
    value_digest(array)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 8


def test_a_slice_of_a_frame_equals_its_copy() -> None:
    whole = pd.concat([frame(), frame()])
    for part in (whole[2:5], whole.iloc[::2], whole[["f", "s"]], whole[whole["i"] > 1]):
        assert value_digest(part) == value_digest(part.copy(deep=True))
    part = pl.DataFrame({"a": list(range(10)), "b": list("abcdefghij")})[3:7]
    assert value_digest(part) == value_digest(part.clone().rechunk())


def test_the_blocks_of_a_frame_do_not_count() -> None:
    one = pd.DataFrame(np.arange(6.0).reshape(3, 2), columns=["a", "b"])
    other = pd.DataFrame({"a": one["a"].copy()})
    other["b"] = one["b"].copy()
    assert value_digest(one) == value_digest(other)


def test_index_names_and_attributes_of_a_frame_count() -> None:
    one = frame()
    named = one.rename_axis("other")
    assert value_digest(named) != value_digest(one)
    noted = one.copy()
    noted.attrs["unit"] = "m"
    assert value_digest(noted) != value_digest(one)


def test_unused_levels_of_an_index_do_not_count() -> None:
    whole = pd.DataFrame({"v": range(4)}, index=pd.MultiIndex.from_product([[1, 2], ["a", "b"]]))
    part = whole.loc[[1]]
    slim = part.copy()
    slim.index = slim.index.remove_unused_levels()
    assert value_digest(part) == value_digest(slim)


def test_duplicate_column_names_are_no_obstacle() -> None:
    one = pd.DataFrame([[1, 2]], columns=["a", "a"])
    other = pd.DataFrame([[2, 1]], columns=["a", "a"])
    assert value_digest(one) != value_digest(other)


ARROW: list[Any] = [
    [1, None, 3, 4],
    ["a", None, "", "dd"],
    [b"a", None, b"", b"dd"],
    [True, None, False, True],
    [[1], None, [], [2, None]],
    [{"x": 1, "y": "a"}, None, {"x": None, "y": ""}, {"x": 4, "y": None}],
    [[{"x": [1]}], None, [], [{"x": None}]],
    [1.5, None, float("nan"), -0.0],
]


@pytest.mark.parametrize("items", ARROW, ids=str)
def test_chunks_and_offsets_of_arrow_do_not_count(items: list[Any]) -> None:
    whole = pa.array(items)
    expected = value_digest(pa.chunked_array([whole]))
    assert value_digest(pa.chunked_array([whole[:1], whole[1:3], whole[3:]])) == expected
    assert value_digest(pa.chunked_array([whole[:2], whole[:0], whole[2:]])) == expected
    padded = pa.array(items[:2] + items + items[2:])[2:6]
    assert value_digest(pa.chunked_array([padded])) == expected
    assert value_digest(padded) == value_digest(whole)


@pytest.mark.parametrize(
    "kind",
    ["large_string", "string_view", "binary", "large_binary", "binary_view"],
)
def test_all_kinds_of_arrow_text_ignore_chunks(kind: str) -> None:
    items = ["a", None, "", "a longer text than fits inline"]
    whole = pa.array(items).cast(getattr(pa, kind)())
    chunked = pa.chunked_array([whole[:1], whole[1:]])
    assert value_digest(pa.chunked_array([whole])) == value_digest(chunked)


def test_fixed_size_lists_and_extensions_of_arrow_ignore_chunks() -> None:
    pairs = pa.array([[1, 2], None, [3, None]], pa.list_(pa.int64(), 2))
    halves = pa.chunked_array([pairs[:1], pairs[1:]])
    assert value_digest(pa.chunked_array([pairs])) == value_digest(halves)
    boxes = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"x" * 16, None], pa.binary(16)))
    halves = pa.chunked_array([boxes[:1], boxes[1:]])
    assert value_digest(pa.chunked_array([boxes])) == value_digest(halves)
    assert value_digest(boxes) != value_digest(boxes.storage)


def test_categories_of_polars_count() -> None:
    def column(categories: list[str]) -> Any:
        return pl.Series("a", ["x", "y"], dtype=pl.Enum(categories))

    assert value_digest(column(["x", "y"])) == value_digest(column(["x", "y"]))
    assert value_digest(column(["x", "y"])) != value_digest(column(["y", "x"]))


def test_what_a_frame_of_another_package_carries_counts() -> None:
    class Mapped(pd.DataFrame):  # type: ignore[misc,name-defined]
        _metadata = ("crs",)
        crs = ""

    one, other = Mapped({"a": [1]}), Mapped({"a": [1]})
    assert value_digest(one) == value_digest(other) != value_digest(pd.DataFrame({"a": [1]}))
    other.crs = "epsg:4326"
    assert value_digest(one) != value_digest(other)


def test_the_dictionary_of_an_arrow_column_does_not_count() -> None:
    one = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array(["a", "b"]))
    other = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1]), pa.array(["b", "a", "c"]))
    assert value_digest(one) == value_digest(other)


def test_what_lies_under_a_null_does_not_count() -> None:
    valid = pa.py_buffer(b"\x01")
    one = pa.Array.from_buffers(pa.int32(), 2, [valid, pa.py_buffer(b"\x01\0\0\0\x02\0\0\0")])
    other = pa.Array.from_buffers(pa.int32(), 2, [valid, pa.py_buffer(b"\x01\0\0\0\x03\0\0\0")])
    assert value_digest(one) == value_digest(other)


def test_a_lazy_array_meets_an_eager_one_also_inside_of_others() -> None:
    for value in (np.arange(5.0), pd.DataFrame({"a": [1]}), pa.table({"a": [1]})):
        assert value_digest(Lazy(value)) == value_digest(value)
        assert value_digest([Lazy(value), 1]) == value_digest([value, 1])
        assert value_digest({"x": [Lazy(value)]}) == value_digest({"x": [value]})


def test_a_lazy_query_of_polars_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="collect"):
        value_digest(pl.DataFrame({"a": [1]}).lazy())


def test_objects_inside_of_arrays_count_exactly() -> None:
    def boxed(item: object) -> Any:
        array = np.empty(1, dtype=object)
        array[0] = item
        return array

    assert value_digest(boxed({"b", "a"})) == value_digest(boxed({"a", "b"}))
    assert value_digest(boxed((1,))) != value_digest(boxed([1]))
    assert value_digest(boxed(1)) != value_digest(boxed(True))
