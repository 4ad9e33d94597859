"""Keys in one file and back: the same, whatever reads it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.errors import ConflictError, InvalidInputError, NotFoundError
from flowblob.errors import StorageUnavailableError as Unavailable

Check = Callable[[Store], Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "bundle.tar"


def test_a_whole_store_comes_back_from_a_bundle(
    old: Store, new: Store, file: Path, fill: Check, everything: Check
) -> None:
    fill(old)
    done = old.export_to(file)
    moved = new.import_from(file, allow_pickle=True)
    assert (done.versions, moved.damaged, moved.unsafe) == (moved.versions, (), ())
    assert everything(new) == everything(old)
    for blob in new.ls():
        new.verify(blob)
    assert [path.name for path in file.parent.iterdir()] == ["bundle.tar"]


def test_the_same_store_gives_the_same_bytes(
    old: Store, new: Store, file: Path, fill: Check
) -> None:
    fill(old)
    old.export_to(file)
    first = file.read_bytes()
    old.export_to(file)
    assert file.read_bytes() == first


def test_importing_twice_changes_nothing(
    old: Store, new: Store, file: Path, fill: Check, everything: Check
) -> None:
    fill(old)
    old.export_to(file)
    new.import_from(file)
    before = everything(new)
    moved = new.import_from(file)
    assert (moved.versions, moved.records, moved.payloads) == (0, 0, 0)
    assert everything(new) == before


def test_a_bundle_of_one_key_holds_that_key_alone(
    old: Store, new: Store, file: Path, fill: Check, everything: Check
) -> None:
    fill(old)
    old.put("models/churn2", b"another")
    old.export_to(file, key="models/churn")
    new.import_from(file)
    assert [blob.key for blob in new.ls()] == ["models/churn"]
    assert new.resolve("models/churn@prod") == old.resolve("models/churn@prod")
    assert new.catalog.parents(new.head("models/churn").id) == []
    # The parent is kept as its id: it is linked when it arrives.
    old.export_to(file, prefix="raw/")
    new.import_from(file)
    old.export_to(file, key="models/churn")
    new.import_from(file)
    assert [blob.key for blob in new.catalog.parents(new.head("models/churn").id)] == ["raw/day"]


def test_tar_and_json_are_all_it_takes_to_read_one(old: Store, file: Path, fill: Check) -> None:
    fill(old)
    old.export_to(file, prefix="raw/")
    listed = subprocess.run(["tar", "tf", file], capture_output=True, text=True, check=True)
    names = listed.stdout.splitlines()
    assert names[0] == "flowblob-bundle.json"
    assert names[-2:] == ["manifest.jsonl", "end.json"]
    with tarfile.open(file, "r:") as bundle:
        head = json.load(bundle.extractfile("flowblob-bundle.json"))
        assert head == {"format": 1, "key": "", "prefix": "raw/", "store_id": old.store_id}
        lines = [json.loads(line) for line in bundle.extractfile("manifest.jsonl")]
        versions = {
            line["record"]["id"]: line["record"] for line in lines if "version" in line["kind"]
        }
        digest = versions[old.head("raw/day").id]["digest"]
        data = bundle.extractfile(f"payloads/{digest[7:9]}/{digest[7:]}").read()
    assert data == b"a,b\n"
    assert "sha256:" + hashlib.sha256(data).hexdigest() == digest


def test_bundles_of_several_stores_meet_in_one(
    old: Store, new: Store, file: Path, tmp_path: Path, assert_sound: Check
) -> None:
    with Store(tmp_path / "third") as third:
        old.put("a", b"same" * 20_000)
        third.put("b", b"same" * 20_000)
        for store in (old, third):
            store.export_to(file)
            new.import_from(file)
    assert [blob.key for blob in new.ls()] == ["a", "b"]
    assert len(list(new.storage.names())) == 1
    assert_sound(new)


def test_an_import_that_contradicts_the_store_names_the_key(
    old: Store, new: Store, file: Path
) -> None:
    old.put("k", b"there")
    new.put("k", b"here")
    old.export_to(file)
    with pytest.raises(ConflictError, match="'k'"):
        new.import_from(file)
    assert new.get("k") == b"here"


def test_nothing_is_exported_under_a_name_that_nothing_has(old: Store, file: Path) -> None:
    old.put("k", 1)
    for scope in ({"key": "other"}, {"prefix": "other/"}):
        with pytest.raises(NotFoundError, match="other"):
            old.export_to(file, **scope)
    with pytest.raises(InvalidInputError):
        old.export_to(file, key="k", prefix="k")
    assert not file.exists()


def test_a_bundle_that_cannot_be_written_says_where(old: Store, file: Path) -> None:
    old.put("k", 1)
    with pytest.raises(Unavailable, match="nowhere"):
        old.export_to(file.parent / "nowhere" / "bundle.tar")


@pytest.mark.parametrize("harm", ["flipped", "gone"])
def test_damage_is_left_out_and_named(
    old: Store, new: Store, file: Path, assert_sound: Check, harm: str
) -> None:
    for number in range(3):
        old.put("hurt", bytes([number]) * 50_000)
    old.put("whole", b"x" * 50_000)
    [payload] = old.catalog.payloads(old.resolve("hurt@1").id)
    path = old.storage.path(payload.name)
    assert path is not None
    path.chmod(0o600)
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(b"\xff" * 50_000)
    done = old.export_to(file)
    [(ref, _)] = done.damaged
    assert (ref, done.payloads) == ("hurt@1", 2)
    new.import_from(file)
    assert [blob.ref for blob in new.ls()] == ["hurt@0", "whole@0"]
    assert_sound(new)


class Model:
    """What only pickle can store."""


def test_pickles_in_a_bundle_need_a_signature_or_a_word(
    old: Store, new: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.put("model", Model(), serializer="pickle")
    old.put("data", [1])
    old.export_to(file)
    assert new.import_from(file).unsafe == ("model@0",)
    assert [blob.key for blob in new.ls()] == ["data"]
    assert new.import_from(file, allow_pickle=True).versions == 1


def test_a_key_of_a_host_does_not_lead_to_what_nobody_vouches_for(
    old: Store, new: Store, file: Path
) -> None:
    """A host unpickles what its key leads to, whatever it is stored as."""
    blob = old.put("k", b"a pickle in disguise")
    old.catalog.bind("prefect", "key", blob_id=blob.id)
    old.export_to(file)
    new.import_from(file)
    assert new.get("k") == b"a pickle in disguise"
    assert new.catalog.bound("prefect", "key") is None
    new.import_from(file, allow_pickle=True)
    assert new.catalog.bound("prefect", "key") == (blob.id, b"")


def test_progress_tells_of_every_byte(old: Store, new: Store, file: Path) -> None:
    for number in range(5):
        old.put(f"k/{number}", bytes([number]) * 50_000)
    exported: list[int] = []
    old.export_to(file, progress=exported.append)
    assert sum(exported) == old.export_size() == 250_000
    imported: list[int] = []
    new.import_from(file, progress=imported.append)
    assert sum(imported) == 2 * 250_000
    copied: list[int] = []
    with Store("memory://") as third:
        assert old.copy_size(third) == 250_000
        old.copy_to(third, progress=copied.append)
        assert sum(copied) == 250_000
        assert old.copy_size(third) == 0
