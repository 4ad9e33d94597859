"""Runs and lineage: who wrote, who read, from which thread, task or process."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import flowblob
from flowblob import AsyncStore, Run, Store
from flowblob.errors import InvalidInputError


def _flows(runs: list[Run]) -> list[str]:
    return sorted(run.flow for run in runs)


def test_a_put_is_linked_to_the_run_around_it(store: Store) -> None:
    with flowblob.run("nightly", task="load", url="http://x/1") as run:
        blob = store.put("k", 1)
        assert flowblob.current_run() is run
    assert flowblob.current_run() is None
    producer = store.producer("k")
    assert producer is not None
    assert (producer.flow, producer.task, producer.url) == ("nightly", "load", "http://x/1")
    assert producer.identity == run.identity
    assert [found.id for found in store.blobs_of(run)] == [blob.id]
    assert [found.id for found in store.blobs_of(run.run_id)] == [blob.id]
    assert [found.id for found in store.blobs_of(run.task_run_id)] == [blob.id]


def test_a_put_outside_of_any_run_has_no_producer(store: Store) -> None:
    store.put("k", 1)
    assert store.producer("k") is None
    assert store.runs() == []


def test_an_unchanged_put_links_the_calling_run(store: Store) -> None:
    with flowblob.run("first"):
        blob = store.put("k", 1)
    with flowblob.run("second") as second:
        assert store.put("k", 1).id == blob.id
    assert [found.id for found in store.blobs_of(second)] == [blob.id]
    producer = store.producer("k")
    assert producer is not None
    assert producer.flow == "first"  # the record is immutable: who wrote it first stays


@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.get("k"),
        lambda store: store.get("k", lazy=True).load(),
        lambda store: store.open("k").close(),
        lambda store: store.download("k", "/dev/shm"),
    ],
    ids=["get", "lazy", "open", "download"],
)
def test_a_read_is_linked_as_an_input(
    store: Store, read: Callable[[Store], Any], request: pytest.FixtureRequest
) -> None:
    name = f"flowblob-{os.getpid()}"
    request.addfinalizer(lambda: Path("/dev/shm", name).unlink(missing_ok=True))
    blob = store.put("k", 1, filename=name)
    with flowblob.run("reader") as run:
        read(store)
    assert [found.id for found in store.blobs_of(run, role="input")] == [blob.id]
    assert [(use.run.flow, use.role) for use in store.consumers("k")] == [("reader", "input")]


def test_resolving_and_listing_are_no_reads(store: Store) -> None:
    store.put("k", 1)
    with flowblob.run("looker"):
        store.resolve("k")
        store.versions("k")
        store.get("k", lazy=True)
        store.exists("k")
    assert store.consumers("k") == []


def test_a_given_run_stands_in_for_the_current_one(store: Store) -> None:
    run = Run("airflow", "dag", "r1", "task", "ti-1", 2, 3, "http://x")
    with flowblob.run("other"):
        store.put("k", 1, run=run)
    producer = store.producer("k")
    assert producer is not None
    assert (producer.system, producer.attempt, producer.map_index) == ("airflow", 2, 3)
    assert producer.started_at is not None


def test_tries_of_one_task_are_different_runs(store: Store) -> None:
    for attempt in (1, 2):
        store.put("k", attempt, run=Run("airflow", "dag", "r1", "t", "ti-1", attempt))
    assert sorted(run.attempt for run in store.runs(flow="dag")) == [1, 2]
    assert len(store.blobs_of("r1")) == 2


def test_nested_runs_link_to_the_innermost(store: Store) -> None:
    with flowblob.run("outer"):
        with flowblob.run("inner"):
            store.put("a", 1)
        store.put("b", 1)
    assert [store.producer(key).flow for key in "ab"] == ["inner", "outer"]  # type: ignore[union-attr]


def test_a_run_that_raises_ends(store: Store) -> None:
    def fail() -> None:
        with flowblob.run("failing"):
            store.put("k", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert flowblob.current_run() is None
    assert _flows(store.runs()) == ["failing"]


def test_runs_are_filtered_and_limited_newest_first(store: Store) -> None:
    for number in range(5):
        with flowblob.run(f"flow{number % 2}", run_id=f"id{number}"):
            store.put("k", number)
    assert [run.run_id for run in store.runs(flow="flow0")] == ["id4", "id2", "id0"]
    assert [run.run_id for run in store.runs(limit=2)] == ["id4", "id3"]
    with pytest.raises(InvalidInputError, match="colour"):
        store.runs(colour="red")


def test_values_of_a_run_are_kept_when_it_ends(store: Store) -> None:
    with flowblob.run("train") as run:
        run.used["rate"] = 0.1  # type: ignore[index]
        store.put("k", 1)
        run.generated["loss"] = [1.5, None]  # type: ignore[index]
    [found] = store.runs()
    assert (found.used, found.generated) == ({"rate": 0.1}, {"loss": [1.5, None]})


@pytest.mark.parametrize(
    "bad", [object(), "\ud800", float("nan"), {1: 2}, (1,)], ids=lambda bad: type(bad).__name__
)
def test_values_that_cannot_be_kept_fail_no_write(
    store: Store, bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("input", 1)
    with caplog.at_level(logging.WARNING), flowblob.run("train") as run:
        run.generated["bad"] = bad  # type: ignore[index]
        run.generated["good"] = 1  # type: ignore[index]
        store.put("k", 1)
        store.get("input")
    [found] = store.runs()
    assert found.generated == {"good": 1}
    assert len(store.consumers("input")) == 1
    assert "'bad'" in caplog.text


def test_a_name_that_is_no_utf8_fails_no_write(store: Store) -> None:
    with flowblob.run("bad \ud800 name"):
        store.put("k", 1, alias="prod")
        store.get("k")
    [found] = store.runs()
    assert found.flow == "bad \\ud800 name"
    assert len(store.consumers("k")) == 1


def test_a_run_comes_from_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SYSTEM": "airflow", "FLOW": "dag", "ID": "r1", "TASK": "t",
                        "TASK_RUN_ID": "ti", "ATTEMPT": "3", "MAP_INDEX": "7"}.items():  # fmt: skip
        monkeypatch.setenv(f"FLOWBLOB_RUN_{name}", value)
    store.put("k", 1)
    producer = store.producer("k")
    assert producer is not None
    assert (producer.identity, producer.map_index) == (("airflow", "ti", 3), 7)
    monkeypatch.setenv("FLOWBLOB_RUN_ATTEMPT", "many")
    assert store.put("k", 2).run is None  # told in the log, and no reason to fail


def test_parents_are_edges_beside_what_was_read(store: Store) -> None:
    one, two = store.put("one", 1), store.put("two", 2)
    child = store.put("child", 3, parents=["one", two, f"id:{one.id}"])
    assert {blob.key for blob in store.catalog.parents(child.id)} == {"one", "two"}
    assert [blob.key for blob in store.catalog.children(one.id)] == ["child"]


def test_lineage_walks_over_runs_and_parents_both_ways(store: Store) -> None:
    with flowblob.run("load"):
        store.put("raw", 1)
    with flowblob.run("clean"):
        store.put("clean", store.get("raw") + 1)
    with flowblob.run("train"):
        store.put("model", store.get("clean") + 1, parents=["raw"])
    told = store.lineage("clean")
    assert {blob.key for blob in told.blobs.values()} == {"raw", "clean", "model"}
    assert _flows(list(told.runs.values())) == ["clean", "load", "train"]
    assert "raw@0" in told.to_mermaid()
    assert told.to_text().startswith("clean@0\ncame from:\n  python clean")
    near = store.lineage("model", depth=1)
    assert {blob.key for blob in near.blobs.values()} == {"model", "clean", "raw"}


def test_lineage_that_turns_in_a_circle_ends(store: Store) -> None:
    store.put("state", 0)
    for _ in range(3):
        with flowblob.run("loop", run_id="same"):
            store.put("state", store.get("state") + 1)
    told = store.lineage("state", depth=50)
    assert told.to_text()
    assert told.to_mermaid()


def test_threads_see_their_own_runs(store: Store) -> None:
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        with flowblob.run(f"flow{number}"):
            barrier.wait()
            store.put(f"k{number}", number)
            store.get(f"k{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    for number in range(4):
        assert store.producer(f"k{number}").flow == f"flow{number}"  # type: ignore[union-attr]
        assert _flows([use.run for use in store.consumers(f"k{number}")]) == [f"flow{number}"]


def test_tasks_of_one_loop_see_their_own_runs(folder: Path) -> None:
    async def work(store: AsyncStore, number: int) -> None:
        with flowblob.run(f"flow{number}"):
            await asyncio.sleep(0)
            await store.put(f"k{number}", number)
            await store.get(f"k{number}")

    async def main() -> None:
        async with AsyncStore(folder) as store:
            await asyncio.gather(*(work(store, number) for number in range(8)))

    asyncio.run(main())
    with Store(folder) as store:
        for number in range(8):
            assert store.producer(f"k{number}").flow == f"flow{number}"  # type: ignore[union-attr]
            assert len(store.consumers(f"k{number}")) == 1


def test_reads_noted_by_many_threads_at_once_are_all_kept(folder: Path) -> None:
    with Store(folder) as store:
        for number in range(16):
            store.put(f"k{number}", number)
    fresh = Store(folder)  # whose queue does not exist yet: all threads begin it together
    barrier = threading.Barrier(16)

    def work(number: int) -> None:
        with flowblob.run("readers", task=str(number), run_id="r"):
            barrier.wait()
            fresh.get(f"k{number}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert len(fresh.blobs_of("r", role="input")) == 16
    fresh.close()


def test_a_store_that_is_dropped_still_writes_what_waits(
    folder: Path, python: Callable[..., Any]
) -> None:
    with Store(folder) as store:
        store.put("k", 1)
    code = """
        import gc, sys, flowblob
        with flowblob.run("short"):
            flowblob.Store(sys.argv[1]).get("k")
            gc.collect()
    """
    python(code, folder)
    with Store(folder) as store:
        assert _flows([use.run for use in store.consumers("k")]) == ["short"]


def test_notes_are_written_without_being_asked_for(folder: Path) -> None:
    store = Store(folder)
    store.put("k", 1)
    with flowblob.run("reader"):
        store.get("k")
    catalog = store.catalog
    del store
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "flowblob-journal":
            thread.join(10)
    assert len(catalog.uses(role="input")) == 1
    catalog.close()


def test_a_process_that_exits_or_was_forked_writes_its_notes(
    folder: Path, python: Callable[..., Any]
) -> None:
    with Store(folder) as store:
        store.put("k", 1)
    code = """
        import multiprocessing, sys, flowblob
        store = flowblob.Store(sys.argv[1])
        def read(name):
            with flowblob.run(name):
                store.get("k")
        if __name__ == "__main__":
            read("parent")
            context = multiprocessing.get_context("fork")
            child = context.Process(target=read, args=("child",))
            child.start()
            child.join()
            assert child.exitcode == 0
    """
    python(code, folder)
    with Store(folder) as store:
        assert _flows([use.run for use in store.consumers("k")]) == ["child", "parent"]


def test_deleting_says_who_did_it(store: Store, folder: Path) -> None:
    import sqlite3

    store.put("k", 1)
    with flowblob.run("cleaner"):
        store.delete("k")
    with sqlite3.connect(folder / "catalog.db") as connection:
        [(by,)] = connection.execute("SELECT by FROM tombstone")
    connection.close()
    assert "cleaner" in by


def test_closing_a_store_does_not_wait_for_the_next_batch(tmp_path: Path) -> None:
    store = Store(f"sqlite://{tmp_path}/store?note_interval=1h")
    store.put("k", 1)
    with flowblob.run("reader"):
        store.get("k")
    store.close()  # within the test's timeout of 180 s
    assert len(store.consumers("k")) == 1
    store.close()
