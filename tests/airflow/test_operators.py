"""The operators, the sensor and its trigger."""

from __future__ import annotations

import asyncio

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import TaskDeferred
from airflow_host import Host

from flowblob_airflow import (
    BlobSensor,
    BlobTrigger,
    FlowblobGetOperator,
    FlowblobPromoteOperator,
    FlowblobPutOperator,
    FlowblobTagOperator,
)


def test_put_stores_a_value_under_a_rendered_key(store):
    with DAG("d") as dag:
        FlowblobPutOperator(
            task_id="put",
            key="reports/{{ ds }}",
            value={"rows": 3, "big": "x" * 5000},
            kind="dataset",
            tags={"day": "{{ ds }}"},
            metadata={"n": 1},
            alias="fresh",
        )
    host = Host()
    host.ran(dag, "put")
    blob = store.head("reports/2026-11-20")
    assert host.row(dag, "put") == "reports/2026-11-20@0"
    assert (blob.kind, dict(blob.tags), dict(blob.metadata)) == (
        "dataset",
        {"day": "2026-11-20"},
        {"n": 1},
    )
    assert blob.aliases == ("fresh",)
    assert (blob.run.system, blob.run.task) == ("airflow", "put")


def test_put_stores_the_output_of_another_task(store):
    with DAG("d") as dag:

        @task
        def make():
            return ("a", 1)

        FlowblobPutOperator(task_id="put", key="k", value=make())
    host = Host()
    host.ran(dag, "make")
    host.ran(dag, "put")
    assert store.get("k") == ("a", 1)


