"""Deleting what a run made, bringing it back, and sweeping a store."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import flip, path_of

import flowblob
from flowblob import Dir, Run, Store
from flowblob.checking import Checker, Problem
from flowblob.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
)

Files = Callable[[], list[Path]]
BIG = 100_000


def run(number: int, task: str = "load", flow: str = "etl") -> Run:
    return Run(flow=flow, run_id=f"r{number}", task=task, task_run_id=f"r{number}/{task}")


def refs(blobs: Any) -> list[str]:
    return sorted(blob.ref for blob in blobs)


# ------------------------------------------------------------------ by run


def test_exactly_what_a_run_made_is_deleted(any_store: Store) -> None:
    store = any_store
    store.put("raw", b"day", run=run(1))
    store.put("raw", b"day", run=run(2))  # unchanged: the first run made it
    store.put("raw", b"other", run=run(2))
    store.put("raw", b"third", run=run(1))
    store.put("by hand", b"other")
    with flowblob.run("reader"):
        store.get("raw@1")
    assert refs(store.delete(run="r2")) == ["raw@1"]
    assert [blob.version for blob in store.versions("raw")] == [2, 0]
    assert store.get("by hand") == b"other"
    store.gc(grace=0, dry_run=False, force=True)
    assert store.get("by hand") == b"other"
    assert store.catalog.check() == []


def test_a_hit_makes_nothing(any_store: Store) -> None:
    store = any_store

    @flowblob.cached(store=store, name="f", version="1")
    def f() -> int:
        return 1

    with flowblob.run("first"):
        f()
    with flowblob.run("second") as second:
        f()
    store.flush()
    assert store.blobs_of(second.run_id, role="cache_hit")
    with pytest.raises(NotFoundError):
        store.delete(run=second.run_id)
    assert store.exists("f")
    assert refs(store.delete(flow="first")) == ["f@0"]
    assert not f.explain().is_hit
    assert f() == 1
    assert f.explain().is_hit


def test_aliases_and_pins_survive_a_run(any_store: Store) -> None:
    store = any_store
    store.put("a", 1, run=run(1), alias="prod")
    store.put("a", 2, run=run(1))
    with flowblob.run("calls") as made:
        store.cache.put("c", 3, name="pinned", outputs={"side": 4})
    store.cache.pin("c")
    assert refs(store.delete(run="r1")) == ["a@1"]
    assert store.delete(run=made.run_id) == []
    assert store.cache.get("c").outputs["side"].load() == 4


def test_a_run_is_named_by_its_record_its_id_or_its_tasks_id(any_store: Store) -> None:
    store = any_store
    for key, task in (("a", "one"), ("b", "two"), ("c", "three")):
        store.put(key, key, run=run(1, task))
    store.put("d", "d", run=run(2, "one", flow="other"))
    assert refs(store.delete(run=run(1, "one"))) == ["a@0"]
    assert refs(store.delete(run="r1/two")) == ["b@0"]
    assert store.delete(run="r1", flow="etl") != []
    assert refs(store.delete(flow="other")) == ["d@0"]
    assert refs(store.undelete(flow="etl")) == ["a@0", "b@0", "c@0"]
    assert refs(store.undelete(run="r2")) == ["d@0"]


def test_what_names_nothing_or_two_things_is_refused(any_store: Store) -> None:
    store = any_store
    blob = store.put("a", 1, run=run(1))
    for verb in (store.delete, store.undelete):
        with pytest.raises(InvalidInputError):
            verb()
        with pytest.raises(InvalidInputError):
            verb(run="", flow="")
        with pytest.raises(InvalidInputError):
            verb("a", run="r1")
        with pytest.raises(NotFoundError):
            verb(run="nobody")
    assert store.get(blob) == 1


def test_deleting_many_goes_in_steps(any_store: Store) -> None:
    for number in range(450):
        any_store.put("a", number, run=run(1))
    assert len(any_store.delete(run="r1")) == 450
    assert not any_store.exists("a")
    assert len(any_store.undelete(run="r1")) == 450
    assert any_store.get("a") == 449


# ------------------------------------------------------------------ undelete


def test_a_version_comes_back_with_everything_it_had(any_store: Store) -> None:
    store = any_store
    store.put("a", {"x": 1}, tags={"team": "growth"}, metadata={"m": 1}, run=run(1))
    blob = store.promote("a", "prod")
    store.delete("a")
    assert store.undelete("a") == [blob]
    assert store.get("a@prod") == {"x": 1}
    assert store.get(blob) == {"x": 1}
    assert store.put("a", {"x": 1}, tags={"team": "growth"}, metadata={"m": 1}) == blob


def test_a_folder_comes_back_with_all_its_files(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "small").write_bytes(b"small")
    (source / "large").write_bytes(os.urandom(BIG))
    store.put("a", Dir(source))
    store.delete("a")
    store.gc(dry_run=False)
    store.undelete("a")
    restored = store.download("a", tmp_path / "restored")
    assert (restored / "large").read_bytes() == (source / "large").read_bytes()


def test_a_collection_ends_undelete(any_store: Store) -> None:
    store = any_store
    store.put("a", bytes(BIG))
    store.delete("a")
    store.gc(dry_run=False)
    store.undelete("a")
    assert store.get("a") == bytes(BIG)
    store.delete("a")
    assert store.gc(grace=0, dry_run=False).payloads == 1
    with pytest.raises(NotFoundError, match="collected"):
        store.undelete("a")
    with pytest.raises(NotFoundError):
        store.undelete(run="nobody")


def test_a_name_that_lives_again_stays_as_it_is(any_store: Store) -> None:
    store = any_store
    old = store.put("a", 1)
    store.delete("a")
    store.put("a", 2)
    with pytest.raises(ConflictError):
        store.undelete("a")
    with pytest.raises(ConflictError):
        store.undelete(old)
    assert store.get("a") == 2


# ------------------------------------------------------------------ sweep and gc


def test_only_old_names_of_ours_without_a_row_are_swept(full: Store, payload_files: Files) -> None:
    old = time.time() - 8 * 86400
    known = payload_files()
    orphan = known[0].with_name(f"{'a' * 64}.{'0' * 32}")
    foreign = known[0].with_name("README")
    for path in (orphan, foreign):
        path.write_bytes(b"x" * 9)
    for path in (*known, orphan, foreign):
        os.utime(path, (old, old))
    assert full.sweep(min_age="9d").files == 0
    told = full.sweep()
    assert (told.files, told.size, told.is_dry_run) == (1, 9, True)
    assert orphan.exists()
    assert full.sweep(dry_run=False).files == 1
    assert payload_files() == sorted([*known, foreign])
    with pytest.raises(InvalidInputError):
        full.sweep(min_age="1m")


def test_progress_is_told(full: Store) -> None:
    ticks: list[int] = []
    full.verify(tick=ticks.append)
    assert sum(ticks) == 6 * BIG + 600
    ticks.clear()
    full.sweep(tick=ticks.append)
    assert sum(ticks) == 6
    full.delete("big0")
    full.gc(grace=0, dry_run=False, tick=ticks.append)
    assert sum(ticks) == 7


def test_a_checker_that_is_broken_off_knows_where_it_was(full: Store) -> None:
    checker = Checker(full.catalog, full.storage, "content")

    def stop(_: int) -> None:
        if checker.payloads == 5:
            raise KeyboardInterrupt

    checker.tick = stop
    with pytest.raises(KeyboardInterrupt):
        checker.check_store()
    rest = full.verify(resume=checker.cursor)
    assert rest.is_clean
    assert rest.payloads == 8


def test_a_store_that_can_only_be_read_is_verified_and_not_changed(
    full: Store, folder: Path, python: Callable[..., Any]
) -> None:
    """The store's folder is mounted read-only, in a mount namespace of the process's own."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount anything (unshare -m)")
    full.delete("big0")
    flip(path_of(full, "big1"))
    full.close()
    code = """
        import sys
        from flowblob import Store
        from flowblob.errors import PayloadCorruptError, UnavailableError
        store = Store(sys.argv[1])
        assert [problem.ref for problem in store.verify().damaged] == ["big1@0"]
        assert store.gc(grace=0).payloads == 1
        assert len(store.repair().lost) == 1
        verbs = [
            lambda: store.gc(grace=0, dry_run=False),
            lambda: store.repair(dry_run=False),
            lambda: store.undelete("big0"),
            lambda: store.delete("big1"),
        ]
        for verb in verbs:
            try:
                verb()
            except UnavailableError as error:
                assert "read" in str(error), error
            else:
                raise AssertionError("nothing was refused")
        try:
            store.verify("big1")
        except PayloadCorruptError:
            print("refused")
    """
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    done = python(code, folder, prefix=["unshare", "-m", "sh", "-c", mount, str(folder)])
    assert done.stdout == "refused\n"
    assert full.verify("big2").is_clean


def test_a_problem_compares_by_value() -> None:
    assert Problem("a@0", "gone", "g") == Problem("a@0", "gone", "g")
