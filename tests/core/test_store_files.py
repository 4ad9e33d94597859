"""Files, folders and streams: in, out, and as parts of a value."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Dir, File, Store
from flowblob.errors import AlreadyExistsError, FlowblobError, InvalidInputError

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize("size", [0, 10, 100 * KIB, 3 * MIB])
def test_a_stream_is_uploaded_to_its_end_and_comes_back_as_a_file(
    any_store: Store, size: int
) -> None:
    data = os.urandom(size)
    blob = any_store.upload("raw/day.csv", io.BytesIO(data))
    assert (blob.filename, blob.size) == ("day.csv", size)
    assert any_store.get("raw/day.csv").read_bytes() == data


def test_a_stream_of_short_and_reused_buffers_is_stored_exactly(store: Store) -> None:
    data = os.urandom(2 * MIB)

    class Short(io.RawIOBase):
        def __init__(self) -> None:
            self.position = 0
            self.buffer = bytearray(70_001)

        def read(self, size: int = -1) -> memoryview:  # type: ignore[override]
            part = data[self.position : self.position + 70_001]
            self.position += len(part)
            self.buffer[: len(part)] = part
            return memoryview(self.buffer)[: len(part)]

    blob = store.upload("k", Short())  # type: ignore[arg-type]
    assert blob.digest == "sha256:" + hashlib.sha256(data).hexdigest()


class Idle:
    """A stream that does not block and has nothing after its first block."""

    def __init__(self) -> None:
        self.blocks = [b"abc", None]

    def read(self, size: int) -> bytes | None:
        return self.blocks.pop(0)


@pytest.mark.parametrize("source", [io.StringIO("text"), b"bytes", 5, Idle()])
def test_what_is_no_binary_stream_is_refused(store: Store, source: Any) -> None:
    with pytest.raises(InvalidInputError):
        store.upload("k", source)
    assert not store.exists("k")


def test_a_stream_that_fails_midway_leaves_nothing(
    store: Store, listing: Callable[..., Any]
) -> None:
    class Failing:
        count = 0

        def read(self, size: int) -> bytes:
            self.count += 1
            if self.count > 5:
                raise ConnectionResetError("gone")
            return bytes(size)

    store.put("other", os.urandom(2 * MIB))
    before = listing()
    with pytest.raises(ConnectionResetError):
        store.upload("k", Failing())  # type: ignore[arg-type]
    assert listing() == before


@pytest.mark.parametrize("path", ["nowhere", "a\x00b", "folder/nowhere"])
def test_a_path_that_is_not_there_is_refused(store: Store, tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidInputError):
        store.upload("k", f"{tmp_path}/{path}")


def test_a_named_pipe_is_refused_at_once(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FlowblobError, match="pipe"):
        store.upload("k", tmp_path / "pipe")


def test_a_file_keeps_its_name_and_content(any_store: Store, tmp_path: Path) -> None:
    source = tmp_path / "report final.pdf"
    source.write_bytes(os.urandom(100 * KIB))
    any_store.upload("k", source)
    found = any_store.get("k")
    assert isinstance(found, File)
    assert found.name == "report final.pdf"
    assert found.read_bytes() == source.read_bytes()


def test_a_folder_comes_back_with_files_links_and_empty_folders(
    any_store: Store, tmp_path: Path
) -> None:
    source = tmp_path / "data"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "a").write_bytes(b"a")
    (source / "same").write_bytes(b"a")
    (source / "deep" / "er" / "big").write_bytes(os.urandom(2 * MIB))
    (source / "run").write_text("#!/bin/sh")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("deep/er/big")
    blob = any_store.upload("k", source)
    assert blob.parts == 3  # equal files are one payload
    found = any_store.get("k")
    assert isinstance(found, Dir)
    made = any_store.download("k", tmp_path / "restored")
    for target in (found.path, made):
        assert _describe(target) == _describe(source)


def _describe(root: Path) -> dict[str, Any]:
    def one(path: Path) -> Any:
        if path.is_symlink():
            return os.readlink(path)
        return None if path.is_dir() else (path.read_bytes(), bool(path.stat().st_mode & 0o100))

    return {str(path.relative_to(root)): one(path) for path in root.rglob("*")}


def test_a_folder_says_how_far_it_is(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    for number in range(3):
        (source / str(number)).write_bytes(os.urandom(MIB + number))
    total = 3 * MIB + 3
    up: list[int] = []
    blob = store.upload("k", source, progress=up.append)
    assert sum(up) >= total
    assert blob.preview["bytes"] == total
    down: list[int] = []
    store.download("k", tmp_path / "restored", progress=down.append)
    assert sum(down) == total
    assert len(down) > 3


def test_files_stand_anywhere_in_a_value(any_store: Store, tmp_path: Path) -> None:
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(name)
    any_store.put("k", {"files": [File(tmp_path / "one.txt"), (File(tmp_path / "two.txt"), 5)]})
    found = any_store.get("k")
    assert found["files"][0].read_text() == "one.txt"
    assert found["files"][1][0].read_text() == "two.txt"
    assert found["files"][1][1] == 5


def test_download_writes_a_file_or_into_a_folder(any_store: Store, tmp_path: Path) -> None:
    data = os.urandom(100 * KIB)
    any_store.put("raw/day", data, filename="day.bin")
    assert any_store.download("raw/day", tmp_path / "x.bin").read_bytes() == data
    assert any_store.download("raw/day", tmp_path) == tmp_path / "day.bin"
    assert (tmp_path / "day.bin").read_bytes() == data


def test_download_replaces_a_file_and_refuses_a_folder_with_content(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_text("a")
    store.upload("tree", tmp_path / "source")
    store.put("file", b"new")
    (tmp_path / "old").write_text("old")
    assert store.download("file", tmp_path / "old").read_bytes() == b"new"
    with pytest.raises(AlreadyExistsError):
        store.download("tree", tmp_path / "source")
    (tmp_path / "empty").mkdir()
    assert (store.download("tree", tmp_path / "empty") / "a").read_text() == "a"


def test_download_into_a_missing_folder_is_refused(store: Store, tmp_path: Path) -> None:
    store.put("k", b"x")
    with pytest.raises(InvalidInputError, match="no folder"):
        store.download("k", tmp_path / "missing" / "file")
