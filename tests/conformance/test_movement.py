"""From a store on disk to every pair of engines, and back: nothing is lost or bent."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import Engine, fresh_store, pairs

from flowblob import Run, Store, cached
from flowblob.testing.portable import in_any_order, scan_all

SIZES = (10, 40_000, 40_001, 3_000_000)


def everything(store: Store) -> dict[Any, list[str]]:
    store.flush()
    return in_any_order(scan_all(store.catalog))


def assert_sound(store: Store) -> None:
    assert store.catalog.check() == []
    for blob in store.catalog.live(limit=10_000):
        store.verify(blob)


def fill(store: Store, folder: Path) -> None:
    run = Run(flow="nightly", run_id="r-1", task="train", used={"rate": 0.1})
    raw = store.put("raw/day", b"a,b\n", run=run, partitions={"day": "1"})
    for number, size in enumerate(SIZES):
        value = os.urandom(size)
        store.put("models/churn", value, run=run, parents=[raw], tags={"n": number}, alias="new")
    store.promote("models/churn@1", "prod")
    store.delete("models/churn@0")
    (folder / "deeper").mkdir(parents=True)
    for number in range(3):
        (folder / "deeper" / str(number)).write_bytes(os.urandom(30_000 * number))
    store.upload("folder", folder)
    store.put("gone", 1, alias="x")
    store.delete("gone")
    store.put("gone", "again")

    @cached(store=store)
    def embed(x: int) -> Any:
        return [store.get("raw/day"), x]

    for x in (1, 2, 1):
        embed(x)
    store.flush()


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "old") as store:
        fill(store, tmp_path / "folder")
        yield store


@pytest.fixture
def url(pair: tuple[Engine, Engine]) -> Iterator[str]:
    with fresh_store(pair) as url:
        yield url


@pytest.mark.parametrize("pair", pairs())
class TestMovement:
    def test_a_store_goes_there_and_comes_back(self, old: Store, url: str, tmp_path: Path) -> None:
        with Store(url) as there, Store(tmp_path / "back") as back:
            moved = old.copy_to(there)
            assert (moved.damaged, moved.unsafe) == ((), ())
            assert everything(there) == everything(old)
            assert_sound(there)
            assert there.get("models/churn@prod") == old.get("models/churn@prod")
            there.copy_to(back)
            assert everything(back) == everything(old)
            assert_sound(back)

    def test_a_second_copy_follows_what_changed(self, old: Store, url: str) -> None:
        with Store(url) as there:
            old.copy_to(there)
            assert old.copy_to(there).versions == 0
            old.put("models/churn", b"next" * 20_000, alias="prod")
            old.tag("models/churn@2", stage="old")
            old.delete("gone")
            old.put("gone", "third")
            old.copy_to(there)
            assert everything(there) == everything(old)
            assert_sound(there)
            assert there.put("models/churn", b"after").version == len(SIZES) + 1

    def test_what_was_deleted_there_stays_so_and_is_told(self, old: Store, url: str) -> None:
        """Whether `undelete` brought it back here or `delete` took it there, no record says."""
        with Store(url) as there:
            assert old.copy_to(there).dropped == ()
            old.delete("folder")
            old.copy_to(there)
            old.undelete("folder")
            there.delete("models/churn@2")
            assert sorted(old.copy_to(there).dropped) == ["folder@0", "models/churn@2"]
            assert not there.exists("folder")
            for ref in ("folder", "models/churn@2"):
                there.undelete(ref)
            assert old.copy_to(there).dropped == ()
            assert everything(there) == everything(old)
            assert_sound(there)

    def test_a_bundle_goes_there_and_comes_back(self, old: Store, url: str, tmp_path: Path) -> None:
        old.export_to(tmp_path / "one.tar")
        with Store(url) as there, Store(tmp_path / "back") as back:
            there.import_from(tmp_path / "one.tar")
            assert everything(there) == everything(old)
            assert there.export_to(tmp_path / "two.tar", prefix="models/").versions == len(SIZES)
            back.import_from(tmp_path / "two.tar")
            assert back.get("models/churn@prod") == old.get("models/churn@prod")


#: Memory does not outlive the process that is killed.
LASTING = [pair for pair in pairs() if not str(pair.id).startswith("memory")]


@pytest.mark.parametrize("pair", LASTING)
def test_killed_while_it_copies_it_goes_on(old: Store, url: str) -> None:
    for _ in range(3):  # each run goes on where the one before was killed
        code = _copy_killed_after_one_batch(str(old.settings.folder), url)
        with Store(url) as there:
            assert_sound(there)
        if code == 0:
            break
    with Store(url) as there:
        old.copy_to(there)
        assert everything(there) == everything(old)
        assert_sound(there)


def _copy_killed_after_one_batch(source: str, url: str) -> int:
    code = """
        import os, signal, sys
        from flowblob import Store, movement

        movement._BATCH = 2

        class Killed(movement.Mover):
            def _take_batch(self, batch):
                if self._versions:
                    self._placement.place = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
                super()._take_batch(batch)

        with Store(sys.argv[1]) as old, Store(sys.argv[2]) as new:
            Killed(movement.StoreOrigin(old.objects), new.objects).run()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), source, url],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode
