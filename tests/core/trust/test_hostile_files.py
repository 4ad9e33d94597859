"""Records that somebody changed, of files and folders: nothing is written but where one said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flowblob import Dir, Store
from flowblob.errors import (
    FlowblobError,
    PayloadError,
    StorageUnavailableError,
)

Forge = Callable[..., None]


def test_a_folder_that_does_not_fit_fills_no_disk(
    store: Store, tmp_path: Path, forge: Forge
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_bytes(b"x" * 50_000)
    store.upload("tree", source)
    part = store.catalog.payloads(store.head("tree").id)[1].part
    entries = [{"path": f"{n}", "part": part, "size": 1 << 50} for n in range(50)]
    manifest = json.dumps({"flowblob": "tree/1", "entries": entries}).encode()
    blob = store.put("bomb", manifest)
    forge("UPDATE version SET serializer = 'tree' WHERE id = ?", blob.id)
    with pytest.raises(StorageUnavailableError, match="are free"):
        store.download("bomb", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_one_name_in_two_cases_overwrites_nothing(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("readme", "README", "ReadMe"):
        (source / name).write_text(name)
    store.upload("tree", source)
    target = store.download("tree", tmp_path / "target")
    assert sorted(path.read_text() for path in target.iterdir()) == ["README", "ReadMe", "readme"]


@pytest.mark.parametrize("digest", ["sha256:../../../../escaped", "sha256:/tmp/escaped", "sha256:"])
def test_a_forged_digest_leads_to_no_other_folder(
    store: Store, forge: Forge, own_home: Path, tmp_path: Path, digest: str
) -> None:
    (tmp_path / "authorized_keys").write_bytes(b"ssh-rsa evil")
    store.upload("k", tmp_path / "authorized_keys")
    for table in ("version", "payload"):
        forge(f"UPDATE {table} SET digest = ?", digest)
    home = sorted(own_home.rglob("*"))
    with pytest.raises(PayloadError):
        store.get("k")
    assert sorted(own_home.rglob("*")) == home
    # Only the names beside it: other tests write there at the same time.
    assert "escaped" not in {path.name for path in own_home.parent.iterdir()}
    assert not Path("/tmp/escaped").exists()


def test_a_forged_name_leads_to_no_other_file(store: Store, forge: Forge, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"content")
    store.upload("k", tmp_path / "a.txt")
    for name in ("../../escaped", "/tmp/escaped", "..", "a/b", "a\x00b"):
        forge("UPDATE version SET filename = ?", name)
        with pytest.raises(FlowblobError):
            store.get("k")
        target = tmp_path / "target"
        target.mkdir(exist_ok=True)
        written = store.download("k", target)
        assert written.parent == target


def test_a_download_writes_through_no_link(store: Store, tmp_path: Path) -> None:
    store.put("k", b"content", filename="name")
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    target = tmp_path / "target"
    target.mkdir()
    (target / "name").symlink_to(victim)
    store.download("k", target)
    assert victim.read_bytes() == b"untouched"
    assert not (target / "name").is_symlink()
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    store.put("tree", Dir(source))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FlowblobError):
        store.download("tree", tmp_path / "link")
    assert not any((tmp_path / "elsewhere").iterdir())
