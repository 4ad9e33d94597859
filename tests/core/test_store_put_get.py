"""Every option of put, and every way to read what was put."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowblob import AsyncStore, Store
from flowblob.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    NotSupportedError,
    SerializationError,
    VersionConflictError,
)

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    "value",
    [
        b"", b"abc", "", "text", "😀 ünï", None, True, 0, -1.5, [], {}, [1, "a", None],
        {"a": {"b": [1.0, 2]}}, (1, 2), {1, 2}, {1: "int key"}, bytearray(b"x"), 10**5000,
        {"id:not-a-ref": "sha256:" + "0" * 64},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_comes_back_with_its_type(any_store: Store, value: Any) -> None:
    any_store.put("k", value)
    found = any_store.get("k")
    assert type(found) is type(value)
    assert found == value


@pytest.mark.parametrize("size", [0, 1, 32 * KIB, 32 * KIB + 1, 256 * KIB, MIB, MIB + 1, 3 * MIB])
def test_bytes_of_any_size_come_back_from_memory_and_disk(any_store: Store, size: int) -> None:
    data = os.urandom(size)
    blob = any_store.put("k", data)
    assert blob.size == size
    assert blob.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert any_store.get("k") == data
    with any_store.open("k") as stream:
        assert stream.read() == data


@pytest.mark.parametrize("inline", [True, False, None])
@pytest.mark.parametrize("size", [0, 100, 300 * KIB, MIB])
def test_inline_decides_where_the_bytes_go(
    store: Store,
    payload_files: Callable[[], list[Path]],
    inline: bool | None,
    size: int,
) -> None:
    data = os.urandom(size)
    store.put("k", data, inline=inline)
    expects_file = inline is False or (inline is None and size > 32 * KIB)
    assert [path.read_bytes() for path in payload_files()] == ([data] if expects_file else [])
    assert store.get("k") == data


def test_inline_is_refused_for_what_cannot_be_held_in_memory(store: Store) -> None:
    with pytest.raises(InvalidInputError, match="too large"):
        store.put("k", os.urandom(2 * MIB), inline=True)
    assert not store.exists("k")


def test_a_folder_goes_inline_as_a_whole(
    store: Store, tmp_path: Path, payload_files: Callable[[], list[Path]]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "big").write_bytes(os.urandom(300 * KIB))
    store.upload("k", source, inline=True)
    assert payload_files() == []
    assert (store.get("k") / "big").read_bytes() == (source / "big").read_bytes()


def test_a_put_without_a_key_makes_a_fresh_one(any_store: Store) -> None:
    first, second = any_store.put(value=1), any_store.put(value=1)
    assert first.key != second.key
    assert any_store.get(first) == any_store.get(second.key) == 1


def test_a_put_without_a_value_is_refused(any_store: Store) -> None:
    with pytest.raises(InvalidInputError, match="needs a value"):
        any_store.put("k")


def test_an_unchanged_put_makes_no_new_version(any_store: Store) -> None:
    first = any_store.put("k", {"a": 1}, metadata={"x": 1, "y": 2}, kind="dataset")
    again = any_store.put("k", {"a": 1}, metadata={"y": 2, "x": 1}, kind="dataset")
    assert (again.id, again.version) == (first.id, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"x": 2}}, {"kind": "model"}, {"media_type": "text/x"},
        {"partitions": {"day": "1"}}, {"filename": "a.txt"}, {"serializer": "pickle"},
        {"new_version": True},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_changed_record_makes_a_new_version_of_the_same_bytes(
    any_store: Store, change: dict[str, Any]
) -> None:
    first = any_store.put("k", [1])
    second = any_store.put("k", [1], **change)
    assert (first.version, second.version, second.prev_version) == (0, 1, 0)
    assert any_store.get("k") == [1]


def test_new_tags_and_parents_of_an_unchanged_put_are_recorded(any_store: Store) -> None:
    parent = any_store.put("parent", 0)
    any_store.put("k", 1, tags={"a": 1})
    blob = any_store.put("k", 1, tags={"b": 2}, parents=["parent"])
    assert blob.version == 0
    assert dict(blob.tags) == {"a": 1, "b": 2}
    assert [found.id for found in any_store.catalog.parents(blob.id)] == [parent.id]


def test_everything_said_at_put_stands_on_the_record(any_store: Store) -> None:
    blob = any_store.put(
        "models/churn",
        b"weights",
        kind="ml_model",
        metadata={"auc": 0.91, "deep": {"list": [1, None, "ü"]}},
        tags={"team": "growth", "n": 1, "f": 1.0, "ok": True},
        partitions={"region": "eu"},
        media_type="application/x-weights",
        filename="weights.bin",
        alias="prod",
    )
    for found in (blob, any_store.head("models/churn"), any_store.versions("models/churn")[0]):
        assert found.kind == "ml_model"
        assert found.metadata == {"auc": 0.91, "deep": {"list": [1, None, "ü"]}}
        assert {name: (type(v), v) for name, v in found.tags.items()} == {
            "team": (str, "growth"), "n": (int, 1), "f": (float, 1.0), "ok": (bool, True),
        }  # fmt: skip
        assert found.partitions == {"region": "eu"}
        assert found.media_type == "application/x-weights"
        assert found.filename == "weights.bin"
        assert found.aliases == ("prod",)
    assert blob.created_at.tzinfo is not None


@pytest.mark.parametrize(
    "options",
    [
        {"expect_version": -1}, {"expect_version": True}, {"expect_version": "0"},
        {"metadata": {"a": (1,)}}, {"metadata": {1: 2}}, {"metadata": {"a": float("nan")}},
        {"metadata": {"a": object()}}, {"metadata": {"a": "\ud800"}}, {"metadata": 5},
        {"metadata": {"a": "x" * (2 << 20)}}, {"metadata": {"a": 10**5000}},
        {"tags": {"a": None}}, {"tags": {"": 1}}, {"tags": {"a": float("inf")}}, {"tags": ["a"]},
        {"tags": {"a": [1]}}, {"tags": {"a": "\udfff"}}, {"tags": {"a\x00": 1}},
        {"tags": {"a": 10**30}}, {"partitions": {"a": 1}}, {"partitions": {"": "x"}},
        {"kind": 3}, {"kind": "x\x00"}, {"kind": "x" * 300}, {"media_type": "\ud800"},
        {"alias": "3"}, {"alias": "latest"}, {"alias": "a/b"}, {"alias": "a@b"}, {"alias": ""},
        {"parents": "k"}, {"parents": [3]}, {"run": "nightly"}, {"serializer": "nothing"},
        {"serializer": 3}, {"filename": "../x"}, {"filename": "a\\b"}, {"filename": "x\x00"},
        {"filename": "😀" * 100},
    ],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused_and_nothing_is_stored(
    store: Store, options: dict[str, Any], listing: Callable[..., Any]
) -> None:
    store.put("other", 1)
    before = listing()
    with pytest.raises(InvalidInputError):
        store.put("k", os.urandom(100 * KIB), **options)
    assert listing() == before
    assert [blob.key for blob in store.ls()] == ["other"]


def test_a_parent_that_does_not_exist_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        store.put("k", 1, parents=["nowhere"])
    assert not store.exists("k")


def test_expect_version_refuses_any_other_head(any_store: Store) -> None:
    any_store.put("k", 1)
    any_store.put("k", 2, expect_version=0)
    with pytest.raises(VersionConflictError):
        any_store.put("k", 3, expect_version=0)
    with pytest.raises(VersionConflictError):  # also where the content is unchanged
        any_store.put("k", 2, expect_version=0)
    assert any_store.head("k").version == 1


def test_expect_version_of_an_absent_key_is_not_found(any_store: Store) -> None:
    with pytest.raises(NotFoundError, match="'k'"):
        any_store.put("k", 1, expect_version=0)


def test_create_refuses_a_key_that_lives(any_store: Store) -> None:
    any_store.put("k", 1, create=True)
    with pytest.raises(AlreadyExistsError):
        any_store.put("k", 1, create=True)
    any_store.delete("k")
    assert any_store.put("k", 1, create=True).version == 0


def test_an_unserialisable_value_leaves_nothing_behind(
    store: Store, listing: Callable[..., Any]
) -> None:
    store.put("other", os.urandom(2 * MIB))
    before = listing()
    with pytest.raises(SerializationError, match=r"value\['lock'\]"):
        store.put("k", {"big": np.zeros(3 * MIB, "u1"), "lock": __import__("threading").Lock()})
    assert listing() == before
    assert not store.exists("k")
    assert store.catalog.check() == []


def test_a_serializer_that_would_change_the_value_is_refused(store: Store) -> None:
    with pytest.raises(SerializationError):
        store.put("k", (1, 2), serializer="json")


def test_fingerprints_agree_exactly_where_the_content_does(any_store: Store) -> None:
    one = any_store.put("a", b"1")
    assert one.equals(any_store.put("b", b"1", kind="other"))
    assert not one.equals(any_store.put("c", 1))  # the same bytes in another format
    assert one.fingerprint != any_store.put("d", b"2").fingerprint


def test_equal_bytes_are_stored_once(store: Store, payload_files: Callable[[], list[Path]]) -> None:
    data = os.urandom(100 * KIB)
    store.put("a", data)
    store.put("b", data)
    store.put("b", data, new_version=True)
    assert len(payload_files()) == 1


def test_bytes_can_be_viewed_over_the_mapped_file(store: Store) -> None:
    data = os.urandom(MIB)
    store.put("k", data)
    view = store.get("k", mmap=True)
    assert isinstance(view, memoryview)
    assert view == data


def test_a_mapped_array_is_private_and_writable(store: Store) -> None:
    store.put("k", np.arange(100_000))
    mapped = store.get("k", mmap=True)
    mapped[:] = 7
    np.testing.assert_array_equal(store.get("k"), np.arange(100_000))


def test_a_format_without_a_view_refuses_mmap(store: Store) -> None:
    store.put("k", {"a": 1})
    with pytest.raises(NotSupportedError, match="mmap"):
        store.get("k", mmap=True)


def test_a_stream_is_seekable_and_starts_at_the_beginning(any_store: Store) -> None:
    data = os.urandom(100 * KIB)
    any_store.put("k", data)
    with any_store.open("k") as stream:
        stream.seek(-10, io.SEEK_END)
        assert stream.read() == data[-10:]
        stream.seek(0)
        assert stream.read(5) == data[:5]


def test_progress_adds_up_to_the_size(store: Store, tmp_path: Path) -> None:
    taken: list[int] = []
    given: list[int] = []
    store.put("k", os.urandom(3 * MIB), progress=taken.append)
    store.download("k", tmp_path / "out", progress=given.append)
    assert sum(taken) == sum(given) == 3 * MIB


def test_the_async_store_has_the_same_verbs(tmp_path: Path) -> None:
    async def main() -> Any:
        async with AsyncStore(tmp_path / "store") as store:
            blobs = await asyncio.gather(*(store.put(f"k{n}", n) for n in range(20)))
            await store.promote("k3", "prod")
            values = await asyncio.gather(*(store.get(blob) for blob in blobs))
            return values, await store.get("k3@prod"), [b.key for b in await store.ls("k1")]

    values, prod, listed = asyncio.run(main())
    assert values == list(range(20))
    assert prod == 3
    assert listed == ["k1", *(f"k1{n}" for n in range(10))]


def test_two_memory_stores_share_nothing() -> None:
    one, two = Store("memory://"), Store("memory://")
    one.put("k", 1)
    assert not two.exists("k")


def test_a_closed_store_may_be_used_again(store: Store) -> None:
    store.put("k", os.urandom(2 * MIB))
    store.close()
    assert store.put("k", os.urandom(2 * MIB)).version == 1


def test_a_store_is_reopened_with_everything_in_it(folder: Path) -> None:
    data = os.urandom(100 * KIB)
    with Store(folder) as first:
        first.put("k", data, tags={"a": 1}, alias="prod")
        identity = first.store_id
    with Store(folder) as second:
        assert second.store_id == identity
        assert second.get("k@prod") == data
        assert dict(second.head("k").tags) == {"a": 1}
