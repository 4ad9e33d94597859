"""Killed at every system call, failed at every system call: no acknowledged put is ever lost.

By default a sample of the calls is tried; FLOWBLOB_TEST_EVERY_CALL=1 tries each one.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
from pathlib import Path

import crashing
import pytest
from crashing import EVERY, Harness

from flowblob import Dir, Store

_UNUSABLE = crashing.usable()
pytestmark = pytest.mark.skipif(bool(_UNUSABLE), reason=_UNUSABLE)

SAMPLE = 8
SCENARIOS = ["inline", "out", "large", "dedup", "folder", "opening"]


def _prepare(scenario: str, folder: Path) -> None:
    """Make the store with acknowledged versions in it, and what the scenario stores."""
    source = folder.with_name("source")
    if not source.exists():
        source.mkdir()
        (source / "small").write_bytes(b"small")
        (source / "large").write_bytes(bytes(300_000))
        (source / "link").symlink_to("small")
    if scenario != "opening":
        with Store(folder) as store:
            store.put("acknowledged", b"inline")
            store.put("acknowledged", b"outside" * 10_000)
            if scenario == "dedup":
                store.put("k", crashing.value("dedup", "the same"))


def _examine(scenario: str, folder: Path, *, acknowledged: bool, before: int) -> None:
    with Store(folder) as store:
        assert store.catalog.check() == []
        if scenario != "opening":
            assert store.get("acknowledged@0") == b"inline"
            assert store.get("acknowledged") == b"outside" * 10_000
        versions = store.versions("k") if store.exists("k") else []
        numbers = [blob.version for blob in versions]
        assert numbers == list(range(len(numbers)))[::-1]
        assert len(versions) in ({before + 1} if acknowledged else {before, before + 1})
        for blob in versions[:2]:
            store.verify(blob)
            assert isinstance(store.get(blob), bytes | Dir)
        for path in (folder / "payloads").glob("??/*"):
            # A payload's name never stands over anything but all of its bytes.
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.partition(".")[0]
        assert store.put("next", os.urandom(100_000)).size == 100_000
        assert store.put("next", os.urandom(100)).size == 100
        store.storage.sweep_spool()
    assert list((folder / "payloads" / "tmp").iterdir()) == []
    assert [path.name for path in (folder / "payloads").iterdir() if len(path.name) > 8] == []


def _count_versions(folder: Path) -> int:
    if not folder.exists():
        return 0
    with Store(folder) as store:
        return len(store.versions("k")) if store.exists("k") else 0


@pytest.mark.timeout(1800 if EVERY else 600)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_put_killed_at_any_system_call_leaves_all_or_nothing(
    harness: Harness, tmp_path: Path, scenario: str
) -> None:
    folder = tmp_path / "counted" / "store"
    folder.parent.mkdir()
    _prepare(scenario, folder)
    points = crashing.points(harness.count(scenario, folder), SAMPLE)
    killed = 0
    for position, (call, number) in enumerate(points):
        if scenario == "opening":
            folder = tmp_path / f"{position}" / "store"
            folder.parent.mkdir()
            _prepare(scenario, folder)
        before = _count_versions(folder)
        harness.run(scenario, folder, f"{call}:signal=KILL:when={number}")
        killed += harness.status == signal.SIGKILL
        _examine(scenario, folder, acknowledged=harness.acknowledged, before=before)
    assert killed >= len(points) * 0.8  # else this test shows nothing


#: Calls whose failure means that the put has failed, and how a disk makes them fail. That of the
#: last one means nothing: a temporary file stays.
FATAL = {
    "write": "ENOSPC", "pwrite64": "ENOSPC", "link": "ENOSPC", "linkat": "ENOSPC",
    "rename": "EIO", "fsync": "EIO", "fdatasync": "EIO", "copy_file_range": "ENOSPC",
    "unlink": "EIO",
}  # fmt: skip


@pytest.mark.timeout(1800 if EVERY else 600)
@pytest.mark.parametrize("scenario", ["inline", "out", "large", "folder"])
def test_a_put_whose_disk_fails_raises_and_leaves_nothing(
    harness: Harness, tmp_path: Path, scenario: str
) -> None:
    folder = tmp_path / "counted" / "store"
    folder.parent.mkdir()
    _prepare(scenario, folder)
    counted = harness.count(scenario, folder)
    failed = 0
    for call, number in crashing.points({c: n for c, n in counted.items() if c in FATAL}, SAMPLE):
        before = _count_versions(folder)
        harness.run(scenario, folder, f"{call}:error={FATAL[call]}:when={number}")
        assert harness.status == 0
        assert harness.acknowledged or harness.error in (
            "StorageUnavailableError",
            "CatalogUnavailableError",
        )
        assert harness.again, "the next put of the same process failed"
        if harness.error:
            failed += 1
            assert _count_versions(folder) == before
        _examine(scenario, folder, acknowledged=harness.acknowledged, before=before)
        _assert_never_synced_again(harness.log)
    assert failed


def _assert_never_synced_again(log: str) -> None:
    """A file of ours whose sync failed is given up: the kernel may have dropped its pages."""
    synced = [
        (match[2], "INJECTED" in match[3])
        for match in re.finditer(r"(fsync|fdatasync)\(\d+<(.+?)>\)(.*)", log)
        if "/payloads/tmp/" in match[2]
    ]
    for position, (path, failed) in enumerate(synced):
        if failed:
            assert path not in [later for later, _ in synced[position + 1 :]]
