"""verify, gc, cache, lineage: is it all there, what can go, what is served, what came of what."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flowblob
from flowblob import Store, cached

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


def test_a_sound_store_is_found_sound(cli: Cli, payload: Path) -> None:
    assert cli("verify").code == 0
    told = cli("verify", "--full", "--json").json
    assert (told["damaged"], told["unchecked"], told["is_content_read"]) == ([], [], True)
    assert told["payloads"] == 2


def test_a_missing_or_short_payload_is_found_without_reading(cli: Cli, payload: Path) -> None:
    os.truncate(payload, 1000)
    done = cli("verify")
    assert done.code == 6
    assert "has 1,000 bytes instead of 200," in done.out
    payload.unlink()
    assert "is gone" in cli("verify").out


def test_a_flipped_bit_is_found_by_reading(cli: Cli, payload: Path) -> None:
    flip(payload)
    assert cli("verify").code == 0
    assert cli("verify", "--json").json["is_content_read"] is False
    assert cli("verify", "--full").code == 6
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
    assert done.json["unchecked"][0]["problem"] == "The disk is away"


def test_gc_is_a_dry_run_unless_told_otherwise(cli: Cli, store: Store, payload: Path) -> None:
    store.delete("big")
    told = cli("gc", "--grace", "1ms", "--json").json
    assert told["dry_run"] is True
    assert payload.exists()
    told = cli("gc", "--grace", "1ms", "--yes", "--json").json
    assert (told["dry_run"], told["payloads"]) == (False, 1)
    assert not payload.exists()
    assert cli("cat", "small").out == "1"


@pytest.fixture
def twice(store: Store) -> Any:
    @cached(store=store, name="twice", version="1")
    def function(number: int) -> int:
        return number * 2

    return function


def test_cache_lists_entries_with_what_they_saved(cli: Cli, store: Store, twice: Any) -> None:
    twice(1), twice(2), twice(2)
    store.flush()
    told = cli("cache", "ls", "--name", "twice", "--json").json["entries"]
    assert [(entry["ref"], entry["hits"]) for entry in told] == [("twice@1", 1), ("twice@0", 0)]
    assert cli("cache", "ls", "--name", "other").rows == []


@pytest.mark.parametrize("command", ["rm", "expire"])
def test_an_entry_that_was_removed_or_expired_is_computed_again(
    command: str, cli: Cli, store: Store, twice: Any
) -> None:
    twice(1)
    (entry,) = store.cache.entries()
    assert twice.explain(1).is_hit
    assert cli("cache", command, entry.key[:12]).code == 0
    assert not twice.explain(1).is_hit
    assert store.exists("twice@0")


def test_the_beginning_of_a_cache_key_must_name_one_entry(cli: Cli, twice: Any) -> None:
    twice(1), twice(2)
    assert cli("cache", "rm", "fb1:").code == 3
    assert cli("cache", "rm", "fb1:zzzzzzzz").code == 3


def test_lineage_crosses_runs(cli: Cli, store: Store) -> None:
    store.put("raw", 1)
    with flowblob.run("nightly"):
        store.get("raw")
        store.put("clean", 2)
    store.flush()
    edges = [(row[0], row[1], row[2]) for row in cli("lineage", "clean").rows]
    assert [(edge[0], edge[1].split()[0], edge[2].split()[0]) for edge in edges] == [
        ("output", "python", "clean@0"),
        ("input", "raw@0", "python"),
    ]
    assert cli("lineage", "clean", "--mermaid").out.startswith("flowchart LR")
    assert set(cli("lineage", "clean", "-q").out.split()) == {"clean@0", "raw@0"}
