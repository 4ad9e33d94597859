"""verify, repair, gc, sweep, rm, undelete: is it all there, what can go, what comes back."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flowblob
from flowblob import Run, Store

Cli = Callable[..., Any]


@pytest.fixture
def payload(store: Store, folder: Path) -> Path:
    """Return the file of the one payload that is not inline."""
    store.put("big", os.urandom(200_000))
    store.put("small", 1)
    (found,) = (path for path in (folder / "payloads").glob("??/*.*") if path.is_file())
    found.chmod(0o600)
    return found


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[99] ^= 1
    path.write_bytes(data)


# ------------------------------------------------------------------ verify


def test_a_sound_store_is_found_sound(cli: Cli, payload: Path) -> None:
    assert cli("verify").code == 0
    told = cli("verify", "--full", "--json").json
    assert (told["damaged"], told["unchecked"], told["cursor"]) == ([], [], "")
    assert (told["payloads"], told["read"], told["unread"]) == (2, 2, 0)


def test_a_missing_or_short_payload_is_found_without_reading(cli: Cli, payload: Path) -> None:
    os.truncate(payload, 1000)
    done = cli("verify")
    assert done.code == 6
    assert done.rows[0][:2] == ["damaged", "big@0"]
    assert "has 1,000 bytes instead of 200," in done.out
    payload.unlink()
    assert "is gone" in cli("verify").out


def test_a_flipped_bit_is_found_by_reading(cli: Cli, payload: Path) -> None:
    flip(payload)
    assert cli("verify").code == 0
    told = cli("verify", "--json").json
    assert (told["read"], told["unread"]) == (0, 2)
    assert cli("verify", "--full").code == 6
    assert cli("verify", "--level", "content").code == 6
    assert cli("verify", "--sample", "100%").code == 6
    done = cli("verify", "big", "small", "-q")
    assert (done.code, done.out) == (6, "big@0\n")


def test_what_cannot_be_checked_is_told_apart_from_damage(
    cli: Cli, payload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowblob.errors import StorageUnavailableError
    from flowblob.storages.local import LocalStorage

    def down(*_: object) -> None:
        raise StorageUnavailableError("The disk is away")

    monkeypatch.setattr(LocalStorage, "size", down)
    done = cli("verify", "--json")
    assert done.code == 7
    assert done.json["unchecked"][0]["what"] == "The disk is away"


@pytest.mark.parametrize("share", ["0", "101%", "some", "-1"])
def test_a_sample_is_a_share(cli: Cli, payload: Path, share: str) -> None:
    assert cli("verify", f"--sample={share}").code == 2


def test_a_verification_goes_on_where_another_ended(cli: Cli, store: Store, payload: Path) -> None:
    flip(payload)
    first = cli("verify", "--full", "--limit", "1", "--json").json
    rest = cli("verify", "--full", "--resume", first["cursor"], "--json").json
    assert (first["payloads"], rest["payloads"], rest["cursor"]) == (1, 1, "")
    assert [item["ref"] for item in first["damaged"] + rest["damaged"]] == ["big@0"]


def test_the_records_alone_can_be_checked(cli: Cli, payload: Path) -> None:
    payload.unlink()
    assert cli("verify", "--level", "catalog").code == 0


# ------------------------------------------------------------------ repair


def test_repair_is_a_dry_run_unless_told_otherwise(cli: Cli, store: Store, payload: Path) -> None:
    flip(payload)
    told = cli("repair", "--json")
    assert (told.code, told.json["is_dry_run"]) == (6, True)
    assert [(item["ref"], item["cure"]) for item in told.json["repairs"]] == [("big@0", "marked")]
    assert payload.exists()
    done = cli("repair", "--yes")
    assert done.code == 6
    (row,) = done.rows
    assert row[:2] == ["marked", "big@0"]
    assert Path(row[3]).stat().st_size == 200_000
    assert not payload.exists()


def test_repair_of_a_sound_store_ends_with_0(cli: Cli, payload: Path) -> None:
    done = cli("repair", "--yes")
    assert (done.code, done.out) == (0, "")


# ------------------------------------------------------------------ gc and sweep


def test_gc_is_a_dry_run_unless_told_otherwise(cli: Cli, store: Store, payload: Path) -> None:
    store.delete("big")
    told = cli("gc", "--grace", "0", "--json").json
    assert told["dry_run"] is True
    assert payload.exists()
    told = cli("gc", "--grace", "0", "--yes", "--json").json
    assert (told["dry_run"], told["payloads"]) == (False, 1)
    assert not payload.exists()
    assert cli("cat", "small").out == "1"


def test_gc_leaves_for_a_day_what_can_be_brought_back(
    cli: Cli, store: Store, payload: Path
) -> None:
    store.delete("big")
    assert cli("gc", "--yes", "--json").json["payloads"] == 0
    assert cli("undelete", "big").code == 0
    assert cli("verify", "--full").code == 0


def test_gc_says_for_each_rule_what_goes(cli: Cli, store: Store, folder: Path) -> None:
    Path("flowblob.toml").write_text(
        f'url = "{folder}"\n[[retention.rules]]\nprefix = "tmp/"\nkeep_last = 2\n'
    )
    for number in range(5):
        store.put("tmp/a", bytes([number]) * 100)
        store.put("kept", number)
    os.environ.pop("FLOWBLOB_URL")
    told = cli("gc", "--json").json
    assert told["expired"] == [
        {"rule": "prefix=tmp/ keep_last=2", "versions": 3, "entries": 0, "payloads": 3, "size": 300}
    ]
    assert cli("gc").rows[0] == ["would drop", "3", "0", "3", "300", "prefix=tmp/ keep_last=2"]
    assert cli("gc", "--yes", "--grace", "0").rows[-1] == ["did free", "3", "300"]
    assert [blob.version for blob in store.versions("tmp/a")] == [4, 3]
    assert len(store.versions("kept")) == 5


def test_sweep_removes_old_files_that_nobody_knows(cli: Cli, payload: Path) -> None:
    orphan = payload.with_name(payload.name[:64] + "." + "0" * 32)
    orphan.write_bytes(b"orphan")
    young = payload.with_name(payload.name[:64] + "." + "1" * 32)
    young.write_bytes(b"young")
    other = payload.with_name("notes.txt")
    other.write_bytes(b"not ours")
    old = time.time() - 8 * 86400
    for path in (orphan, payload, other):
        os.utime(path, (old, old))
    assert cli("sweep", "--json").json == {"v": 1, "files": 1, "size": 6, "dry_run": True}
    assert orphan.exists()
    assert cli("sweep", "--yes").rows == [["did remove", "1", "6"]]
    assert [path.exists() for path in (orphan, young, other, payload)] == [False, True, True, True]


# ------------------------------------------------------------------ rm and undelete


@pytest.fixture
def made(store: Store) -> Store:
    """One run made two versions and found a third unchanged; another run made the fourth."""
    first = Run(flow="etl", run_id="r1", task="load")
    second = Run(flow="etl", run_id="r2", task="load")
    store.put("raw", b"same", run=second)
    store.put("raw", b"same", run=first)
    store.put("clean", b"1", run=first)
    store.put("model", b"2", run=first, alias="prod")
    return store


def test_rm_takes_what_a_run_made_and_nothing_else(cli: Cli, made: Store) -> None:
    assert cli("rm", "--run", "r1", "--dry-run", "-q").out == "clean@0\n"
    assert cli("rm", "--run", "r1").code == 2
    assert cli("rm", "--run", "r1", "--yes", "-q").out == "clean@0\n"
    assert [blob.key for blob in made.ls()] == ["model", "raw"]
    assert cli("undelete", "--run", "r1", "-q").out == "clean@0\n"
    assert cli("rm", "--flow", "etl", "--yes", "-q").out.split() == ["raw@0", "clean@0"]
    assert cli("undelete", "raw@0", "clean", "-q").out.split() == ["raw@0", "clean@0"]


def test_rm_and_undelete_need_one_thing_to_act_on(cli: Cli, made: Store) -> None:
    for command in ("rm", "undelete"):
        assert cli(command).code == 2
        assert cli(command, "raw", "--run", "r1").code == 2
        assert cli(command, "--run", "nobody", *(["-y"] if command == "rm" else [])).code == 3


def test_what_was_collected_cannot_be_brought_back(cli: Cli, store: Store) -> None:
    with flowblob.run("nightly"):
        store.put("a", b"1")
    store.put("b", b"2")
    store.delete("a")
    cli("gc", "--grace", "0", "--yes")
    done = cli("undelete", "a")
    assert done.code == 3
    assert "collected" in done.err


def test_a_name_that_lives_again_is_a_conflict(cli: Cli, store: Store) -> None:
    store.put("a", b"1")
    store.delete("a")
    store.put("a", b"2")
    assert cli("undelete", "a").code == 5
