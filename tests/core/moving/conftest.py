"""Two stores on disk, something of everything to move, and what a store holds in all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowblob import File, Run, Store, cached
from flowblob.portable import Kind
from flowblob.testing.portable import in_any_order, scan_all

Everything = dict[Kind, list[str]]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "old") as store:
        yield store


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "new") as store:
        yield store


@pytest.fixture
def everything() -> Callable[[Store], Everything]:
    """Return all records of a store, so that two stores compare."""

    def ask(store: Store) -> Everything:
        store.flush()
        return in_any_order(scan_all(store.catalog))

    return ask


@pytest.fixture
def assert_sound() -> Callable[[Store], None]:
    """Check the records, and read and hash every payload."""

    def check(store: Store) -> None:
        assert store.catalog.check() == []
        for blob in store.catalog.live(limit=10_000):
            store.verify(blob)

    return check


@pytest.fixture
def fill(tmp_path: Path) -> Callable[[Store], None]:
    """Leave payloads of all sizes and records of all kinds in a store."""

    def leave(store: Store) -> None:
        run = Run(flow="nightly", run_id="r-1", task="train", used={"rate": 0.1})
        raw = store.put("raw/day", b"a,b\n", run=run, filename="day.csv", partitions={"d": "1"})
        for number in range(4):
            value = os.urandom(10 ** (number + 2))
            blob = store.put("models/churn", value, run=run, parents=[raw], tags={"n": number})
            store.promote(blob, "newest")
        store.put("models/churn", value)  # unchanged
        store.tag("models/churn@1", n=None, stage="prod")
        store.promote("models/churn@1", "prod", immutable=True)
        store.delete("models/churn@0")
        _upload_folder(store, tmp_path / "folder")
        store.put("raw/gone", 1)
        store.delete("raw/gone")
        store.put("raw/gone", File(tmp_path / "folder" / "0"))
        store.put("temporary", b"x" * 50_000, history=False)
        store.put("temporary", b"y" * 50_000, history=False)
        _use_the_cache(store)
        store.catalog.bind("prefect", "a key", blob_id=raw.id, record=b"\x00")
        store.flush()

    return leave


def _upload_folder(store: Store, folder: Path) -> None:
    (folder / "deeper").mkdir(parents=True, exist_ok=True)
    for number, size in enumerate((10, 40_000, 40_000)):
        (folder / f"{number}").write_bytes(bytes([number]) * size)
    (folder / "deeper" / "same").write_bytes(bytes([1]) * 40_000)
    store.upload("folder", folder)


def _use_the_cache(store: Store) -> None:
    @cached(store=store)
    def embed(x: int) -> Any:
        return [store.get("raw/day"), x]

    for x in (1, 2, 1):
        embed(x)
