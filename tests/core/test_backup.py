"""A backup made while puts go on holds everything its catalog names; restoring loses no payload."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flowblob import Store

PUTTING = """
    import os, sys
    from flowblob import Store
    store = Store(sys.argv[1])
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        store.put(f"k{number % 5}/{os.getpid()}", os.urandom(100 if number % 2 else 60_000))
        if number % 7 == 0:
            store.delete(f"k{number % 5}/{os.getpid()}")
"""


def snapshot(folder: Path, target: Path) -> None:
    """Copy the catalog as docs/how-to/backup.md says."""
    source = f"{(folder / 'catalog.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(source, uri=True)) as catalog:
        catalog.execute("VACUUM INTO ?", [str(target / "catalog.db")])


def copy_payloads(folder: Path, target: Path) -> None:
    ignored = shutil.ignore_patterns("tmp")
    shutil.copytree(folder / "payloads", target / "payloads", ignore=ignored, dirs_exist_ok=True)


@pytest.fixture
def putting(folder: Path) -> Iterator[None]:
    """Two processes that put and delete without a pause."""
    Store(folder).close()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(PUTTING), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    yield
    ended = [process.poll() for process in running]
    for process in running:
        process.kill()
        process.communicate()
    assert ended == [None, None]  # else they did not put to the end


@pytest.mark.usefixtures("putting")
def test_everything_in_a_backup_made_beside_puts_can_be_loaded(
    folder: Path, tmp_path: Path
) -> None:
    with Store(folder) as store:
        for number in range(40):
            store.put("before", os.urandom(100 if number % 2 else 60_000))
        for attempt in range(3):
            backup = tmp_path / f"backup{attempt}"
            backup.mkdir()
            snapshot(folder, backup)
            store.gc(dry_run=False)  # with its usual grace
            copy_payloads(folder, backup)
    for attempt in range(3):
        with Store(tmp_path / f"backup{attempt}") as copy:
            report = copy.verify()
            assert report.is_clean
            assert report.read >= 40
            for head in copy.ls():
                for blob in copy.versions(head.key):
                    assert len(copy.get(blob)) == blob.size
            assert len(copy.versions("before")) == 40
            assert copy.put("before", b"after the restore").version == 40
            assert copy.put("before", os.urandom(60_000)).version == 41


def test_an_older_catalog_over_newer_payloads_loses_none_of_them(
    folder: Path, tmp_path: Path
) -> None:
    older, newer = tmp_path / "older", tmp_path / "newer"
    older.mkdir(), newer.mkdir()
    values = [os.urandom(60_000) for _ in range(4)]
    with Store(folder) as store:
        store.put("a", values[0])
        store.put("a", values[1])
        snapshot(folder, older)
        store.put("a", values[2])
        store.put("b", values[3])
        store.delete("a@0")
        store.gc(dry_run=False)
        snapshot(folder, newer)
    shutil.copy(older / "catalog.db", folder / "catalog.db")
    with Store(folder) as store:
        assert store.verify().is_clean
        assert [store.get(blob) for blob in store.versions("a")] == [values[1], values[0]]
        store.gc(grace=0, dry_run=False)
        assert store.sweep(dry_run=False).files == 0
        assert store.put("b", values[3]).version == 0
        assert store.get("b") == values[3]
    shutil.copy(newer / "catalog.db", folder / "catalog.db")
    with Store(folder) as store:
        assert store.verify().is_clean
        assert store.get("a") == values[2]
        assert store.get("b") == values[3]
        store.undelete("a@0")
        assert store.get("a@0") == values[0]
