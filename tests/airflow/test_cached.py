"""`@task` over `@cached`, through the real task runner."""

from __future__ import annotations

import logging
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, Asset, Metadata, get_current_context, task
from airflow_host import DAY, Host, Tally, dag_of

import flowblob
from flowblob import Store
from flowblob_airflow import cached
from flowblob_airflow.contexts import NEVER_COUNTED

CALLS = Tally()


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def score(n: int, factor: float = 2.0) -> tuple[float, str]:
    CALLS.append(f"score {n}")
    return n * factor, "x" * 3000


@pytest.mark.parametrize("decorator", [cached, flowblob.cached], ids=["airflow's", "plain"])
def test_a_second_run_is_served(store, decorator):
    host, dag = Host(), dag_of(decorator(score), 3)
    host.ran(dag, "score", run_id="one")
    host.ran(dag, "score", run_id="two")
    assert CALLS == ["score 3"]
    assert host.value(dag, "score", run_id="two") == (6.0, "x" * 3000)
    assert host.row(dag, "score", run_id="two") == host.row(dag, "score", run_id="one")


def test_the_result_is_one_version_and_one_payload(store):
    host, dag = Host(), dag_of(cached(score), 3)
    host.ran(dag, "score")
    assert host.row(dag, "score")["ref"] == "etl/score@0"
    assert [blob.ref for blob in store.ls()] == ["etl/score@0"]
    (entry,) = store.cache.entries()
    assert entry.blob.ref == "etl/score@0"
    assert (entry.run.system, entry.run.flow, entry.run.task) == ("airflow", "etl", "score")


def test_a_hit_is_linked_and_counted(store):
    host, dag = Host(), dag_of(cached(score), 3)
    host.ran(dag, "score", run_id="one")
    host.ran(dag, "score", run_id="two")
    uses = store.consumers("etl/score")
    assert [(use.run.run_id, use.role) for use in uses] == [("two", "cache_hit")]
    assert store.cache.entries()[0].hits == 1


@pytest.mark.parametrize("multiple_outputs", [False, True])
def test_a_hit_whose_value_airflow_needs_is_one_use(store, multiple_outputs):
    def small():
        return {"a": 1, "b": 2}

    host = Host()
    dag = dag_of(cached(small), task_options={"multiple_outputs": multiple_outputs})
    for run_id in ("one", "two"):
        host.ran(dag, "small", run_id=run_id)
        assert host.value(dag, "small", run_id=run_id) == {"a": 1, "b": 2}
    uses = store.consumers("etl/small")
    assert [(use.run.run_id, use.role) for use in uses] == [("two", "cache_hit")]


def test_python_and_airflow_share_one_entry(store):
    plain = flowblob.cached(store=store)(score)
    plain(3)
    host, dag = Host(), dag_of(cached(score), n=3)
    host.ran(dag, "score")
    assert CALLS == ["score 3"]
    assert host.row(dag, "score")["ref"] == "test_cached/score@0"
    host.ran(dag_of(cached(score), 4), "score")
    plain(4)
    assert CALLS == ["score 3", "score 4"]


def test_small_results_stay_in_airflows_database(store):
    def count(n):
        CALLS.append("count")
        return {"rows": n}

    host, dag = Host(), dag_of(cached(count), 3)
    for run_id in ("one", "two"):
        host.ran(dag, "count", run_id=run_id)
        assert host.row(dag, "count", run_id=run_id) == {"rows": 3}
    assert CALLS == ["count"]


def test_none_is_a_hit(store):
    def nothing():
        CALLS.append("nothing")

    host, dag = Host(), dag_of(cached(nothing))
    for run_id in ("one", "two"):
        host.ran(dag, "nothing", run_id=run_id)
        assert host.row(dag, "nothing", run_id=run_id) is None
    assert CALLS == ["nothing"]


def test_other_arguments_are_another_result(store):
    host = Host()
    for n in (3, 4, 3):
        host.ran(dag_of(cached(score), n), "score")
    assert CALLS == ["score 3", "score 4"]


def test_a_failed_computation_is_not_stored_and_a_retry_computes(store):
    def flaky():
        CALLS.append("flaky")
        if len(CALLS) == 1:
            raise OSError("the network")
        return (1,)

    host, dag = Host(), dag_of(cached(flaky), task_options={"retries": 2})
    assert host.run(dag, "flaky", should_retry=True).state == "up_for_retry"
    host.ran(dag, "flaky", try_number=2)
    host.ran(dag, "flaky", run_id="two")
    assert CALLS == ["flaky", "flaky"]
    assert store.producer("etl/flaky").attempt == 2


def test_a_retry_after_success_elsewhere_is_served(store):
    host, dag = Host(), dag_of(cached(score), 3, task_options={"retries": 2})
    host.ran(dag, "score", run_id="one")
    host.ran(dag, "score", run_id="two", try_number=2)
    assert CALLS == ["score 3"]


