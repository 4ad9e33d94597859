"""A store copied into another one: everything arrives, once, verified, beside everybody else."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.errors import ConflictError, InvalidInputError

Check = Callable[[Store], Any]


def test_everything_arrives_as_it_was(
    old: Store, new: Store, fill: Check, everything: Check, assert_sound: Check
) -> None:
    fill(old)
    moved = old.copy_to(new)
    assert moved.versions == len(everything(old)["version"])
    assert (moved.damaged, moved.unsafe) == ((), ())
    assert everything(new) == everything(old)
    assert_sound(new)
    for blob in old.ls():
        assert new.resolve(blob) == blob
    assert new.get("models/churn@prod") == old.get("models/churn@prod")
    restored = new.download("folder", Path(new.settings.folder or "") / "restored")
    assert (restored / "deeper" / "same").read_bytes() == bytes([1]) * 40_000


def test_memory_and_disk_copy_into_each_other(
    old: Store, new: Store, fill: Check, everything: Check, assert_sound: Check
) -> None:
    fill(old)
    with Store("memory://") as between:
        old.copy_to(between)
        assert_sound(between)
        between.copy_to(new)
    assert everything(new) == everything(old)
    assert_sound(new)


def test_a_payload_that_several_versions_share_is_written_once(old: Store, new: Store) -> None:
    for number in range(3):
        old.put(f"k/{number}", b"same" * 20_000)
    moved = old.copy_to(new)
    assert (moved.versions, moved.payloads, moved.size) == (3, 1, 80_000)
    new.put("k/3", b"same" * 20_000)
    old.put("k/4", b"same" * 20_000)
    assert (old.copy_to(new).payloads, len(list(new.storage.names()))) == (0, 1)


def test_a_second_copy_brings_nothing_and_reads_no_payload(
    old: Store, new: Store, fill: Check, everything: Check
) -> None:
    fill(old)
    old.copy_to(new)
    before = everything(new)
    shutil.rmtree(Path(old.settings.folder or "") / "payloads")
    moved = old.copy_to(new)
    assert (moved.versions, moved.records, moved.payloads, moved.damaged) == (0, 0, 0, ())
    assert everything(new) == before


def test_the_next_copy_follows_what_changed(
    old: Store, new: Store, fill: Check, everything: Check, assert_sound: Check
) -> None:
    fill(old)
    old.copy_to(new)
    old.put("models/churn", b"next" * 30_000, alias="newest")
    old.tag("models/churn@2", stage="old")
    old.delete("models/churn@3")
    old.delete("raw/gone")
    old.put("raw/gone", "a new life")
    old.undelete("models/churn@0")  # before it was collected: it never came, and does not now
    moved = old.copy_to(new)
    assert moved.versions == 2
    assert new.get("raw/gone") == "a new life"
    assert new.resolve("models/churn@newest").version == 4
    assert not new.exists("models/churn@3")
    assert_sound(new)


def test_what_the_other_store_has_of_its_own_stays(
    old: Store, new: Store, fill: Check, assert_sound: Check
) -> None:
    fill(old)
    mine = new.put("mine", b"own" * 30_000, alias="prod")
    old.copy_to(new)
    assert new.resolve("mine@prod") == mine
    new.tag("models/churn@1", stage="checked here")
    old.tag("models/churn@1", stage="retired there")
    old.copy_to(new)
    assert new.resolve("models/churn@1").tags["stage"] == "checked here"
    assert_sound(new)


def test_only_a_prefix_is_copied_with_what_belongs_to_it(
    old: Store, new: Store, fill: Check, everything: Check
) -> None:
    fill(old)
    old.copy_to(new, prefix="models/")
    assert [blob.key for blob in new.ls()] == ["models/churn"]
    assert new.resolve("models/churn@prod").run == old.resolve("models/churn@prod").run
    assert new.catalog.parents(new.head("models/churn").id) == []
    assert len(new.catalog.runs()) == 1
    old.copy_to(new)  # the parents' turn
    assert [blob.key for blob in new.catalog.parents(new.head("models/churn").id)] == ["raw/day"]
    assert everything(new) == everything(old)


@pytest.mark.parametrize("inline", [True, False])
def test_the_target_decides_what_goes_inline(tmp_path: Path, *, inline: bool) -> None:
    limits = ("0", "64KiB") if inline else ("64KiB", "0")
    with (
        Store(f"sqlite://{tmp_path}/a?inline_limit={limits[0]}") as source,
        Store(f"sqlite://{tmp_path}/b?inline_limit={limits[1]}") as target,
    ):
        blob = source.put("k", b"x" * 20_000)
        source.copy_to(target)
        assert target.catalog.payloads(blob.id)[0].is_inline is inline
        assert target.get("k") == b"x" * 20_000
        assert list(target.storage.names()) == [] if inline else True


def test_both_stores_appending_to_a_key_is_a_conflict(
    old: Store, new: Store, assert_sound: Check
) -> None:
    old.put("k", b"first")
    old.put("other", b"x")
    old.copy_to(new)
    old.put("k", b"there")
    new.put("k", b"here")
    with pytest.raises(ConflictError, match="k@1"):
        old.copy_to(new)
    assert new.get("k") == b"here"
    assert_sound(new)
    assert old.copy_to(new, prefix="other").versions == 0


def test_a_store_is_not_copied_into_itself(old: Store) -> None:
    with Store(old.settings.folder) as same, pytest.raises(InvalidInputError, match="same store"):
        old.copy_to(same)


# ------------------------------------------------------------------ damage


def _payload_file(store: Store, ref: str) -> Path:
    [payload] = store.catalog.payloads(store.resolve(ref).id)
    path = store.storage.path(payload.name)
    assert path is not None
    return path


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_damage_is_left_behind_and_named(
    old: Store, new: Store, assert_sound: Check, everything: Check, harm: str
) -> None:
    for number in range(4):
        old.put("hurt", bytes([number]) * 50_000)
        old.put("whole", bytes([10 + number]) * 50_000)
    old.promote("hurt@0", "good")
    path = _payload_file(old, "hurt@2")
    data = path.read_bytes()
    path.chmod(0o600)
    path.unlink()
    if harm != "gone":
        path.write_bytes(b"\xff" + data[1:] if harm == "flipped" else data[:-1])
    moved = old.copy_to(new)
    [(ref, problem)] = moved.damaged
    assert ref == "hurt@2"
    assert problem
    assert [blob.version for blob in new.versions("hurt")] == [1, 0]  # no gap in the numbers
    assert len(new.versions("whole")) == 4
    assert new.resolve("hurt@good").version == 0
    assert_sound(new)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    assert old.copy_to(new).damaged == ()
    assert everything(new) == everything(old)


def test_damaged_bytes_in_the_target_are_not_shared(
    old: Store, new: Store, assert_sound: Check
) -> None:
    new.put("mine", b"same" * 20_000)
    path = _payload_file(new, "mine")
    path.chmod(0o600)
    path.write_bytes(b"\xff" * 80_000)
    old.put("k", b"same" * 20_000)
    assert old.copy_to(new).payloads == 1
    assert_sound(new)  # its own version was healed, too
    assert new.get("mine") == b"same" * 20_000


# ------------------------------------------------------------------ beside others


def test_a_copy_runs_beside_writers(
    old: Store, new: Store, everything: Check, assert_sound: Check
) -> None:
    over = threading.Event()

    def write() -> None:
        with Store(old.settings.folder) as mine:
            number = 0
            while not over.is_set():
                number += 1
                mine.put(f"k/{number % 5}", number.to_bytes(4, "big") * 12_000, alias="newest")
                mine.tag(f"k/{number % 5}", number=number)
                if number % 7 == 0:
                    mine.delete(f"k/{number % 5}")
                if number % 11 == 0:
                    mine.gc(grace=timedelta(microseconds=1), dry_run=False, force=True)

    old.put("k/0", b"first")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(8):
            moved = old.copy_to(new)
            assert (moved.damaged, moved.unsafe) == ((), ())
            assert_sound(new)
    finally:
        over.set()
        writer.join()
    old.copy_to(new)
    assert_sound(new)
    newest = {blob.ref: blob.id for blob in old.ls()}
    assert {blob.ref: blob.id for blob in new.ls()} == newest
    assert {blob.ref: blob.aliases for blob in new.ls()} == {
        blob.ref: blob.aliases for blob in old.ls()
    }


def test_a_copy_runs_beside_collectors_of_the_target(
    old: Store, new: Store, everything: Check, assert_sound: Check
) -> None:
    for number in range(60):
        old.put(f"k/{number}", number.to_bytes(2, "big") * 30_000)
    over = threading.Event()

    def collect() -> None:
        with Store(new.settings.folder) as mine:
            while not over.is_set():
                mine.gc(grace=timedelta(microseconds=1), dry_run=False, force=True)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        old.copy_to(new)
    finally:
        over.set()
        collector.join()
    assert everything(new) == everything(old)
    assert_sound(new)


# ------------------------------------------------------------------ trust


class Model:
    """What only pickle can store."""


def _open_to_others(store: Store) -> None:
    folder = store.settings.folder
    assert folder is not None
    folder.chmod(0o777)


def test_unsigned_pickles_from_a_shared_store_stay_out_of_ones_own(
    old: Store, new: Store, assert_sound: Check
) -> None:
    old.put("model", {"weights": Model()}, serializer="pickle")
    old.put("data", [1, 2])
    _open_to_others(old)
    with Store(old.settings.folder) as shared:
        moved = shared.copy_to(new)
        assert moved.unsafe == ("model@0",)
        assert [blob.key for blob in new.ls()] == ["data"]
        assert_sound(new)
        assert shared.copy_to(new, allow_pickle=True).versions == 1


def test_signed_pickles_come_into_a_store_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", "a secret of sufficient length")
    with Store(tmp_path / "old") as old:
        blob = old.put("model", {"weights": Model()}, serializer="pickle")
        assert blob.signature
    _open_to_others(old)
    with Store(tmp_path / "old") as shared, Store(tmp_path / "new") as new:
        assert shared.copy_to(new).unsafe == ()
        assert new.resolve("model") == blob
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", "another secret that is long enough")
    with Store(tmp_path / "old") as shared, Store(tmp_path / "third") as third:
        assert shared.copy_to(third).unsafe == ("model@0",)
