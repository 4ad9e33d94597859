"""Values of Arrow and Polars come back exactly, and as Arrow files."""

from __future__ import annotations

import datetime
import decimal
import io
import subprocess
import sys
from typing import Any

import pytest

from flowblob import serializers
from flowblob.errors import SerializationError

np: Any = pytest.importorskip("numpy")
pa: Any = pytest.importorskip("pyarrow")
ipc: Any = pytest.importorskip("pyarrow.ipc")

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
