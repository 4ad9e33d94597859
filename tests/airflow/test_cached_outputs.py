"""What a cached task gives besides its value: other XComs, asset events, parts, large results."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from airflow.sdk import DAG, Asset, AssetAlias, task
from airflow_host import Host, Tally, dag_of

from flowblob_airflow import cached

CALLS = Tally()


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def test_other_xcoms_are_pushed_again_on_a_hit(store):
    def talks(ti=None):
        CALLS.append("talks")
        ti.xcom_push("rows", 3)
        ti.xcom_push("sample", ("large", "y" * 3000))
        return (1,)

    host, dag = Host(), dag_of(cached(talks))
    host.ran(dag, "talks", run_id="one")
    host.ran(dag, "talks", run_id="two")
    assert CALLS == ["talks"]
    assert host.row(dag, "talks", "rows", run_id="two") == 3
    assert host.value(dag, "talks", "sample", run_id="two") == ("large", "y" * 3000)
    assert len(store.versions("etl/talks/xcom/sample")) == 1


SALES = Asset(name="sales", uri="s3://bucket/sales")


def events(result):
    return list(result.msg.outlet_events)


def test_asset_events_are_told_again_on_a_hit(store):
    def loads(outlet_events=None):
        CALLS.append("loads")
        outlet_events[SALES].extra["rows"] = 7
        outlet_events[AssetAlias("any")].add(Asset("found"), extra={"n": 1})
        return (1,)

    options = {"outlets": [SALES, AssetAlias("any")]}
    host, dag = Host(), dag_of(cached(loads), task_options=options)
    first = host.ran(dag, "loads", run_id="one")
    second = host.ran(dag, "loads", run_id="two")
    assert CALLS == ["loads"]
    assert events(second) == events(first)
    assert len(events(second)) == 2
    assert second.msg.task_outlets == first.msg.task_outlets != []


def test_a_hit_need_not_update_assets(store):
    def loads(outlet_events=None):
        outlet_events[SALES].extra["rows"] = 7
        return (1,)

    dag = dag_of(cached(emit_on_hit=False)(loads), task_options={"outlets": [SALES]})
    host = Host()
    assert host.ran(dag, "loads", run_id="one").msg.task_outlets != []
    second = host.ran(dag, "loads", run_id="two")
    assert (second.msg.task_outlets, events(second)) == ([], [])


def test_a_named_output(store):
    def region(name):
        return ("x" * 3000, name)

    host, dag = Host(), dag_of(cached(name="features/{name}")(region), "eu")
    host.ran(dag, "region")
    assert host.row(dag, "region")["ref"] == "features/eu@0"


def test_multiple_outputs_of_a_hit(store):
    def both(n):
        CALLS.append("both")
        return {"a": n, "b": "y" * 3000}

    made = cached(kind="table", metadata={"a": 1})(both)
    host, dag = Host(), dag_of(made, 3, task_options={"multiple_outputs": True})
    for run_id in ("one", "two"):
        host.ran(dag, "both", run_id=run_id)
    assert CALLS == ["both"]
    assert host.row(dag, "both", "a", run_id="two") == 3
    assert host.value(dag, "both", "b", run_id="two") == "y" * 3000
    assert host.row(dag, "both", run_id="two")["ref"] == "etl/both@0"
    assert [blob.version for blob in store.versions("etl/both")] == [0]


def test_a_result_that_others_map_over(store):
    def listing():
        CALLS.append("listing")
        return ["x" * 1000, "y" * 1000]

    with DAG("etl") as dag:

        @task
        def use(item):
            return item[0]

        use.expand(item=task(cached(listing))())
    host = Host()
    for run_id in ("one", "two"):
        host.ran(dag, "listing", run_id=run_id)
    for index in range(2):
        host.ran(dag, "use", run_id="two", map_index=index)
    assert CALLS == ["listing"]
    assert [host.row(dag, "use", run_id="two", map_index=i) for i in range(2)] == ["x", "y"]
    assert [blob.ref for blob in store.ls("etl/listing")] == ["etl/listing@0"]


def test_a_result_that_a_hook_of_the_user_changes_is_pushed_as_changed(store):
    def listing():
        return ["x" * 3000]

    def change(context, result):
        result.append("changed")

    host, dag = Host(), dag_of(cached(listing), task_options={"post_execute": change})
    host.ran(dag, "listing")
    assert host.value(dag, "listing") == ["x" * 3000, "changed"]
    assert host.row(dag, "listing")["ref"] == "etl/listing@1"


def test_a_large_result_is_not_written_into_the_log(store, caplog):
    def large():
        return "x" * 3000

    with caplog.at_level(logging.INFO):
        Host().ran(dag_of(cached(large)), "large")
    assert not any("x" * 100 in str(line) for line in caplog.messages)


def test_arrays_pass_from_task_to_task(store):
    def make():
        return np.arange(1000.0)

    def total(a):
        CALLS.append("total")
        return float(a.sum())

    with DAG("etl") as dag:
        task(cached(total))(task(cached(make))())
    host = Host()
    for run_id in ("one", "two"):
        host.ran(dag, "make", run_id=run_id)
        host.ran(dag, "total", run_id=run_id)
    assert CALLS == ["total"]
    assert host.row(dag, "total", run_id="two") == 499500.0
