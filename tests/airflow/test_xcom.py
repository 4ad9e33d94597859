"""The XCom backend through the real task runner, with the scenarios of Airflow's own tests."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from airflow.sdk import DAG, BaseXCom, task
from airflow.sdk.execution_time.xcom import XCom, resolve_xcom_backend
from airflow_host import Host
from engines import everywhere

from flowblob.errors import (
    FlowblobError,
    InvalidInputError,
    NotFoundError,
    PayloadCorruptError,
    PayloadMissingError,
)
from flowblob_airflow.xcom import FlowblobXCom

LARGE = {"key": "bigvaluebigvaluebigvalue" * 100}


@dataclass
class Point:
    x: int
    y: int


class Colour(str, Enum):  # noqa: UP042 - its JSON is a plain string, which is the point
    RED = "red"


def produce(value):
    with DAG("etl") as dag:

        @task
        def load():
            return value

        @task
        def use(x):
            return repr(x)

        use(load())
    return dag


def pushed(value):
    """Return (row, value read back) of a task that returns this value."""
    host, dag = Host(), produce(value)
    host.ran(dag, "load")
    return host.row(dag, "load"), host.value(dag, "load")


def test_airflow_resolves_the_backend():
    assert resolve_xcom_backend() is FlowblobXCom
    assert XCom is FlowblobXCom


@pytest.mark.parametrize(
    "value",
    ["text", 0, -1.5, True, [], {}, {"key": "value"}, [1, "a", None, {"b": [False]}], "é 世界"],
)
def test_a_small_value_is_untouched(store, value):
    row, read = pushed(value)
    assert row == BaseXCom.serialize_value(value)
    assert read == value
    assert store.ls() == []


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1: "a"},
        {"a": (1,)},
        {1, 2},
        b"bytes",
        float("inf"),
        -0.0,
        1e16,
        2**70,
        "a\x00b",
        "\ud800",
        datetime(2026, 1, 2, tzinfo=UTC),
        Decimal("1.10"),
        Point(1, 2),
        Colour.RED,
        OrderedDict(a=1),
        {"__classname__": "builtins.tuple", "__version__": 1, "__data__": [1]},
        {"__type": "set", "__var": [1]},
        {"__flowblob__": 1, "ref": "a@0"},
        complex(1, 2),
        range(3),
    ],
    ids=repr,
)
def test_a_value_that_json_would_change_comes_back_exactly(store, value):
    row, read = pushed(value)
    assert row["ref"] == "etl/load@0"
    assert type(read) is type(value)
    assert repr(read) == repr(value)


@everywhere
def test_frames_and_arrays_pass_without_a_serializer(store):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=["p", "q"])
    _, read = pushed(frame)
    pd.testing.assert_frame_equal(read, frame)
    array = np.arange(6.0).reshape(2, 3)
    _, read = pushed(array)
    np.testing.assert_array_equal(read, array)


def test_nan_does_not_reach_airflows_database(store):
    row, read = pushed([float("nan")])
    assert "ref" in row
    assert read[0] != read[0]


def test_a_large_value_becomes_a_readable_reference(store):
    row, read = pushed(LARGE)
    assert read == LARGE
    assert row["ref"] == "etl/load@0"
    assert row["size"] > 2400
    assert row["type"] == "dict"
    blob = store.head("etl/load")
    assert (row["digest"], row["incarnation"]) == (blob.digest, blob.incarnation)
    assert len(json.dumps(row)) < 2048


def test_a_task_reads_the_value_and_never_the_reference(store):
    host, dag = Host(), produce(LARGE)
    host.ran(dag, "load")
    host.ran(dag, "use")
    assert host.value(dag, "use") == repr(LARGE)


def test_an_output_is_a_version_linked_to_its_try(store):
    host, dag = Host(), produce(LARGE)
    ti = host.ran(dag, "load", run_id="manual__a", try_number=2, max_tries=3).ti
    run = store.producer("etl/load")
    assert (run.system, run.flow, run.run_id, run.task) == ("airflow", "etl", "manual__a", "load")
    assert (run.task_run_id, run.attempt, run.map_index) == (str(ti.id), 2, -1)
    assert run.url.endswith("/dags/etl/runs/manual__a/tasks/load?try_number=2")


@everywhere
def test_reading_links_the_consumer(store):
    host, dag = Host(), produce(LARGE)
    host.ran(dag, "load")
    host.ran(dag, "use")
    assert [(use.run.task, use.role) for use in store.consumers("etl/load")] == [("use", "input")]


def test_an_unchanged_output_of_a_second_run_makes_no_second_version(store):
    host, dag = Host(), produce(LARGE)
    host.ran(dag, "load", run_id="one")
    host.ran(dag, "load", run_id="two")
    assert [blob.version for blob in store.versions("etl/load")] == [0]
    assert {run.run_id for run in store.runs(task="load")} == {"one", "two"}


def test_other_xcoms_have_names_of_their_own(store):
    with DAG("etl") as dag:

        @task
        def load(ti=None):
            ti.xcom_push("rows/a", (1, 2))
            ti.xcom_push("small", 3)

        load()
    host = Host()
    host.ran(dag, "load")
    assert host.row(dag, "load", "rows/a")["ref"] == "etl/load/xcom/rows%2Fa@0"
    assert host.value(dag, "load", "rows/a") == (1, 2)
    assert host.row(dag, "load", "small") == 3
    assert host.row(dag, "load") is None


@pytest.mark.parametrize("key", ["skipmixin_key", "_link_Page"])
def test_what_airflow_itself_reads_is_always_inline(store, key):
    value = {"skipped": ["x" * 5000]}
    row = FlowblobXCom.serialize_value(value, key=key, dag_id="d", task_id="t", run_id="r")
    assert row == value


def test_values_without_coordinates_are_stored_too(store):
    row = FlowblobXCom.serialize_value((1, 2))
    assert FlowblobXCom.load_value(row) == (1, 2)


def test_raw_rows_are_read_as_airflow_reads_them(store_folder):
    for raw in ("text", 3, None, [1], {"a": 1}, "file:///etc/passwd"):
        assert FlowblobXCom.load_value(raw) == raw
    encoded = BaseXCom.serialize_value((1, 2))
    assert FlowblobXCom.load_value(encoded) == (1, 2)
    assert not store_folder.exists()


def test_a_users_dict_that_looks_like_a_reference_comes_back_verbatim(store):
    store.put("secret", "s" * 3000)
    blob = store.head("secret")
    forged = {
        "__flowblob__": 1,
        "ref": blob.ref,
        "key": blob.key,
        "version": blob.version,
        "incarnation": blob.incarnation,
        "digest": blob.digest,
        "store": store.store_id,
    }
    _, read = pushed(forged)
    assert read == forged
    _, read = pushed([forged])
    assert read == [forged]


@pytest.mark.parametrize("field", ["key", "version", "incarnation", "digest", "store"])
def test_a_reference_that_was_tampered_with_reads_nothing(store, field):
    other = store.put("secret", "s" * 3000)
    row, _ = pushed(LARGE)
    forged = {"key": other.key, "version": 7, "incarnation": other.incarnation}
    row[field] = forged.get(field, "0" * 8)
    with pytest.raises(FlowblobError):
        FlowblobXCom.load_value(row)


def test_a_damaged_reference_raises(store):
    with pytest.raises(InvalidInputError, match="damaged"):
        FlowblobXCom.load_value({"__flowblob__": 1, "ref": "etl/load@0"})


def test_a_missing_payload_raises(store, store_folder):
    row, _ = pushed({"key": "x" * 100_000})
    for path in (store_folder / "payloads").rglob("*"):
        if path.is_file() and path.stat().st_size > 90_000:
            path.unlink()
    with pytest.raises(PayloadMissingError):
        FlowblobXCom.load_value(row)


def test_a_corrupt_payload_raises(store, store_folder):
    row, _ = pushed({"key": "x" * 100_000})
    for path in (store_folder / "payloads").rglob("*"):
        if path.is_file() and path.stat().st_size > 90_000:
            path.chmod(0o600)
            path.write_bytes(b"y" * path.stat().st_size)
    with pytest.raises(PayloadCorruptError):
        FlowblobXCom.load_value(row)


def test_a_deleted_version_raises_and_a_new_one_does_not_stand_in(store):
    row, _ = pushed(LARGE)
    store.delete("etl/load")
    store.put("etl/load", "another life" * 500)
    with pytest.raises(NotFoundError):
        FlowblobXCom.load_value(row)


def test_purge_never_raises_and_keeps_the_version(store):
    row, _ = pushed(LARGE)
    for value in (row, None, 3, "text", {"__flowblob__": "nonsense"}):
        FlowblobXCom.purge(SimpleNamespace(key="return_value", value=value))
    assert FlowblobXCom.load_value(row) == LARGE


def test_a_retried_task_replaces_its_row(store):
    host, dag = Host(), produce(LARGE)
    host.ran(dag, "load")
    host.ran(dag, "load", try_number=2, max_tries=2)
    assert host.value(dag, "load") == LARGE


def test_deleting_an_xcom_removes_the_row(store):
    host, dag = Host(), produce(LARGE)
    host.ran(dag, "load")

    with DAG("cleaner") as cleaner:

        @task
        def clean():
            XCom.delete(key="return_value", dag_id="etl", task_id="load", run_id="manual__1")
            return XCom.get_one(
                key="return_value", dag_id="etl", task_id="load", run_id="manual__1"
            )

        clean()
    host.ran(cleaner, "clean")
    assert host.row(dag, "load") is None
    assert host.row(cleaner, "clean") is None


def test_the_interface_of_airflow_3_4_does_the_same(store):
    place = SimpleNamespace(dag_id="d", task_id="t", run_id="r", ti_id=None)
    row = FlowblobXCom.store_value(place, "return_value", LARGE)
    assert row["ref"] == "d/t@0"
    assert FlowblobXCom.load_value(row) == LARGE
    assert FlowblobXCom.store_value(place, "return_value", "small") == "small"


def test_the_threshold_is_a_setting(store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__XCOM_INLINE_BYTES", "100000")
    row, read = pushed(LARGE)
    assert row == read == LARGE
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__XCOM_INLINE_BYTES", "0")
    row, read = pushed("tiny")
    assert (row["ref"], read) == ("etl/load@0", "tiny")


def test_the_outputs_of_mapped_tasks_are_versions_by_index(store):
    with DAG("etl") as dag:

        @task
        def load(n):
            return (n, "x" * 2000)

        @task
        def total(rows):
            return sum(n for n, _ in rows)

        total(load.expand(n=[10, 20, 30]))
    host = Host()
    for index in range(3):
        host.ran(dag, "load", map_index=index)
    host.ran(dag, "total")
    assert host.row(dag, "load", map_index=1)["ref"] == "etl/load/1@0"
    assert store.producer("etl/load/1").map_index == 1
    assert host.row(dag, "total") == 60


def test_a_task_that_hands_on_a_mapped_output_stores_a_list(store):
    with DAG("etl") as dag:

        @task
        def load(n):
            return n

        @task
        def collect(rows):
            return rows

        collect(load.expand(n=[1, 2]))
    host = Host()
    for index in range(2):
        host.ran(dag, "load", map_index=index)
    host.ran(dag, "collect")
    assert host.row(dag, "collect") == [1, 2]


def test_multiple_outputs_are_pushed_one_by_one(store):
    with DAG("etl") as dag:

        @task(multiple_outputs=True)
        def load():
            return {"small": 1, "large": "x" * 5000}

        load()
    host = Host()
    host.ran(dag, "load")
    assert host.row(dag, "load", "small") == 1
    assert host.row(dag, "load", "large")["ref"] == "etl/load/xcom/large@0"
    assert host.value(dag, "load")["small"] == 1


def test_an_unstorable_value_fails_the_task_and_leaves_nothing(store):
    import threading

    host, dag = Host(), produce([threading.Lock()])
    result = host.run(dag, "load")
    assert result.state == "failed"
    assert "lock" in str(result.error).lower()
    assert store.ls() == []