def test_a_clear_computes_anew_and_writes_the_entry(store):
    host, dag = Host(), dag_of(cached(score), 3, task_options={"retries": 1})
    host.ran(dag, "score")
    # Airflow gives a cleared task as many tries as it has left, on top of those it had.
    host.ran(dag, "score", try_number=2, max_tries=2)
    assert CALLS == ["score 3", "score 3"]
    host.ran(dag, "score", run_id="two")
    assert len(CALLS) == 2
    assert [entry.run.attempt for entry in store.cache.entries()] == [2]


def test_a_clear_may_reuse(store):
    host, dag = Host(), dag_of(cached(on_clear="reuse")(score), 3)
    host.ran(dag, "score")
    host.ran(dag, "score", try_number=2, max_tries=1)
    assert CALLS == ["score 3"]


@pytest.mark.parametrize(
    ("asked", "computed"),
    [
        ({"refresh": True}, 2),
        ({"refresh": ["score"]}, 2),
        ({"refresh": ["other"]}, 1),
        ({"bypass": True}, 2),
        ({"refresh": False}, 1),
        ("nonsense", 1),
        (None, 1),
    ],
)
def test_the_runs_configuration_refreshes_or_bypasses(store, asked, computed):
    host, dag = Host(), dag_of(cached(score), 3)
    host.ran(dag, "score", run_id="one")
    host.ran(dag, "score", run_id="two", conf={"flowblob": asked})
    assert len(CALLS) == computed


def test_a_bypassed_task_leaves_the_cache_alone(store):
    host, dag = Host(), dag_of(cached(score), 3)
    host.ran(dag, "score", conf={"flowblob": {"bypass": True}})
    assert store.cache.entries() == []
    assert host.value(dag, "score")[0] == 6.0


def test_the_environment_switches_the_cache_off(store, monkeypatch):
    monkeypatch.setenv("FLOWBLOB_CACHE", "off")
    host, dag = Host(), dag_of(cached(score), 3)
    for run_id in ("one", "two"):
        host.ran(dag, "score", run_id=run_id)
    assert len(CALLS) == 2


def test_what_the_signature_names_counts_by_value(store):
    def daily(ds=None, params=None):
        CALLS.append(ds)
        return ds, params

    host, dag = Host(), dag_of(cached(daily))
    host.ran(dag, "daily", run_id="one")
    host.ran(dag, "daily", run_id="two")
    host.ran(dag, "daily", run_id="three", day=DAY + timedelta(days=1))
    assert CALLS == ["2026-11-20", "2026-11-21"]
    assert host.value(dag, "daily", run_id="two") == ("2026-11-20", {})


def test_dates_of_airflow_count_as_dates(store):
    def daily(logical_date=None):
        CALLS.append("daily")
        return (logical_date.year,)

    flowblob.cached(store=store)(daily)(logical_date=DAY)
    Host().ran(dag_of(cached(daily)), "daily")
    assert CALLS == ["daily"]


def test_what_acts_for_the_running_try_never_counts(store):
    def acting(n, ti=None, dag_run=None, task_instance=None):
        CALLS.append(ti.run_id)
        return (n, dag_run.run_id)

    host, dag = Host(), dag_of(cached(acting), 3)
    for run_id in ("one", "two"):
        host.ran(dag, "acting", run_id=run_id)
    assert CALLS == ["one"]


def test_what_airflow_adds_to_keyword_arguments_does_not_count(store):
    def collects(n, **context):
        CALLS.append(context["run_id"])
        return (n, context["extra"])

    host, dag = Host(), dag_of(cached(collects), 3, extra="a")
    for run_id in ("one", "two"):
        host.ran(dag, "collects", run_id=run_id)
    host.ran(dag_of(cached(collects), 3, extra="b"), "collects", run_id="three")
    assert CALLS == ["one", "three"]


def test_context_that_is_read_inside_can_be_named(store):
    def sneaky():
        CALLS.append(get_current_context()["ds"])
        return (CALLS[-1],)

    host, dag = Host(), dag_of(cached(key_context=["ds"])(sneaky))
    host.ran(dag, "sneaky")
    host.ran(dag, "sneaky", run_id="two", day=DAY + timedelta(days=1))
    host.ran(dag, "sneaky", run_id="three")
    assert CALLS == ["2026-11-20", "2026-11-21"]


def test_context_that_changes_with_every_try_is_refused(store):
    host, dag = Host(), dag_of(cached(key_context=["ti"])(score), 3)
    result = host.run(dag, "score")
    assert result.state == "failed"
    assert "changes with every try" in str(result.error)
    assert "ti" in NEVER_COUNTED


