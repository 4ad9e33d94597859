"""`cached_operator` over plain, mapped, failing and deferrable operators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import (
    BranchPythonOperator,
    PythonOperator,
    ShortCircuitOperator,
)
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, BaseOperator, task
from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import BaseTrigger, TriggerEvent
from airflow_host import Host, Tally
from engines import everywhere

from flowblob.errors import CatalogUnavailableError, NotSupportedError
from flowblob_airflow import BlobSensor, cached_operator
from flowblob_airflow.stores import store_for
from flowblob_airflow.triggers import ReservationTrigger

CALLS = Tally()


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


class Query(BaseOperator):
    """Counts the rows of a table."""

    template_fields: Sequence[str] = ("table", "options")
    ui_color = "#abcdef"

    def __init__(self, *, table, options=None, limit=None, fail=False, **kwargs):
        super().__init__(**kwargs)
        self.table = table
        self.options = options
        self.limit = limit
        self.fail = fail

    def execute(self, context):
        CALLS.append((self.table, self.options))
        if self.fail:
            raise OSError("the database")
        return (self.table, "x" * 3000)


CachedQuery = cached_operator(Query)


def dag_of(made=CachedQuery, **kwargs):
    with DAG("etl") as dag:
        made(task_id="query", **kwargs)
    return dag


def test_the_class_looks_like_the_operator_it_was():
    assert CachedQuery.__name__ == "Query"
    assert CachedQuery.__qualname__ == "Query"
    assert CachedQuery.__module__ == Query.__module__
    assert CachedQuery.__doc__ == Query.__doc__
    assert issubclass(CachedQuery, Query)
    with DAG("d"):
        assert CachedQuery(task_id="t", table="a").task_type == "Query"


def test_a_second_run_is_served(store):
    host, dag = Host(), dag_of(table="sales_{{ ds_nodash }}")
    host.ran(dag, "query", run_id="one")
    host.ran(dag, "query", run_id="two")
    assert CALLS == [("sales_20261120", None)]
    assert host.value(dag, "query", run_id="two") == ("sales_20261120", "x" * 3000)
    assert host.row(dag, "query", run_id="two")["ref"] == "etl/query@0"
    assert [blob.ref for blob in store.ls()] == ["etl/query@0"]


def test_bash_is_cached_too(store, tmp_path):
    mark = tmp_path / "mark"
    host = Host()
    dag = dag_of(cached_operator(BashOperator), bash_command=f"echo x >> {mark}; echo done")
    for run_id in ("one", "two"):
        host.ran(dag, "query", run_id=run_id)
        assert host.row(dag, "query", run_id=run_id) == "done"
    assert mark.read_text() == "x\n"


def test_arguments_that_are_no_template_fields_count_too(store):
    host = Host()
    host.ran(dag_of(table="a", limit=1), "query")
    host.ran(dag_of(table="a", limit=2), "query")
    host.ran(dag_of(table="a", limit=2, retries=5, owner="somebody"), "query")
    assert len(CALLS) == 2


def test_two_functions_of_one_operator_are_two_results(store):
    made = cached_operator(PythonOperator)

    def one():
        return (1, "x" * 3000)

    def two():
        return (2, "x" * 3000)

    host = Host()
    for function in (one, two):
        dag = dag_of(made, python_callable=function)
        host.ran(dag, "query")
        assert host.value(dag, "query")[0] == function()[0]


def test_arguments_can_be_ignored(store):
    made = cached_operator(Query, ignore=["limit", "options"])
    host = Host()
    host.ran(dag_of(made, table="a", limit=1, options={"v": 1}), "query")
    host.ran(dag_of(made, table="a", limit=2, options={"v": 2}), "query")
    assert len(CALLS) == 1


def test_a_salt_and_a_version_change_the_key(store):
    host = Host()
    for made in (
        cached_operator(Query, salt="2"),
        cached_operator(Query, version="7"),
        CachedQuery,
    ):
        host.ran(dag_of(made, table="a"), "query")
    assert len(CALLS) == 3


def test_a_mapped_operator_is_cached_by_what_it_was_given(store):
    with DAG("etl") as dag:
        CachedQuery.partial(task_id="query", limit=5).expand(table=["a", "b", "a"])
    host = Host()
    for index in range(3):
        host.ran(dag, "query", map_index=index)
    assert [table for table, _ in CALLS] == ["a", "b"]
    assert host.row(dag, "query", map_index=2)["ref"] == "etl/query/0@0"


def test_a_failure_is_not_stored(store):
    host = Host()
    assert host.run(dag_of(table="a", fail=True), "query").state == "failed"
    assert store.cache.entries() == []
    host.ran(dag_of(table="a", fail=False), "query")


def test_a_clear_computes_anew(store):
    host, dag = Host(), dag_of(table="a")
    host.ran(dag, "query")
    host.ran(dag, "query", try_number=2, max_tries=1)
    assert len(CALLS) == 2


def test_a_run_may_bypass_the_cache(store):
    host, dag = Host(), dag_of(table="a")
    host.ran(dag, "query")
    host.ran(dag, "query", conf={"flowblob": {"bypass": ["query"]}})
    assert len(CALLS) == 2


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        (PythonSensor, "sensor"),
        (BlobSensor, "sensor"),
        (BranchPythonOperator, "decides which tasks run"),
        (ShortCircuitOperator, "decides which tasks run"),
    ],
)
def test_operators_that_cannot_be_cached_are_refused_at_once(operator, reason):
    with pytest.raises(NotSupportedError, match=reason):
        cached_operator(operator)


def test_a_class_that_starts_in_the_triggerer_is_refused():
    class Starts(Query):
        start_from_trigger = True

    with pytest.raises(NotSupportedError, match="starts in the triggerer"):
        cached_operator(Starts)


def test_the_output_of_another_task_arrives_lazily_and_is_loaded_to_compute(store):
    with DAG("etl") as dag:

        @task
        def make():
            return {"where": "y" * 3000}

        CachedQuery(task_id="query", table="a", options=make())
    host = Host()
    for run_id in ("one", "two"):
        host.ran(dag, "make", run_id=run_id)
        host.ran(dag, "query", run_id=run_id)
    assert CALLS == [("a", {"where": "y" * 3000})]
    assert host.task_instances.rendered["options"].startswith("<blob etl/make@0 ")
    reads = [use.run.run_id for use in store.consumers("etl/make") if use.role == "input"]
    assert reads == ["one"]


class Tick(BaseTrigger):
    """Fires at once."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def serialize(self):
        return (f"{__name__}.Tick", {"n": self.n})

    async def run(self):
        yield TriggerEvent({"n": self.n})


