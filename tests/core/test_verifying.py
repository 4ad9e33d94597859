"""Verifying a store, and repairing what was found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from damage import flip, path_of

from flowblob import Dir, Store
from flowblob.errors import (
    InvalidInputError,
    PayloadCorruptError,
    PayloadMissingError,
    StorageUnavailableError,
)
from flowblob.storages.local import LocalStorage

BIG = 100_000

# ------------------------------------------------------------------ verify


def test_a_sound_store_is_clean_at_every_level(full: Store) -> None:
    for level, read in (("catalog", 0), ("presence", 0), ("content", 12)):
        report = full.verify(level=level)  # type: ignore[arg-type]
        assert report.is_clean
        assert (report.read, report.payloads) == (read, 0 if level == "catalog" else 12)
    assert report.read_size == report.size == 6 * BIG + 600


def test_a_report_says_what_was_not_read(full: Store) -> None:
    report = full.verify(level="presence")
    assert (report.unread, report.unread_size) == (12, report.size)
    for number in range(200):
        full.put("many", number)
    sampled = full.verify(sample=0.5)
    assert sampled.is_clean
    assert sampled.read + sampled.unread == sampled.payloads == 212
    assert 50 < sampled.read < 162  # one in 10^13 is outside


def test_each_level_finds_what_it_looks_at(full: Store) -> None:
    flip(path_of(full, "big1"))
    os.truncate(path_of(full, "big2"), 7)
    path_of(full, "big3").unlink()
    assert full.verify(level="catalog").is_clean
    presence = full.verify(level="presence")
    assert {problem.ref for problem in presence.damaged} == {"big2@0", "big3@0"}
    content = full.verify()
    assert {problem.ref for problem in content.damaged} == {"big1@0", "big2@0", "big3@0"}
    assert not content.is_clean
    assert (content.payloads, content.read) == (12, 9)


def test_flipped_inline_bytes_are_found(full: Store) -> None:
    full.catalog._write(  # type: ignore[attr-defined]
        lambda c: c.execute("UPDATE inline_payload SET data = zeroblob(length(data))")
    )
    assert full.verify(level="presence").is_clean
    assert {problem.ref for problem in full.verify().damaged} == {f"small{n}@0" for n in range(6)}


def test_payloads_that_no_version_needs_are_nobodys_damage(full: Store) -> None:
    path = path_of(full, "big1")
    data = path.read_bytes()
    path.unlink()
    assert [problem.ref for problem in full.verify().damaged] == ["big1@0"]
    full.put("big1", data)
    assert full.verify().is_clean
    path_of(full, "big2").unlink()
    full.delete("big2")
    assert full.verify().is_clean


def test_a_verification_goes_on_where_it_ended(full: Store) -> None:
    flip(path_of(full, "big1"))
    seen, damaged, cursor = 0, [], ""
    for _ in range(3):
        report = full.verify(resume=cursor, limit=5)
        seen, damaged = seen + report.payloads, damaged + list(report.damaged)
        cursor = report.cursor
    assert (seen, cursor) == (12, "")
    assert [problem.ref for problem in damaged] == ["big1@0"]


def test_a_storage_that_is_away_is_given_up_and_told_apart(
    full: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def away(_: LocalStorage, name: str) -> int:
        tries.append(name)
        raise StorageUnavailableError("The disk is away")

    for number in range(30):
        full.put(f"more{number}", os.urandom(BIG // 2))
    monkeypatch.setattr(LocalStorage, "size", away)
    report = full.verify()
    assert report.damaged == ()
    assert {problem.what for problem in report.unchecked} == {"The disk is away"}
    assert len(tries) < 36
    monkeypatch.undo()
    rest = full.verify(resume=report.cursor)
    assert rest.is_clean
    assert rest.payloads >= 36 + 6 - len(tries) - 6


def test_one_version_is_verified_by_raising(full: Store, tmp_path: Path) -> None:
    assert full.verify("big0").read == 1
    flip(path_of(full, "big1"))
    with pytest.raises(PayloadCorruptError, match="big1@0"):
        full.verify("big1")
    path_of(full, "big2").unlink()
    with pytest.raises(PayloadMissingError, match="big2@0"):
        full.verify("big2")
    states = {p.digest: p.state for p in full.catalog.generations()}
    assert states[full.head("big1").digest] == "suspect"
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(BIG))
    full.put("folder", Dir(source))
    assert full.verify("folder").read == 2


def test_a_level_or_sample_that_cannot_be_is_refused(full: Store) -> None:
    with pytest.raises(InvalidInputError):
        full.verify(level="all")  # type: ignore[arg-type]
    for sample in (0, -1, 1.5):
        with pytest.raises(InvalidInputError):
            full.verify(sample=sample)


def test_a_storage_without_files_is_read_in_pieces(full: Store, monkeypatch: Any) -> None:
    monkeypatch.setattr(LocalStorage, "path", lambda *_: None)
    monkeypatch.setattr("flowblob.checking._WINDOW", 30_000)
    assert full.verify().is_clean
    [path, *_] = [p for p in (full.settings.folder or Path()).glob("payloads/??/*") if p.is_file()]
    flip(path)
    assert len(full.verify().damaged) == 1


# ------------------------------------------------------------------ repair


def test_what_has_no_other_copy_is_marked_and_set_aside(full: Store, folder: Path) -> None:
    data = path_of(full, "big1").read_bytes()
    flip(path_of(full, "big1"))
    path_of(full, "big2").unlink()
    before = full.verify()
    told = full.repair()
    assert told.is_dry_run
    assert full.verify() == before
    done = full.repair(dry_run=False)
    assert {(item.ref, item.cure) for item in done.lost} == {
        ("big1@0", "marked"),
        ("big2@0", "marked"),
    }
    assert len(list((folder / "payloads" / "damaged").iterdir())) == 1
    with pytest.raises(PayloadMissingError):
        full.get("big1")
    assert full.put("big1", data).version == 0
    assert full.get("big1") == data
    assert [item.ref for item in full.repair(dry_run=False).lost] == ["big2@0"]
    full.gc(grace=0, dry_run=False)
    assert len(list((folder / "payloads" / "damaged").iterdir())) == 1


def test_versions_move_to_another_copy_of_the_same_bytes(full: Store) -> None:
    data = path_of(full, "big1").read_bytes()
    bad = path_of(full, "big1")
    full.put("copy", data, inline=True)
    full.put("shared", data)
    assert path_of(full, "shared") == bad
    flip(bad)
    done = full.repair(dry_run=False)
    assert [(item.cure, item.ref) for item in done.repairs] == [("repointed", "shared@0")]
    assert done.lost == ()
    for key in ("big1", "copy", "shared"):
        assert full.get(key) == data
    assert full.verify().is_clean
    assert full.gc(grace=0, dry_run=False).payloads == 1
    assert full.verify().is_clean


def test_a_copy_that_is_damaged_too_is_no_cure(full: Store) -> None:
    data = path_of(full, "big1").read_bytes()
    full.put("copy", data, inline=True)
    full.catalog._write(  # type: ignore[attr-defined]
        lambda c: c.execute("UPDATE inline_payload SET data = zeroblob(length(data))")
    )
    flip(path_of(full, "big1"))
    done = full.repair(dry_run=False)
    assert {"big1@0", "copy@0"} <= {item.ref for item in done.lost}
    assert all(item.cure == "marked" for item in done.repairs)


def test_what_was_suspected_for_nothing_is_trusted_again(full: Store, tmp_path: Path) -> None:
    entry = full.cache.put("c", os.urandom(BIG))
    path = path_of(full, entry.blob.ref)
    shutil.move(path, tmp_path / "away")
    with pytest.raises(PayloadMissingError):
        full.cache.get("c")
    shutil.move(tmp_path / "away", path)
    assert full.cache.lookup("c").why == "gone"
    done = full.repair(level="presence", dry_run=False)
    assert [(item.ref, item.cure) for item in done.repairs] == [(entry.blob.ref, "cleared")]
    assert full.cache.lookup("c").why == "hit"
    assert full.repair().repairs == ()


def test_repair_changes_nothing_it_could_not_look_at(
    full: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> int:
        raise StorageUnavailableError("The disk is away")

    monkeypatch.setattr(LocalStorage, "size", away)
    done = full.repair(dry_run=False)
    assert done.repairs == ()
    assert done.unchecked
    assert {p.state for p in full.catalog.generations()} == {"ok"}
