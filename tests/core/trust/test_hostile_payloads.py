"""Payloads that somebody made to do harm: one clear error, and neither memory nor disk filled."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowblob import Store
from flowblob.errors import (
    FlowblobError,
    InvalidInputError,
    NotFoundError,
    PayloadMissingError,
    PayloadUnsafeError,
    SerializationError,
)

Forge = Callable[..., None]


@pytest.fixture
def load_as(store: Store, forge: Forge) -> Callable[[str, bytes], Any]:
    """Load bytes as if the catalog said that a serializer had written them."""

    def load(serializer: str, data: bytes) -> Any:
        blob = store.put("hostile", data)
        forge("UPDATE version SET serializer = ? WHERE id = ?", serializer, blob.id)
        try:
            return store.get(blob)
        finally:
            store.delete("hostile")

    return load


# ------------------------------------------------------------------ numpy


def _npy(header: str, data: bytes = b"", *, version: int = 1) -> bytes:
    text = header.encode("latin-1") + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + size + text + data


def _head(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


NPY = {
    "huge": _npy(_head("'<f8'", "(1000000000000, 1000000)"), b"\0" * 64),
    "huge and empty": _npy(_head("'<f8'", "(0, 1" + "0" * 30 + ")")),
    "of nothing": _npy(_head("'|S0'", "(1000000000000,)")),
    "of no width": _npy(_head("'|V0'", "(1000000000000,)")),
    "negative twice": _npy(_head("'<f8'", "(-2, -4)"), b"\0" * 64),
    "objects": _npy(_head("'|O'", "(8,)"), b"\0" * 64),
    "objects inside": _npy(_head("[('a', '|O')]", "(8,)"), b"\0" * 64),
    "deep header": _npy("(" * 60_000, version=1),
    "endless header": _npy("[" * 3_000_000, version=2),
    "code": _npy("__import__('os').abort()"),
    "cut": _npy(_head("'<f8'", "(8,)"))[:20],
    "nothing": b"",
}


@pytest.mark.parametrize("data", NPY.values(), ids=NPY.keys())
@pytest.mark.parametrize("serializer", ["npy", "npy-scalar"])
def test_a_hostile_array_is_refused(
    load_as: Callable[[str, bytes], Any], serializer: str, data: bytes
) -> None:
    with pytest.raises(SerializationError, match="stored array"):
        load_as(serializer, data)


# ------------------------------------------------------------------ JSON

DEEP = 100_000
JSON = {
    "deep": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "cut": b'{"a": ',
    "long number": b"1" * 10_000,
    "no text": b"\xff\xfe",
}
TAGGED = {
    "deep": '{"$flowblob":"tuple","v":[' * DEEP + "]}" * DEEP,
    "unknown": '{"$flowblob":"code","v":"x"}',
    "zone upward": '{"$flowblob":"datetime","v":["2026-01-01T00:00:00","../../etc/passwd",0]}',
    "zone folder": '{"$flowblob":"datetime","v":["2026-01-01T00:00:00","America",0]}',
    "zone number": '{"$flowblob":"time","v":["00:00:00",5,0]}',
    "short float": '{"$flowblob":"float","v":"00"}',
    "long day": '{"$flowblob":"timedelta","v":[1e300,0,0]}',
    "list as key": '{"$flowblob":"dict","v":[[[],1]]}',
    "objects of numpy": '{"$flowblob":"numpy","v":["|O","AAAAAAAAAAA="]}',
    "text of numpy": '{"$flowblob":"numpy","v":["<U1000000000","AA=="]}',
    "fields of numpy": '{"$flowblob":"numpy","v":[[["a","|O"]],"AA=="]}',
    "list as tag": '{"$flowblob":["tuple"],"v":[]}',
    "without value": '{"$flowblob":"tuple"}',
}


@pytest.mark.parametrize("data", JSON.values(), ids=JSON.keys())
@pytest.mark.parametrize("serializer", ["json", "json-typed"])
def test_hostile_json_is_refused(
    load_as: Callable[[str, bytes], Any], serializer: str, data: bytes
) -> None:
    with pytest.raises(SerializationError, match="cannot be read"):
        load_as(serializer, data)


@pytest.mark.parametrize("text", TAGGED.values(), ids=TAGGED.keys())
def test_hostile_tags_are_refused(load_as: Callable[[str, bytes], Any], text: str) -> None:
    with pytest.raises(SerializationError, match="cannot be read"):
        load_as("json-typed", text.encode())


def test_facts_that_are_nested_too_deeply_are_refused_at_the_put(store: Store) -> None:
    deep: Any = []
    for _ in range(DEEP):
        deep = [deep]
    with pytest.raises(InvalidInputError):
        store.put("k", 1, metadata={"deep": deep})
    assert not store.exists("k")


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a": ', "{} {}"])
@pytest.mark.parametrize("column", ["metadata", "partitions", "preview"])
def test_a_record_that_is_nested_too_deeply_is_one_error(
    store: Store, forge: Forge, text: str, column: str
) -> None:
    store.put("k", 1)
    forge(f"UPDATE version SET {column} = ?", text)
    for read in (lambda: store.get("k"), store.ls, lambda: store.versions("k")):
        with pytest.raises(FlowblobError, match="cannot be read"):
            read()


# ------------------------------------------------------------------ pickle containers

_FOOTER = struct.Struct("<QQI12s")


def _container(length: int, ranges: list[tuple[int, int]], count: int | None = None) -> bytes:
    index = b"".join(struct.pack("<QQ", *place) for place in ranges)
    body = b"\x80\x05K\x01." + bytes(59)
    found = len(ranges) if count is None else count
    return body + index + _FOOTER.pack(length, found, 1, b"flowblob-pk5")


CONTAINERS = {
    "buffer behind the end": _container(5, [(64, 1 << 40)]),
    "buffer before the pickle": _container(5, [(0, 5)]),
    "buffer that wraps around": _container(5, [((1 << 64) - 8, 16)]),
    "long pickle": _container(1 << 62, []),
    "more buffers than bytes": _container(5, [], count=1 << 60),
    "cut": _container(5, [])[-20:],
    "nothing": b"",
}


@pytest.mark.parametrize("data", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_a_container_that_points_elsewhere_is_refused(
    load_as: Callable[[str, bytes], Any], data: bytes
) -> None:
    with pytest.raises(SerializationError, match="container"):
        load_as("pickle5", data)


# ------------------------------------------------------------------ Arrow

ARROW_IDS = ["arrow", "arrow-batch", "arrow-array", "pandas", "pandas-series", "polars",
             "polars-series"]  # fmt: skip


def _arrow(table: Any, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, table.schema, options=options) as out:
        out.write(table)
    return sink.getvalue()


@pytest.mark.parametrize("serializer", ARROW_IDS)
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_table_is_refused_before_it_is_unpacked(
    load_as: Callable[[str, bytes], Any], serializer: str, compression: str
) -> None:
    data = _arrow(pa.table({"values": np.zeros(4_000_000)}), compression)
    assert len(data) < 1_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(PayloadUnsafeError, match="compressed"):
        load_as(serializer, data)
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_compressed_dictionary_is_refused(load_as: Callable[[str, bytes], Any]) -> None:
    words = pa.array(["x" * 100_000] * 50).dictionary_encode()
    with pytest.raises(PayloadUnsafeError, match="compressed"):
        load_as("arrow", _arrow(pa.table({"values": words}), "zstd"))


def test_a_table_whose_columns_lie_over_each_other_is_refused(
    load_as: Callable[[str, bytes], Any],
) -> None:
    data = bytearray(_arrow(pa.table({"a": np.arange(100_000), "b": np.arange(100_000)})))
    # The second column's buffer begins where the first one's does.
    place = data.rindex(struct.pack("<qq", 800_000, 800_000))
    data[place : place + 8] = bytes(8)
    assert load_as("arrow", bytes(data)).equals(
        pa.table({"a": np.arange(100_000)} | {"b": np.arange(100_000)})
    )
    data[place + 8 : place + 16] = struct.pack("<q", 800_008)
    with pytest.raises(PayloadUnsafeError, match="over each other"):
        load_as("arrow", bytes(data))


def test_a_table_whose_batches_are_one_and_the_same_is_refused(
    load_as: Callable[[str, bytes], Any],
) -> None:
    table = pa.table({"a": np.arange(100_000)})
    data = bytearray(_arrow(pa.concat_tables([table, table])))
    end = len(data) - 10 - struct.unpack("<i", data[-10:-6])[0]
    [first, second] = [
        at
        for at in range(end, len(data) - 24, 4)
        if struct.unpack_from("<q", data, at + 16)[0] == 800_000
    ]
    assert load_as("arrow", bytes(data)).num_rows == 200_000
    data[second : second + 24] = data[first : first + 24]
    cut = struct.unpack_from("<q", data, first)[0] + 810_000
    small = bytes(data[:cut]) + bytes(data[end:])
    with pytest.raises(FlowblobError):
        load_as("arrow", small)


@pytest.mark.parametrize("serializer", ARROW_IDS)
def test_a_broken_table_in_a_shared_store_is_one_error(
    load_as: Callable[[str, bytes], Any], folder: Path, serializer: str
) -> None:
    folder.chmod(0o777)
    # As pandas writes it, so that its own reader comes to the data too.
    frame = pd.DataFrame({"values": ["a", None, "b"] * 40})
    with Store("memory://") as bench:
        whole = bench.open(bench.put("k", frame)).read()
    for cut in (0, 8, len(whole) // 2, len(whole) - 1):
        with pytest.raises(FlowblobError):
            load_as(serializer, whole[:cut])
    for at in range(0, len(whole), 13):  # some of it in offsets, which lead out of the file then
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        with contextlib.suppress(FlowblobError):
            repr(load_as(serializer, bytes(broken)))


def test_honest_tables_come_back(any_store: Store) -> None:
    wide = pd.DataFrame({f"c{n}": [n, None] for n in range(300)})
    words = pa.table({"w": pa.array(["a", "b"] * 1000).dictionary_encode(), "n": [None] * 2000})
    polars = pl.DataFrame({"a": ["x", None, "y" * 100], "b": [[1], [], None]})
    for key, value in {"wide": wide, "words": words, "polars": polars}.items():
        any_store.put(key, value)
        assert any_store.get(key).equals(value)


# ------------------------------------------------------------------ references and filters


def test_a_reference_is_never_fetched_from_elsewhere(store: Store, forge: Forge) -> None:
    for text in (
        "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "s3://bucket/key",
        "//host/share", "gopher://x", "data:text/plain,x", "https://x@y/z",
    ):  # fmt: skip
        for verb in (store.get, store.open, store.resolve):
            with pytest.raises((NotFoundError, InvalidInputError)):
                verb(text)
    store.put("k", b"content" * 10_000)
    forge("UPDATE version SET external = 'file:///etc/passwd', digest = '', size = 0")
    forge("DELETE FROM version_payload")
    with pytest.raises(PayloadMissingError, match="file:///etc/passwd"):
        store.get("k")


HOSTILE = [
    "$where",
    "' OR 1=1 --",
    "'; DROP TABLE version; --",
    "%",
    "_",
    "*",
    "\\",
    '"',
    "?",
    "\x00",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_filters_are_data(any_store: Store, text: str) -> None:
    any_store.put("a", 1, kind="kind", tags={"name": "value"})
    for filters in (
        {"kind": text}, {"flow": text}, {"run_id": text}, {"alias": text}, {"tags": {"name": text}},
        {"tags": {text: "value"}}, {"kind": {"$ne": ""}}, {"tags": {"name": {"$gt": ""}}},
        {"kind": {"$where": "sleep(1000)"}},
    ):  # fmt: skip
        try:
            assert any_store.ls(**filters) == []
        except InvalidInputError:
            continue
    with contextlib.suppress(InvalidInputError):
        assert any_store.ls(text) == []
    with pytest.raises(InvalidInputError):
        any_store.ls(**{"$where": text})
    assert [blob.key for blob in any_store.ls()] == ["a"]