def test_put_stores_a_file(store, tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b")
    with DAG("d") as dag:
        FlowblobPutOperator(task_id="put", key="raw", path=str(tmp_path / "a.csv"))
    Host().ran(dag, "put")
    assert store.open("raw").read() == b"a,b"
    assert store.head("raw").filename == "a.csv"


@pytest.mark.parametrize("arguments", [{}, {"value": 1, "path": "/x"}])
def test_put_wants_a_value_or_a_path(store, arguments):
    with DAG("d") as dag:
        FlowblobPutOperator(task_id="put", key="k", **arguments)
    assert Host().run(dag, "put").state == "failed"


def test_put_can_store_none(store):
    with DAG("d") as dag:
        FlowblobPutOperator(task_id="put", key="k", value=None)
    Host().ran(dag, "put")
    assert store.get("k") is None


def test_get_pushes_a_large_value_without_storing_it_again(store):
    store.put("k", "x" * 5000)
    with DAG("d") as dag:
        FlowblobGetOperator(task_id="get", ref="k@0")
    host = Host()
    host.ran(dag, "get")
    assert host.row(dag, "get")["ref"] == "k@0"
    assert host.value(dag, "get") == "x" * 5000
    assert [blob.key for blob in store.ls()] == ["k"]


def test_get_pushes_a_small_value_as_it_is(store):
    store.put("k", {"a": 1})
    with DAG("d") as dag:
        FlowblobGetOperator(task_id="get", ref="k")
    host = Host()
    host.ran(dag, "get")
    assert host.row(dag, "get") == {"a": 1}
    assert [use.run.task for use in store.consumers("k")] == ["get"]


def test_get_of_a_value_is_an_input(store):
    store.put("k", {"a": 1})
    with DAG("d") as dag:
        FlowblobGetOperator(task_id="get", ref="k")
    Host().ran(dag, "get")
    assert [use.role for use in store.consumers("k")] == ["input"]


def test_get_writes_a_file(store, tmp_path):
    store.put("k", b"bytes", filename="b.bin")
    with DAG("d") as dag:
        FlowblobGetOperator(task_id="get", ref="k", path=str(tmp_path))
    host = Host()
    host.ran(dag, "get")
    assert (tmp_path / "b.bin").read_bytes() == b"bytes"
    assert host.row(dag, "get") == str(tmp_path / "b.bin")


def test_a_missing_version_fails_the_task(store):
    with DAG("d") as dag:
        FlowblobGetOperator(task_id="get", ref="absent")
    result = Host().run(dag, "get")
    assert result.state == "failed"
    assert "absent" in str(result.error)


def test_tag_and_promote(store):
    store.put("models/churn", 1, tags={"old": 1})
    with DAG("d") as dag:
        FlowblobTagOperator(
            task_id="tag", ref="models/churn", tags={"stage": "{{ ds }}"}, remove=["old"]
        )
        FlowblobPromoteOperator(task_id="promote", ref="models/churn@0", alias="prod")
        FlowblobPromoteOperator(
            task_id="again", ref="models/churn@0", alias="prod", expect="{{ 1 + 1 }}"
        )
    host = Host()
    host.ran(dag, "tag")
    host.ran(dag, "promote")
    assert dict(store.head("models/churn").tags) == {"stage": "2026-11-20"}
    assert store.aliases("models/churn") == {"prod": 0}
    assert host.run(dag, "again").state == "failed"


def test_operators_render_every_field_they_promise():
    for operator in (
        FlowblobPutOperator,
        FlowblobGetOperator,
        FlowblobTagOperator,
        FlowblobPromoteOperator,
        BlobSensor,
    ):
        with DAG("d"):
            made = (
                operator(task_id="t", key="k")
                if operator is FlowblobPutOperator
                else (
                    operator(task_id="t", ref="k", alias="a")
                    if operator is FlowblobPromoteOperator
                    else operator(task_id="t", ref="k")
                )
            )
        for field in operator.template_fields:
            assert hasattr(made, field)


def test_the_sensor_finds_what_is_there(store):
    store.put("k", 1)
    with DAG("d") as dag:
        BlobSensor(task_id="wait", ref="k")
    host = Host()
    host.ran(dag, "wait")
    assert host.row(dag, "wait") == "k@0"


def test_the_sensor_times_out_when_nothing_comes(store):
    with DAG("d") as dag:
        BlobSensor(task_id="wait", ref="k", timeout=0, poke_interval=0)
    assert Host().run(dag, "wait").state == "failed"


def test_the_sensor_can_wait_for_a_newer_version(store):
    store.put("k", 1)
    with DAG("d") as dag:
        BlobSensor(task_id="wait", ref="k", newer_than="{{ 0 }}", timeout=0, poke_interval=0)
    assert Host().run(dag, "wait").state == "failed"
    store.put("k", 2)
    host = Host()
    host.ran(dag, "wait")
    assert host.row(dag, "wait") == "k@1"


def test_the_sensor_reschedules_instead_of_holding_a_slot(store):
    with DAG("d") as dag:
        BlobSensor(task_id="wait", ref="k", mode="reschedule")
    assert Host().run(dag, "wait").state == "up_for_reschedule"


def test_a_deferrable_sensor_waits_in_the_triggerer(store):
    with DAG("d") as dag:
        BlobSensor(task_id="wait", ref="k", deferrable=True, poke_interval=5)
    host = Host()
    result = host.run(dag, "wait")
    assert result.state == "deferred"
    assert result.msg.classpath == "flowblob_airflow.triggers.BlobTrigger"
    assert str(store.settings.folder or store.url) not in str(result.msg.trigger_kwargs)
    store.put("k", 1)
    found = fire(BlobTrigger(**result.msg.trigger_kwargs))
    host.ran(dag, "wait", next_method=result.msg.next_method, next_kwargs={"event": found})
    assert host.row(dag, "wait") == "k@0"


def test_a_deferrable_sensor_does_not_defer_for_what_is_there(store):
    store.put("k", 1)
    with DAG("d") as dag:
        BlobSensor(task_id="wait", ref="k", deferrable=True)
    host = Host()
    host.ran(dag, "wait")
    assert host.row(dag, "wait") == "k@0"


def fire(trigger):
    async def first():
        return await anext(trigger.run())

    return asyncio.run(asyncio.wait_for(first(), 300)).payload


def test_the_trigger_waits_until_the_version_is_there(store):
    trigger = BlobTrigger(ref="k", poll_interval=0.01)

    async def wait_and_put():
        waiting = asyncio.ensure_future(anext(trigger.run()))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        await asyncio.to_thread(store.put, "k", 1)
        return await asyncio.wait_for(waiting, 300)

    event = asyncio.run(wait_and_put())
    assert (event.payload["ref"], event.payload["version"]) == ("k@0", 0)


def test_a_watching_trigger_fires_once_for_each_version(store):
    trigger = BlobTrigger(ref="k", poll_interval=0.01)

    async def watch():
        events = trigger.run()
        await asyncio.to_thread(store.put, "k", 1)
        first = await anext(events)
        await asyncio.to_thread(store.put, "k", 2)
        return [first.payload["version"], (await anext(events)).payload["version"]]

    assert asyncio.run(asyncio.wait_for(watch(), 300)) == [0, 1]


def test_the_trigger_is_made_again_from_what_it_serializes():
    trigger = BlobTrigger(ref="k@prod", newer_than=3, poll_interval=1.5, flowblob_conn_id="c")
    path, arguments = trigger.serialize()
    assert path == "flowblob_airflow.triggers.BlobTrigger"
    assert BlobTrigger(**arguments).serialize() == trigger.serialize()


def test_a_blob_sensor_raises_task_deferred(store):
    with DAG("d"):
        sensor = BlobSensor(task_id="wait", ref="k", deferrable=True)
    with pytest.raises(TaskDeferred):
        sensor.execute({})
