"""Arguments of cached tasks: keys need digests only, computations get values."""

from __future__ import annotations

import numpy as np
import pytest
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, task, task_group
from airflow_host import Host, Tally

import flowblob
from flowblob_airflow import cached

SEEN = Tally()


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


@task
def make():
    return {"rows": "x" * 3000}


@task
def make_array():
    return np.arange(2000.0)


def measure(data, n=1):
    SEEN.append(type(data).__name__)
    return (len(data), n)


def run_twice(dag, *task_ids):
    host = Host()
    for run_id in ("one", "two"):
        for task_id in task_ids:
            host.ran(dag, task_id, run_id=run_id)
    return host


def inputs_read(store, key):
    return [use.run.run_id for use in store.consumers(key) if use.role == "input"]


@pytest.mark.parametrize("decorator", [cached, flowblob.cached], ids=["airflow's", "plain"])
def test_a_hit_downloads_no_input(store, decorator):
    with DAG("etl") as dag:
        task(decorator(measure))(make())
    host = run_twice(dag, "make", "measure")
    assert SEEN == ["dict"]
    assert inputs_read(store, "etl/make") == ["one"]
    assert host.task_instances.rendered["op_args"][0].startswith("<blob etl/make@0 ")


def test_a_lazy_input_and_an_eager_one_make_one_key(store):
    flowblob.cached(store=store)(measure)({"rows": "x" * 3000})
    with DAG("etl") as dag:
        task(cached(measure))(make())
    host = Host()
    host.ran(dag, "make")
    host.ran(dag, "measure")
    assert SEEN == ["dict"]


def test_inputs_inside_of_collections_make_the_key_of_the_values(store):
    def join(parts):
        SEEN.append([type(part).__name__ for part in parts])
        return (len(parts),)

    values = [np.arange(2000.0), {"rows": "x" * 3000}, 3]
    flowblob.cached(store=store)(join)(values)
    with DAG("etl") as dag:
        task(cached(join))([make_array(), make(), 3])
    host = Host()
    for task_id in ("make", "make_array", "join"):
        host.ran(dag, task_id)
    assert SEEN == [["ndarray", "dict", "int"]]
    assert inputs_read(store, "etl/make_array") == []


def test_keyword_arguments_are_lazy_too(store):
    with DAG("etl") as dag:
        task(cached(measure))(n=2, data=make())
    run_twice(dag, "make", "measure")
    assert inputs_read(store, "etl/make") == ["one"]


def test_a_template_gets_the_text_of_the_value(store):
    def shout(text):
        SEEN.append(text)
        return (text,)

    with DAG("etl") as dag:
        made = make()
        shouted = task(cached(shout))("{{ ti.xcom_pull('make')['rows'][:3] }}")
        made >> shouted
    run_twice(dag, "make", "shout")
    assert SEEN == ["xxx"]


def test_a_pull_inside_of_the_function_gets_the_value(store):
    def pulls(ti=None):
        SEEN.append(type(ti.xcom_pull(task_ids="make")).__name__)
        return (1,)

    with DAG("etl") as dag:
        make() >> task(cached(pulls))()
    run_twice(dag, "make", "pulls")
    assert SEEN == ["dict"]


def test_a_mapped_argument_over_another_tasks_list(store):
    @task
    def listing():
        return ["a" * 2000, "b" * 2000]

    with DAG("etl") as dag:
        task(cached(measure)).expand(data=listing())
    host = Host()
    for run_id in ("one", "two"):
        host.ran(dag, "listing", run_id=run_id)
        for index in range(2):
            host.ran(dag, "measure", run_id=run_id, map_index=index)
    assert SEEN == ["str", "str"]
    assert host.value(dag, "measure", run_id="two", map_index=1) == (2000, 1)


def test_a_partial_argument_of_a_mapped_task_is_lazy(store):
    with DAG("etl") as dag:
        task(cached(measure)).partial(data=make()).expand(n=[1, 2])
    host = Host()
    for run_id in ("one", "two"):
        host.ran(dag, "make", run_id=run_id)
        for index in range(2):
            host.ran(dag, "measure", run_id=run_id, map_index=index)
    assert SEEN == ["dict", "dict"]
    assert set(inputs_read(store, "etl/make")) == {"one"}
    assert host.task_instances.rendered["op_kwargs"]["data"].startswith("<blob etl/make@0 ")


def test_the_outputs_of_a_mapped_task_arrive_as_a_list_by_one_request(store):
    def total(parts):
        SEEN.append([type(part).__name__ for part in parts])
        return (type(parts).__name__, sum(float(part.sum()) for part in parts))

    @task
    def make_part(n):
        return np.full(500, float(n))

    with DAG("etl") as dag:
        task(cached(total))(make_part.expand(n=[1, 2, 3]))
    host = Host()
    for run_id in ("one", "two"):
        for index in range(3):
            host.ran(dag, "make_part", run_id=run_id, map_index=index)
        host.xcoms.calls.clear()
        host.ran(dag, "total", run_id=run_id)
        assert host.xcoms.calls == ["slice"]
    assert SEEN == [["ndarray"] * 3]
    assert host.value(dag, "total", run_id="two") == ("list", 3000.0)
    assert inputs_read(store, "etl/make_part/1") == ["one"]


def test_a_mapped_over_value_is_loaded(store):
    with DAG("etl") as dag:
        task(cached(measure))(make_list().map(str.upper))
    host = run_twice(dag, "make_list", "measure")
    assert host.value(dag, "measure", run_id="two") == (2, 1)
    assert SEEN == ["list"]


@task
def make_list():
    return ["a" * 2000, "b"]


def test_tasks_in_a_mapped_group_get_their_own_part(store):
    with DAG("etl") as dag:

        @task_group
        def group(n):
            @task
            def part(n):
                return {"n": n, "rows": "x" * 3000}

            task(cached(measure))(part(n))

        group.expand(n=[1, 2])
    host = Host()
    for index in range(2):
        host.ran(dag, "group.part", map_index=index)
        host.ran(dag, "group.measure", map_index=index)
    assert host.value(dag, "group.measure", map_index=1) == (2, 1)


def test_a_task_that_is_not_cached_gets_values_as_ever(store):
    def plain(data):
        SEEN.append(type(data).__name__)

    with DAG("etl") as dag:
        PythonOperator(task_id="plain", python_callable=plain, op_args=[make().operator.output])
    run_twice(dag, "make", "plain")
    assert SEEN == ["dict", "dict"]


def test_a_lazy_value_that_the_user_pushed_stays_what_it_is(store):
    store.put("k", "v" * 3000)

    @task
    def lazies():
        return [flowblob.default_store().get("k", lazy=True)]

    @task
    def use(items):
        SEEN.append(type(items[0]).__name__)

    with DAG("etl") as dag:
        use(lazies())
    host = Host()
    host.ran(dag, "lazies")
    host.ran(dag, "use")
    assert SEEN == ["Lazy"]


def test_changed_inputs_are_another_result(store):
    @task
    def changing(run_id=None):
        return {"rows": run_id * 2000}

    with DAG("etl") as dag:
        task(cached(measure))(changing())
    run_twice(dag, "changing", "measure")
    assert SEEN == ["dict", "dict"]