def test_mapped_tasks_are_cached_by_their_inputs(store):
    with DAG("etl") as dag:
        task(cached(score)).expand(n=[1, 2, 1])
    host = Host()
    for index in range(3):
        host.ran(dag, "score", map_index=index)
    assert CALLS == ["score 1", "score 2"]
    assert [host.row(dag, "score", map_index=i)["ref"] for i in range(3)] == [
        "etl/score/0@0",
        "etl/score/1@0",
        "etl/score/0@0",
    ]


def test_an_async_function_is_served_too(store):
    async def fetch(n):
        CALLS.append(f"fetch {n}")
        return (n, "x" * 3000)

    host, dag = Host(), dag_of(cached(fetch), 3)
    for run_id in ("one", "two"):
        host.ran(dag, "fetch", run_id=run_id)
    assert CALLS == ["fetch 3"]
    assert host.value(dag, "fetch", run_id="two") == (3, "x" * 3000)


def test_a_hit_may_skip_the_task(store):
    host, dag = Host(), dag_of(cached(on_hit="skip")(score), 3)
    host.ran(dag, "score", run_id="one")
    assert host.run(dag, "score", run_id="two").state == "skipped"


def test_the_log_names_the_run_that_made_it(store, caplog):
    host = Host()
    flowblob.cached(store=store)(score)
    with caplog.at_level(logging.INFO, "flowblob"):
        host.ran(dag_of(cached(score), 3), "score", run_id="one")
        host.ran(dag_of(cached(score), 3, dag_id="other"), "score", run_id="two")
    hits = [line for line in caplog.messages if line.startswith("hit ")]
    assert len(hits) == 1
    assert hits[0].startswith("hit etl/score@0 from airflow etl/score (one), saved ")


def test_a_store_that_fails_does_not_fail_the_task(store_folder, caplog):
    spoil(store_folder)
    host, dag = Host(), dag_of(cached(score_small), 3)
    with caplog.at_level(logging.WARNING):
        host.ran(dag, "score_small")
    assert host.row(dag, "score_small") == 3
    assert any("not cached" in line for line in caplog.messages)


def score_small(n):
    return n


def spoil(folder):
    folder.mkdir()
    (folder / "catalog.db").write_bytes(b"no database" * 1000)


def test_errors_may_be_asked_for(store_folder):
    spoil(store_folder)
    dag = dag_of(cached(on_error="raise")(score_small), 3)
    assert Host().run(dag, "score_small").state == "failed"


def test_a_function_keeps_its_own_store(store, tmp_path):
    with Store(tmp_path / "own") as own:
        host, dag = Host(), dag_of(cached(store=own)(score), 3)
        host.ran(dag, "score", run_id="one")
        host.ran(dag, "score", run_id="two")
        assert CALLS == ["score 3"]
        own.flush()
        assert own.cache.entries()[0].hits == 1
    assert host.value(dag, "score", run_id="two")[0] == 6.0


@pytest.mark.parametrize("kind", ["branch", "short_circuit", "sensor", "virtualenv"])
def test_tasks_that_cannot_be_cached_fail_with_the_reason(store, kind):
    def decides():
        return ["other"]

    options = {"requirements": []} if kind == "virtualenv" else {}
    with DAG("d") as dag:
        getattr(task, kind)(**options)(cached(decides))()
    result = Host().run(dag, "decides", should_retry=True)
    assert result.state == "failed"
    assert any(word in str(result.error) for word in ("decides which", "sensor", "environment"))


def test_a_generator_is_refused_when_it_is_decorated():
    def lines():
        yield Metadata(Asset("sales"), {"a": 1})

    with pytest.raises(flowblob.errors.InvalidInputError, match="generator"):
        cached(lines)
    with DAG("d") as dag:
        task(flowblob.cached(lines))()
    result = Host().run(dag, "lines")
    assert result.state == "failed"
    assert "generator" in str(result.error)


@pytest.mark.parametrize("options", [{"on_clear": "keep"}, {"on_hit": "fail"}, {"wait": "soon"}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(flowblob.errors.InvalidInputError):
        cached(**options)


def test_a_cached_function_still_works_without_airflow(store):
    double = cached(store=store)(score)
    assert double(3) == double(3) == (6.0, "x" * 3000)
    assert CALLS == ["score 3"]
    assert double.explain(3).why == "hit"


def test_a_hit_whose_payload_is_lost_is_computed_again(store, store_folder):
    def big():
        CALLS.append("big")
        return b"z" * 200_000

    host, dag = Host(), dag_of(cached(big))
    host.ran(dag, "big", run_id="one")
    for path in (store_folder / "payloads").rglob("*"):
        if path.is_file() and path.stat().st_size == 200_000:
            path.unlink()
    host.ran(dag, "big", run_id="two")
    assert CALLS == ["big", "big"]
    assert host.value(dag, "big", run_id="two") == b"z" * 200_000


def test_a_task_instance_of_another_kind_is_left_alone():
    from flowblob_airflow import listener, runs

    listener.on_task_instance_running(SimpleNamespace(dag_id="d"))
    assert runs.current() is None
