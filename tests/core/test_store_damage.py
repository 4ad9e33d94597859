"""Damaged bytes are never given out, and storing them again heals every version that used them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowblob import File, Store
from flowblob.errors import (
    PayloadCorruptError,
    PayloadMissingError,
    StorageUnavailableError,
)

SIZE = 200_000
Files = Callable[[], list[Path]]


def _flip(path: Path, position: int = SIZE // 2) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def _truncate(path: Path) -> None:
    os.truncate(path, SIZE - 1)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _replace(path: Path) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(os.urandom(path.stat().st_size))
    os.replace(fresh, path)


def _lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


DAMAGES = {
    "flipped": _flip, "truncated": _truncate, "empty": _empty, "replaced": _replace,
    "lengthened": _lengthen, "missing": Path.unlink, "a link": _to_link,
}  # fmt: skip


@pytest.fixture(params=DAMAGES)
def damage(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    return DAMAGES[request.param]


def _ways(tmp_path: Path) -> dict[str, Callable[[Store], Any]]:
    return {
        "get": lambda store: store.get("k"),
        "mapped": lambda store: store.get("k", mmap=True),
        "lazy": lambda store: store.get("k", lazy=True).load(),
        "open": lambda store: store.open("k"),
        "download": lambda store: store.download("k", tmp_path / "out"),
        "by digest": lambda store: store.get(store.head("k").digest),
        "verify": lambda store: store.verify("k"),
    }


def test_damaged_bytes_are_never_given_out(
    store: Store, tmp_path: Path, payload_files: Files, damage: Callable[[Path], None]
) -> None:
    store.put("k", os.urandom(SIZE))
    store.get("k")  # what was verified once is looked at again when the file has changed
    [path] = payload_files()
    damage(path)
    for way in _ways(tmp_path).values():
        with pytest.raises((PayloadCorruptError, PayloadMissingError), match="k@0"):
            way(store)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("way", ["nothing", "get", "mapped", "lazy", "open", "download", "verify"])
def test_storing_the_value_again_heals_all_its_versions(
    store: Store, tmp_path: Path, payload_files: Files, damage: Any, way: str
) -> None:
    data = os.urandom(SIZE)
    store.put("k", data)
    store.put("other", data)
    [path] = payload_files()
    damage(path)
    if way != "nothing":  # healing must not depend on whether somebody met the damage before
        with pytest.raises((PayloadCorruptError, PayloadMissingError)):
            _ways(tmp_path)[way](store)
    store.put("third", data)
    for ref in ("k@0", "other", "third"):
        assert store.get(ref) == data
        with store.open(ref) as stream:
            assert stream.read() == data
    assert store.catalog.check() == []


def test_an_unchanged_put_heals_its_own_version(
    store: Store, payload_files: Files, damage: Any
) -> None:
    data = os.urandom(SIZE)
    first = store.put("k", data)
    damage(payload_files()[0])
    assert store.put("k", data).id == first.id
    assert store.get("k") == data


def test_another_process_heals_as_well(
    store: Store, folder: Path, payload_files: Files, python: Callable[..., Any]
) -> None:
    store.put("k", bytes(SIZE))
    _flip(payload_files()[0])
    python(
        """
        import sys
        from flowblob import Store
        Store(sys.argv[1]).put("x", bytes(200_000))
        """,
        folder,
    )
    assert store.get("k") == bytes(SIZE)


def test_a_damaged_array_is_not_mapped(store: Store, payload_files: Files, damage: Any) -> None:
    array = np.arange(SIZE, dtype="u1")
    store.put("k", array)
    damage(payload_files()[0])
    for mmap in (False, True):
        with pytest.raises((PayloadCorruptError, PayloadMissingError)):
            store.get("k", mmap=mmap)
    store.put("k", array)
    np.testing.assert_array_equal(store.get("k", mmap=True), array)


@pytest.mark.parametrize("kind", ["file", "tree", "within"])
def test_a_damaged_attached_file_is_not_given_out_and_heals(
    store: Store, tmp_path: Path, payload_files: Files, damage: Any, kind: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(os.urandom(SIZE))
    value = {"within": [File(source / "a")]}

    def put() -> None:
        store.put("k", value) if kind == "within" else store.upload(
            "k", source / "a" if kind == "file" else source
        )

    def read() -> bytes:
        found = store.get("k")
        path = {"file": lambda: found.path, "tree": lambda: found / "a",
                "within": lambda: found["within"][0].path}[kind]()  # fmt: skip
        return path.read_bytes()

    put()
    [path] = payload_files()
    damage(path)
    with pytest.raises((PayloadCorruptError, PayloadMissingError)):
        read()
    if kind == "tree":
        with pytest.raises((PayloadCorruptError, PayloadMissingError)):
            store.download("k", tmp_path / "out")
        assert not (tmp_path / "out").exists()
    put()
    assert read() == (source / "a").read_bytes()


def test_a_checkout_that_somebody_changed_is_made_anew(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    store.upload("k", tmp_path / "a")
    store.upload("tree", _folder_of(tmp_path / "a"))
    for read in (lambda: store.get("k").path, lambda: store.get("tree") / "a"):
        path = read()
        path.chmod(0o644)
        path.write_bytes(b"changed")
        assert read().read_bytes() == b"content"


def _folder_of(path: Path) -> Path:
    folder = path.with_name("folder")
    folder.mkdir()
    (folder / path.name).write_bytes(path.read_bytes())
    return folder


def _flip_row(folder: Path) -> None:
    with sqlite3.connect(folder / "catalog.db") as connection:
        [(number, data)] = connection.execute("SELECT payload, data FROM inline_payload")
        spoilt = bytes([data[0] ^ 1]) + data[1:]
        connection.execute("UPDATE inline_payload SET data = ? WHERE payload = ?", (spoilt, number))
    connection.close()


@pytest.mark.parametrize("way", ["nothing", "get", "mapped", "lazy", "open", "download", "verify"])
def test_a_flipped_byte_in_an_inline_row_is_found_and_heals(
    store: Store, folder: Path, tmp_path: Path, way: str
) -> None:
    store.put("k", b"small value")
    store.put("other", b"small value")
    _flip_row(folder)
    if way != "nothing":
        with pytest.raises(PayloadCorruptError, match="k@0"):
            _ways(tmp_path)[way](store)
    assert not (tmp_path / "out").exists()
    store.put("third", b"small value")
    assert [store.get(ref) for ref in ("k", "other", "third")] == [b"small value"] * 3
    assert store.catalog.check() == []


def test_a_put_to_the_storage_does_not_trust_an_inline_copy(store: Store, folder: Path) -> None:
    store.put("k", b"small value")
    _flip_row(folder)
    store.put("other", b"small value", inline=False)
    assert store.get("other") == b"small value"


def test_an_inline_row_that_is_gone_is_missing(store: Store, folder: Path) -> None:
    store.put("k", b"small value")
    with sqlite3.connect(folder / "catalog.db") as connection:
        connection.execute("DELETE FROM inline_payload")
    connection.close()
    with pytest.raises(PayloadMissingError):
        store.get("k")
    assert store.catalog.check() != []
    store.put("k", b"small value")
    assert store.get("k") == b"small value"


def test_a_payload_that_cannot_be_read_is_unavailable(store: Store, payload_files: Files) -> None:
    store.put("k", os.urandom(SIZE))
    [path] = payload_files()
    path.unlink()
    path.symlink_to(path.name)  # ELOOP, an error of the disk and not of the bytes
    with pytest.raises(StorageUnavailableError):
        store.get("k")


def test_a_removed_payload_folder_is_made_again(store: Store, payload_files: Files) -> None:
    data = os.urandom(SIZE)
    store.put("k", data)
    [path] = payload_files()
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(PayloadMissingError):
        store.get("k")
    store.put("k", data)
    assert store.get("k") == data
