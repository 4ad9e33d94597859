"""Rows that somebody changed: another version's value is never given out, and verify names them."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from flowblob import Store
from flowblob.errors import CatalogUnavailableError, ConflictError, PayloadError
from flowblob.storages.local import LocalStorage

_ONE = """(SELECT v.seq FROM version v JOIN incarnation i ON i.seq = v.incarnation
    WHERE i.key = 'one')"""
_TWO = _ONE.replace("one", "two")
_LINK = "(SELECT payload FROM version_payload WHERE version = {})"

CHANGES = {
    "a link to another payload": f"""UPDATE version_payload SET payload = {_LINK.format(_TWO)}
        WHERE version = {_ONE}""",
    "a link that is gone": f"DELETE FROM version_payload WHERE version = {_ONE}",
    "a payload that is gone": f"DELETE FROM payload WHERE seq = {_LINK.format(_ONE)}",
    "a digest of another": f"""UPDATE version SET
        digest = (SELECT digest FROM version WHERE seq = {_TWO}) WHERE seq = {_ONE}""",
    "a checksum of another": f"""UPDATE version SET
        checksum = (SELECT checksum FROM version WHERE seq = {_TWO}) WHERE seq = {_ONE}""",
}


@pytest.fixture
def change(folder: Path) -> Callable[[str], None]:
    """Change the tables behind the store's back."""

    def run(sql: str) -> None:
        with closing(sqlite3.connect(folder / "catalog.db")) as connection, connection:
            connection.execute(sql)

    return run


@pytest.mark.parametrize("size", [50, 50_000])
@pytest.mark.parametrize("what", CHANGES)
def test_a_version_is_never_served_with_other_bytes(
    store: Store, change: Callable[[str], None], tmp_path: Path, what: str, size: int
) -> None:
    store.put("one", b"1" * size)
    store.put("two", b"2" * size)
    change(CHANGES[what])
    for read in (store.get, store.open, store.verify):
        with pytest.raises(PayloadError, match="one@0"):
            read("one")
    assert store.get("two") == b"2" * size
    assert "one@0" in [problem.ref for problem in store.verify(level="catalog").damaged]
    assert [text for text in store.repair().catalog if text.startswith("one@0: ")]

    moved = store.copy_to(other := Store("memory://"))
    assert [ref for ref, _ in moved.damaged] == ["one@0"]
    assert [blob.key for blob in other.ls()] == ["two"]
    assert [ref for ref, _ in store.export_to(tmp_path / "all.tar").damaged] == ["one@0"]


def test_a_file_of_a_folder_is_never_served_with_other_bytes(
    store: Store, change: Callable[[str], None], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_text(name * 50)
    store.upload("data", source)
    change("""UPDATE version_payload SET payload = (SELECT min(payload) FROM version_payload
        WHERE name <> '') WHERE name <> ''""")
    with pytest.raises(PayloadError, match="data@0"):
        store.download("data", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_record_that_cannot_be_read_is_named(store: Store, change: Callable[[str], None]) -> None:
    store.put("one", b"1", metadata={"a": 1})
    store.put("two", b"2")
    change("UPDATE version SET metadata = '{' WHERE metadata <> '{}'")
    with pytest.raises(CatalogUnavailableError, match="one@0"):
        store.ls()
    [problem] = store.verify(level="catalog").damaged
    assert "one@0" in problem.what


def test_a_catalog_without_its_id_says_so(
    store: Store, folder: Path, change: Callable[[str], None]
) -> None:
    store.put("one", b"1")
    store.close()
    change("DELETE FROM store")
    with pytest.raises(CatalogUnavailableError, match="lost the id"):
        Store(folder)


def test_a_marker_that_is_no_text_is_another_store(store: Store, folder: Path) -> None:
    store.put("one", b"1")
    (folder / "payloads" / "store-id").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConflictError, match="are of store"):
        Store(folder)


def test_a_listing_beside_a_collector_leaves_out_what_went(
    store: Store, folder: Path, payload_files: Callable[[], list[Path]]
) -> None:
    values = (number.to_bytes(40_000) for number in itertools.count())
    for value in itertools.islice((v for v in values if sha256(v).hexdigest()[:2] == "00"), 3):
        store.put(f"k{sha256(value).hexdigest()}", value)  # all of them in one folder
    storage = LocalStorage(folder / "payloads")
    listed = storage.names()
    first, *_ = next(listed)
    for path in payload_files():
        if (name := f"00/{path.name}") != first:
            storage.delete(name)
    assert list(listed) == []
