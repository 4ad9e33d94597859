"""gc and repair killed at every system call, failed at every system call: nothing is lost.

By default a sample of the calls is tried; FLOWBLOB_TEST_EVERY_CALL=1 tries each one.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import crashing
import pytest
from crashing import EVERY, Harness

from flowblob import Store

_UNUSABLE = crashing.usable()
pytestmark = pytest.mark.skipif(bool(_UNUSABLE), reason=_UNUSABLE)

SAMPLE = 12
KEPT = {"inline": b"inline", "outside": b"outside" * 10_000, "shared": b"shared" * 10_000}


def _prepare(scenario: str, folder: Path) -> None:
    """Make a store with versions to keep, and something to collect or to repair."""
    with Store(folder) as store:
        for key, value in KEPT.items():
            store.put(key, value)
        if scenario == "gc":
            for _ in range(3):
                store.put("gone", os.urandom(50_000))
                store.put("small", os.urandom(500))
            store.put("gone", KEPT["shared"])
            store.delete("gone")
            store.delete("small")
            return
        store.put("damaged", os.urandom(50_000))
        store.put("missing", os.urandom(50_000))
        _file(store, "damaged").write_bytes(b"damaged")
        _file(store, "missing").unlink()


def _file(store: Store, key: str) -> Path:
    [payload] = store.catalog.payloads(store.head(key).id)
    path = store.storage.path(payload.name)
    assert path is not None
    return path


def _finish(scenario: str, folder: Path) -> None:
    """Do again what was broken off, and look at everything."""
    with Store(folder) as store:
        assert store.catalog.check() == []
        for key, value in KEPT.items():
            assert store.get(key) == value
        if scenario == "repair":
            assert {item.ref for item in store.repair(dry_run=False).lost} == {
                "damaged@0",
                "missing@0",
            }
            aside = list((folder / "payloads" / "damaged").iterdir())
            assert [path.read_bytes() for path in aside] == [b"damaged"]
            assert {problem.ref for problem in store.verify().damaged} == {
                "damaged@0",
                "missing@0",
            }
            return
        store.gc(grace=0, dry_run=False, force=True)
        for key, value in KEPT.items():
            assert store.get(key) == value
        assert store.verify().is_clean
        used = {p.name for p in store.catalog.generations() if not p.is_inline}
        files = [path for path in (folder / "payloads").glob("??/*") if path.is_file()]
        assert {str(path.relative_to(folder / "payloads")) for path in files} == used
        for path in files:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.partition(".")[0]
    assert list((folder / "payloads" / "tmp").iterdir()) == []


def _trials(
    harness: Harness, tmp_path: Path, scenario: str, only: tuple[str, ...] = ()
) -> Iterator[tuple[str, int, Path]]:
    folder = tmp_path / "counted" / "store"
    folder.parent.mkdir()
    _prepare(scenario, folder)
    counted = harness.count(scenario, folder)
    chosen = {call: number for call, number in counted.items() if not only or call in only}
    for position, (call, number) in enumerate(crashing.points(chosen, SAMPLE)):
        folder = tmp_path / f"{position}" / "store"
        folder.parent.mkdir()
        _prepare(scenario, folder)
        yield call, number, folder


@pytest.mark.timeout(1800 if EVERY else 600)
@pytest.mark.parametrize("scenario", ["gc", "repair"])
def test_what_is_killed_at_any_system_call_is_done_by_the_next(
    harness: Harness, tmp_path: Path, scenario: str
) -> None:
    tried = killed = 0
    for call, number, folder in _trials(harness, tmp_path, scenario):
        harness.run(scenario, folder, f"{call}:signal=KILL:when={number}")
        tried, killed = tried + 1, killed + (harness.status == signal.SIGKILL)
        _finish(scenario, folder)
    assert killed >= tried * 0.8  # else this test shows nothing


FATAL = {
    "write": "ENOSPC", "pwrite64": "ENOSPC", "unlink": "EIO", "rename": "EIO", "fsync": "EIO",
    "fdatasync": "EIO", "mkdir": "ENOSPC",
}  # fmt: skip


@pytest.mark.timeout(1800 if EVERY else 600)
@pytest.mark.parametrize("scenario", ["gc", "repair"])
def test_what_fails_with_its_disk_says_so_and_is_done_by_the_next(
    harness: Harness, tmp_path: Path, scenario: str
) -> None:
    failed = 0
    for call, number, folder in _trials(harness, tmp_path, scenario, tuple(FATAL)):
        harness.run(scenario, folder, f"{call}:error={FATAL[call]}:when={number}")
        assert harness.status == 0
        assert harness.acknowledged or harness.error in (
            "StorageUnavailableError",
            "CatalogUnavailableError",
        )
        failed += bool(harness.error)
        _finish(scenario, folder)
    assert failed
