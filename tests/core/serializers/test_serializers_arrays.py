from __future__ import annotations

import io
from typing import Any

import pytest

from flowblob import serializers
from flowblob.errors import SerializationError

np: Any = pytest.importorskip("numpy")

RECORD = np.dtype([("name", "U5"), ("at", "M8[s]"), ("xy", "<f4", (2,))])
ARRAYS = {
    "one dimension": np.arange(10),
    "two dimensions": np.arange(12.0).reshape(3, 4),
    "fortran order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "no dimension": np.array(3.5),
    "no items": np.empty((0, 3), dtype="i4"),
    "no items in fortran order": np.empty((3, 0, 2), dtype="i4", order="F"),
    "bool": np.array([True, False]),
    "big-endian": np.arange(5, dtype=">i4"),
    "strided": np.arange(20)[::3],
    "reversed": np.arange(20.0)[::-1],
    "columns of a matrix": np.arange(20).reshape(4, 5)[:, 1:3],
    "transposed in three dimensions": np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    "broadcast": np.broadcast_to(np.arange(3), (4, 3)),
    "dates": np.array(["2020-01-01", "NaT"], dtype="M8[D]"),
    "durations": np.array([1, 2], dtype="m8[ns]"),
    "half": np.arange(4, dtype="f2"),
    "long double": np.arange(4, dtype="g"),
    "complex": np.array([1j, 2]),
    "bytes": np.array([b"a", b"bc"]),
    "text": np.array(["a", "grün"]),
    "structured": np.zeros(3, dtype=RECORD),
    "nested": np.zeros(2, dtype=[("a", [("b", "i4"), ("c", ">f8")])]),
    "packed with holes": np.zeros(
        2, dtype={"names": ["a", "b"], "formats": ["i4", "f8"], "offsets": [0, 16], "itemsize": 32}
    ),
    "nan": np.array([np.nan, -0.0, np.inf]),
}


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    assert left.dtype == right.dtype
    assert left.dtype.str == right.dtype.str
    assert left.shape == right.shape
    if left.dtype.itemsize == 32:
        assert left.tolist() == right.tolist()  # what lies in the holes is nobody's
    else:
        assert left.tobytes() == right.tobytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_an_npy_file_and_comes_back_writable(
    name: str, dump: Any, there_and_back: Any
) -> None:
    array = ARRAYS[name]
    chosen, found = there_and_back(array)
    assert chosen == "npy"
    assert_same(found, array)
    assert found.flags.writeable
    assert_same(np.load(io.BytesIO(dump(array).data), allow_pickle=False), array)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_in_memory_is_kept(order: str, there_and_back: Any) -> None:
    _, found = there_and_back(np.ones((3, 4), order=order))
    assert found.flags[f"{order}_CONTIGUOUS"]


def test_the_data_begin_at_a_multiple_of_64_bytes(dump: Any) -> None:
    array = np.arange(100.0)
    assert (len(dump(array).data) - array.nbytes) % 64 == 0


def test_a_contiguous_array_is_written_without_a_copy() -> None:
    array = np.arange(1000.0)
    seen = []

    class Writer:
        def write(self, data: Any) -> int:
            seen.append(np.asarray(memoryview(data)))
            return len(data)

    serializers.by_id("npy").dump(array, Writer())  # type: ignore[arg-type]
    assert np.shares_memory(seen[-1], array)


def test_loading_makes_no_copy(dump: Any) -> None:
    memory = memoryview(bytearray(dump(np.arange(1000.0)).data))

    class Reader:
        def view(self) -> memoryview:
            return memory

    found = serializers.by_id("npy").load(Reader())  # type: ignore[arg-type]
    assert np.shares_memory(found, np.frombuffer(memory, np.uint8))


class Meters(np.ndarray):  # type: ignore[misc]
    pass


OTHERS = {
    "objects": np.array([1, "a", None], dtype=object),
    "objects in a structure": np.array([(1, "x")], dtype=[("a", "i4"), ("b", "O")]),
    "subclass": np.arange(3).view(Meters),
    "matrix": np.arange(4).reshape(2, 2).view(np.matrix),
    "recarray": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]).view(np.recarray),
    "metadata": np.zeros(2, dtype=np.dtype("f8", metadata={"unit": "m"})),
    "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "titles": np.zeros(2, dtype=[(("title", "a"), "i4")]),
    "greek field": np.zeros(2, dtype=[("λ", "i4")]),
    "no bytes": np.zeros(2, dtype="V0"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_npy_would_flatten_is_pickled(name: str, there_and_back: Any) -> None:
    array = OTHERS[name]
    chosen, found = there_and_back(array)
    assert chosen == "pickle5"
    assert type(found) is type(array)
    assert found.dtype == array.dtype
    assert (found.dtype.metadata or {}) == (array.dtype.metadata or {})
    assert found.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert found.tolist() == array.tolist()


def test_masked_arrays_and_memmaps_keep_their_type(there_and_back: Any, tmp_path: Any) -> None:
    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    chosen, found = there_and_back(masked)
    assert (chosen, type(found)) == ("pickle5", type(masked))
    assert found.tolist() == [1, None, 3]
    mapped = np.memmap(tmp_path / "file", dtype="i4", mode="w+", shape=(3,))
    chosen, found = there_and_back(mapped)
    assert (chosen, type(found)) == ("pickle5", np.memmap)
    assert found.tolist() == [0, 0, 0]


def test_variable_width_text_is_pickled(there_and_back: Any) -> None:
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("numpy 1 has no such type")
    array = np.array(["a", "grün"], dtype=np.dtypes.StringDType())
    chosen, found = there_and_back(array)
    assert chosen == "pickle5"
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


SCALARS = [
    np.float64(0.1),
    np.int8(-1),
    np.bool_(True),
    np.datetime64("2020", "Y"),
    np.longdouble(1) / 3,
]


@pytest.mark.parametrize("scalar", SCALARS, ids=repr)
def test_a_scalar_comes_back_as_the_same_type(scalar: Any, there_and_back: Any) -> None:
    chosen, found = there_and_back(scalar)
    assert chosen == "npy-scalar"
    assert type(found) is type(scalar)
    assert found.dtype == scalar.dtype
    assert found == scalar


@pytest.mark.parametrize("scalar", [np.str_("a\0"), np.bytes_(b"a\0"), np.void(b"ab")], ids=repr)
def test_a_scalar_that_an_array_would_cut_is_pickled(scalar: Any, there_and_back: Any) -> None:
    chosen, found = there_and_back(scalar)
    assert chosen == "pickle5"
    assert (type(found), found) == (type(scalar), scalar)


def _npy(description: str, data: bytes = b"") -> bytes:
    header = description.encode().ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", bytes(8)),
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(9)),
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }", bytes(8)),
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2**62, 4), }", bytes(8)),
        _npy("__import__('os')"),
    ],
)
def test_a_payload_that_is_no_array_is_one_error(payload: bytes, reader: Any) -> None:
    with pytest.raises(SerializationError, match="cannot be read"):
        serializers.by_id("npy").load(reader(payload))