class Waits(BaseOperator):
    """Waits in the triggerer, twice."""

    template_fields: Sequence[str] = ("n",)

    def __init__(self, *, n, fail=False, **kwargs):
        super().__init__(**kwargs)
        self.n = n
        self.fail = fail

    def execute(self, context):
        CALLS.append("execute")
        raise TaskDeferred(
            trigger=Tick(self.n),
            method_name="again",
            kwargs={"mine": 1},
            timeout=timedelta(minutes=1),
        )

    def again(self, context, event, mine):
        CALLS.append(("again", mine, event))
        self.defer(trigger=Tick(self.n), method_name="done")

    def done(self, context, event):
        CALLS.append("done")
        if self.fail:
            raise OSError("the trigger's result")
        return (self.n, "x" * 3000)


CachedWaits = cached_operator(Waits)


def fired(result):
    """Return what brings a deferred task back: the method and its arguments with the event."""
    assert result.state == "deferred"
    module, _, name = result.msg.classpath.rpartition(".")
    assert (module, name) == (__name__, "Tick")
    event = asyncio.run(anext(Tick(**result.msg.trigger_kwargs).run())).payload
    return {
        "next_method": result.msg.next_method,
        "next_kwargs": {**result.msg.next_kwargs, "event": event},
    }


def held(store):
    """Return whether anybody holds the reservation of the one key that is computed."""
    key = CachedKeys.last
    got = store.catalog.acquire(
        key, "asker", ttl=timedelta(seconds=1), max_hold=timedelta(seconds=1)
    )
    if got.reservation is not None:
        store.catalog.release(got.reservation)
    return bool(got.holder)


class CachedKeys:
    last = ""


def carried(result):
    note = result.msg.next_kwargs["__flowblob__"]
    CachedKeys.last = note["key"]
    return note


@everywhere
def test_a_deferred_task_keeps_its_reservation_and_stores_when_it_resumes(store):
    host, dag = Host(), dag_of(CachedWaits, n=3)
    first = host.run(dag, "query", run_id="one")
    assert carried(first)["ttl"] == 360
    assert held(store)
    second = host.run(dag, "query", run_id="one", **fired(first))
    assert carried(second)["ttl"] > 3600
    assert held(store)
    host.ran(dag, "query", run_id="one", **fired(second))
    assert CALLS == ["execute", ("again", 1, {"n": 3}), "done"]
    assert not held(store)
    CALLS.clear()
    host.ran(dag, "query", run_id="two")
    assert CALLS == []
    assert host.value(dag, "query", run_id="two") == (3, "x" * 3000)


