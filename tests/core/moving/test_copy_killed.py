"""Killed before and after every step of a copy or an import: sound, and the next run goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store

#: Runs a copy or an import that kills its own process at one call of the target's engines.
CODE = """
import itertools, os, signal, sys
from flowblob import Store, movement
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.storages.local import LocalStorage

source, target, point, when = sys.argv[1:]
movement._BATCH, movement.PAGE = 2, 5  # several transactions
calls = itertools.count(1)  # atomic: payloads are written by several threads

def step(kind, name):
    original = getattr(kind, name)
    def call(self, *args, **options):
        if target not in self.url:
            return original(self, *args, **options)
        number = next(calls)
        if number == int(point) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(self, *args, **options)
        if number == int(point) and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(kind, name, call)

for name in ("place", "absorb"):
    step(SqliteCatalog, name)
step(LocalStorage, "write")
with Store(target) as new:
    if source.endswith(".tar"):
        new.import_from(source, allow_pickle=True)
    else:
        with Store(source) as old:
            old.copy_to(new)
print(next(calls) - 1)
"""


def _run(source: Path, target: Path, point: int, when: str = "before") -> Any:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE), source, target, str(point), when],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done


@pytest.fixture(params=["copy", "import"])
def source(
    request: pytest.FixtureRequest, old: Store, tmp_path: Path, fill: Callable[[Store], None]
) -> Path:
    fill(old)
    if request.param == "copy":
        return Path(old.settings.folder or "")
    old.export_to(tmp_path / "all.tar")
    return tmp_path / "all.tar"


@pytest.mark.timeout(600)
def test_killed_at_any_step_the_target_is_sound_and_the_next_run_completes_it(
    source: Path, old: Store, tmp_path: Path, everything: Any, assert_sound: Any
) -> None:
    done = _run(source, tmp_path / "whole", 0)
    assert done.returncode == 0
    count = int(done.stdout)
    assert count > 15
    arrived = set()
    target = tmp_path / "target"
    # Each run goes on where the one before was killed, and comes to the next points by itself.
    for point in range(1, count + 1):
        when = "before" if point % 2 else "after"
        killed = _run(source, target, point, when)
        if killed.returncode == 0:
            break
        with Store(target) as new:
            assert_sound(new)
            arrived.add(len(everything(new)["version"]))
    assert _run(source, target, 0).returncode == 0
    assert len(arrived) > 2  # else it was never killed half way
    with Store(target) as new:
        assert everything(new) == everything(old)
        assert_sound(new)
        new.gc(grace=timedelta(microseconds=1), dry_run=False, force=True)
        new.storage.sweep_spool()
        assert_sound(new)
        known = {payload.name for payload in new.catalog.generations()}
        assert {name for name, *_ in new.storage.names()} <= known  # what a collector finds


@pytest.mark.timeout(600)
def test_a_kill_at_one_step_loses_nothing(
    source: Path, old: Store, tmp_path: Path, everything: Any, assert_sound: Any
) -> None:
    count = int(_run(source, tmp_path / "whole", 0).stdout)
    for point in range(1, count + 1, max(1, count // 7)):
        when = "before" if point % 2 else "after"
        target = tmp_path / f"target-{point}"
        assert _run(source, target, point, when).returncode == -signal.SIGKILL
        with Store(target) as new:
            assert_sound(new)
        assert _run(source, target, 0).returncode == 0
        with Store(target) as new:
            assert everything(new) == everything(old)
            assert_sound(new)
