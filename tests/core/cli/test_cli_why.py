"""why: a hit or a miss is explained by the ingredients of its key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

import flowblob
from flowblob import Run, Store, cached, runs

Cli = Callable[..., Any]


def features(day: str, rows: int = 3) -> list[str]:
    return [day] * rows


@pytest.fixture
def call(store: Store) -> Callable[..., Run]:
    """Call the cached function inside a task run, and return that run."""
    wrapped = cached(store=store, name="features")(features)

    def in_run(task_run_id: str, *args: Any, **kwargs: Any) -> Run:
        run = Run(
            system="airflow",
            flow="daily",
            run_id="manual__1",
            task="features",
            task_run_id=task_run_id,
            name=f"name-of-{task_run_id}",
        )
        with runs.active(run):
            wrapped(*args, **kwargs)
        store.flush()
        return run

    return in_run


def ingredients(told: dict[str, Any]) -> dict[str, str]:
    return {found["name"]: found["change"] for found in told["ingredients"]}


def test_the_first_call_has_nothing_to_be_compared_with(cli: Cli, call: Any) -> None:
    call("t1", "monday")
    (told,) = cli("why", "features", "--json").json["answers"]
    assert (told["verdict"], told["nearest"]) == ("computed", None)
    assert "no earlier call" in told["because"]


def test_a_changed_argument_is_named_with_both_values(cli: Cli, call: Any) -> None:
    call("t1", "monday")
    call("t2", "tuesday")
    (told,) = cli("why", "features@1", "--json").json["answers"]
    assert (told["verdict"], told["changed"]) == ("recomputed", ["day"])
    assert ingredients(told) == {"code": "same", "day": "changed", "rows": "same"}
    rows = {row[4]: row for row in cli("why", "features@1").rows}
    assert rows["day"][:4] == ["recomputed", "features@1", "changed", "argument"]
    assert rows["day"][5:] == ["'monday'", "'tuesday'"]


def test_changed_code_shows_digests_where_no_summary_differs(cli: Cli, store: Store) -> None:
    def first() -> int:
        return 1

    def second() -> int:
        return 2

    for function in (first, second):
        cached(store=store, name="answer")(function)()
    (row,) = [row for row in cli("why", "answer@1").rows if row[4] == "code"]
    assert row[2] == "changed"
    assert row[5] != row[6]


def test_a_served_task_run_is_a_hit_from_the_run_that_computed(cli: Cli, call: Any) -> None:
    call("t1", "monday")
    call("t2", "monday")
    (told,) = cli("why", "--task-run", "t2", "--json").json["answers"]
    assert told["verdict"] == "hit"
    assert told["served"]["task_run_id"] == "t2"
    assert told["entry"]["run"]["task_run_id"] == "t1"
    assert set(ingredients(told).values()) == {"same"}
    assert "equal those of the call by airflow daily/features (name-of-t1)" in told["because"]


def test_a_task_run_is_found_by_what_its_host_calls_it(cli: Cli, call: Any) -> None:
    call("t1", "monday")
    call("t2", "monday")
    assert cli("why", "--task-run", "name-of-t2", "--json").json["answers"][0]["verdict"] == "hit"


def test_a_dag_a_run_and_a_task_name_a_task_run(cli: Cli, call: Any) -> None:
    call("t1", "monday")
    wanted = ["--dag", "daily", "--run", "manual__1", "--task", "features"]
    (told,) = cli("why", *wanted, "--json").json["answers"]
    assert told["verdict"] == "computed"
    assert cli("why", *wanted[:-1], "other").code == 3


def test_a_cache_key_names_its_entry(cli: Cli, call: Any, store: Store) -> None:
    call("t1", "monday")
    (entry,) = store.cache.entries()
    (told,) = cli("why", entry.key, "--json").json["answers"]
    assert (told["key"], told["ref"]) == (entry.key, "features@0")
    assert cli("why", "fb1:" + "0" * 64).code == 3


def test_a_refresh_of_the_same_call_is_called_so(cli: Cli, store: Store) -> None:
    wrapped = cached(store=store, name="features")(features)
    wrapped("monday")
    wrapped.refresh("monday")
    told = cli("why", "features", "--json").json["answers"][0]
    assert told["verdict"] == "refreshed"
    assert told["changed"] == []


def test_hits_and_the_time_they_saved_are_told(terminal: Cli, call: Any) -> None:
    for number in range(4):
        call(f"t{number}", "monday")
    code, painted = terminal("why", "features", "--color", "never")
    assert code == 0
    assert "since then: 3 hits, " in painted
    assert "computed by airflow daily/features (name-of-t0)" in painted
    code, painted = terminal("why", "--task-run", "t2", "--color", "never")
    assert painted.startswith("hit features@0 because code and inputs equal those of")
    assert "  = same     argument day  'monday'" in painted


def test_what_was_only_put_is_not_explained_as_computed(cli: Cli, store: Store) -> None:
    store.put("plain", 1)
    done = cli("why", "plain")
    assert done.code == 3
    assert "was put" in done.err


def test_a_run_that_used_no_cache_says_so(cli: Cli, store: Store) -> None:
    with flowblob.run("nightly") as run:
        store.put("plain", 1)
    store.flush()
    done = cli("why", "--task-run", run.task_run_id)
    assert done.code == 3
    assert "flowblob runs" in done.err


@pytest.mark.parametrize("args", [[], ["a", "--task-run", "b"], ["--dag", "d"]])
def test_the_question_must_be_one(args: list[str], cli: Cli, store: Store) -> None:
    store.put("a", 1)
    assert cli("why", *args).code == 2


def test_secret_values_are_not_printed_beyond_their_summary(cli: Cli, store: Store) -> None:
    @functools.partial(cached, store=store, name="long", version="1")()
    def long(text: str) -> int:
        return len(text)

    long("s" * 5000)
    assert max(map(len, cli("why", "long").out.splitlines())) < 300