def test_a_failure_after_the_deferral_releases_the_reservation(store):
    host, dag = Host(), dag_of(CachedWaits, n=3, fail=True)
    first = host.run(dag, "query")
    second = host.run(dag, "query", **fired(first))
    carried(second)
    assert host.run(dag, "query", **fired(second)).state == "failed"
    assert not held(store)
    assert store.cache.entries() == []


def test_a_failing_trigger_releases_the_reservation(store):
    host, dag = Host(), dag_of(CachedWaits, n=3)
    first = host.run(dag, "query")
    carried(first)
    kwargs = {**first.msg.next_kwargs, "error": "Trigger failure"}
    assert host.run(dag, "query", next_method="__fail__", next_kwargs=kwargs).state == "failed"
    assert not held(store)


def test_a_bypassed_task_defers_as_ever(store):
    host, dag = Host(), dag_of(CachedWaits, n=3)
    conf = {"flowblob": {"bypass": True}}
    first = host.run(dag, "query", conf=conf)
    assert "__flowblob__" not in first.msg.next_kwargs
    second = host.run(dag, "query", conf=conf, **fired(first))
    host.ran(dag, "query", conf=conf, **fired(second))
    assert store.cache.entries() == []


def test_another_task_does_not_compute_what_a_deferred_one_does(store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__WAIT_SECONDS", "0")
    host, dag = Host(), dag_of(CachedWaits, n=3)
    host.run(dag, "query", run_id="one")
    assert host.run(dag, "query", run_id="two").state == "up_for_reschedule"
    assert CALLS == ["execute"]


WaitingWaits = cached_operator(Waits, deferrable=True, wait=0.01)


def waiter(result):
    assert result.state == "deferred"
    assert result.msg.classpath == "flowblob_airflow.triggers.ReservationTrigger"
    back = {"next_method": result.msg.next_method, "next_kwargs": result.msg.next_kwargs}
    return ReservationTrigger(**result.msg.trigger_kwargs | {"poll_interval": 0.05}), back


@everywhere
def test_a_deferrable_waiter_waits_in_the_triggerer_and_takes_the_others_result(store):
    host, dag = Host(), dag_of(WaitingWaits, n=3)
    first = host.run(dag, "query", run_id="one")
    trigger, back = waiter(host.run(dag, "query", run_id="two"))

    with ThreadPoolExecutor(1) as pool:
        event = pool.submit(lambda: asyncio.run(anext(trigger.run())))
        second = host.run(dag, "query", run_id="one", **fired(first))
        time.sleep(0.2)
        assert not event.done()
        host.ran(dag, "query", run_id="one", **fired(second))
        back["next_kwargs"] = {**back["next_kwargs"], "event": event.result(300).payload}
    CALLS.clear()
    host.ran(dag, "query", run_id="two", **back)
    assert CALLS == []
    assert host.value(dag, "query", run_id="two") == (3, "x" * 3000)


def test_a_deferrable_waiter_computes_when_the_other_gave_up(store):
    host, dag = Host(), dag_of(WaitingWaits, n=3)
    first = host.run(dag, "query", run_id="one")
    trigger, back = waiter(host.run(dag, "query", run_id="two"))
    kwargs = {**first.msg.next_kwargs, "error": "Trigger failure"}
    assert host.run(dag, "query", next_method="__fail__", next_kwargs=kwargs).state == "failed"
    asyncio.run(anext(trigger.run()))
    assert host.run(dag, "query", run_id="two", **back).msg.classpath.endswith("Tick")
    assert CALLS == ["execute", "execute"]


def test_a_trigger_that_cannot_ask_lets_the_task_decide(store, monkeypatch, caplog):
    def out(key):
        raise CatalogUnavailableError("no answer")

    trigger = ReservationTrigger(key="sha256:" + "0" * 64)
    monkeypatch.setattr(store_for(None).catalog, "holder", out)
    assert asyncio.run(anext(trigger.run())).payload == {"key": trigger.key}
    assert "Cannot see who computes" in caplog.text


def test_a_name_is_a_template_over_arguments_and_run(store):
    made = cached_operator(Query, name="tables/{table}/{flow}")
    Host().ran(dag_of(made, table="a/b"), "query")
    assert [blob.key for blob in store.ls("tables/")] == ["tables/a%2Fb/etl"]
