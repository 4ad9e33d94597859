"""Whole DAG runs with `dag.test()`: Airflow's database and its API server in one process."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, Asset, BaseOperator, task
from airflow_host import Tally
from engines import everywhere

import flowblob
from flowblob_airflow import BlobSensor, FlowblobPutOperator, cached, cached_operator

pytestmark = pytest.mark.slow

CALLS = Tally()


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


@pytest.fixture(scope="module", autouse=True)
def _database():
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()


def known(dag):
    """Let Airflow's database know a DAG that stands in no file."""
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    bag = DagBag(collect_dags=False)
    dag.fileloc, dag.relative_fileloc = __file__, "test.py"
    bag.dags[dag.dag_id] = dag
    sync_bag_to_db(bag, "dags-folder", None)
    return dag


def run(dag, **kwargs):
    finished = known(dag).test(**kwargs)
    assert finished.state == "success", {
        ti.task_id: ti.state for ti in finished.get_task_instances()
    }
    return finished


def make(n):
    CALLS.append("make")
    return np.full(1000, float(n))


def total(array):
    CALLS.append("total")
    return (float(array.sum()),)


def pipeline(dag_id="pipeline"):
    with DAG(dag_id, schedule=None) as dag:
        task(cached(total))(task(cached(make))(3))
    return dag


@everywhere
def test_a_second_run_of_a_dag_computes_nothing(store):
    dag = pipeline()
    first, second = run(dag), run(dag)
    assert CALLS == ["make", "total"]
    assert [blob.ref for blob in store.ls()] == ["pipeline/make@0", "pipeline/total@0"]
    assert {run.run_id for run in store.runs(task="make")} == {first.run_id, second.run_id}
    hits = store.blobs_of(second.run_id, role="cache_hit")
    assert sorted(blob.ref for blob in hits) == ["pipeline/make@0", "pipeline/total@0"]
    assert store.get("pipeline/total") == (3000.0,)


def test_links_carry_what_the_database_has(store):
    finished = run(pipeline("links"))
    (ti,) = [ti for ti in finished.get_task_instances() if ti.task_id == "make"]
    run_ = store.producer("links/make")
    assert (run_.run_id, run_.attempt, run_.map_index) == (ti.run_id, ti.try_number, -1)
    assert run_.task_run_id == str(ti.id)
    assert "/links/runs/" in run_.url
    assert run_.url.endswith("?try_number=1")


def test_python_and_a_dag_hit_each_other(store):
    flowblob.cached(store=store)(make)(3)
    run(pipeline("shared"))
    assert CALLS == ["make", "total"]
    flowblob.cached(store=store)(total)(np.full(1000, 3.0))
    assert CALLS == ["make", "total"]


def test_mapped_tasks_and_their_reduction(store):
    def add(arrays):
        CALLS.append(len(arrays))
        return (float(sum(array.sum() for array in arrays)),)

    with DAG("mapped", schedule=None) as dag:
        task(cached(add))(task(cached(make)).expand(n=[1, 2, 1]))
    run(dag)
    run(dag)
    assert CALLS == ["make", "make", 3]
    assert store.get("mapped/add") == (4000.0,)


def test_a_configured_run_refreshes(store):
    dag = pipeline("refreshed")
    run(dag)
    run(dag, run_conf={"flowblob": {"refresh": ["total"]}})
    assert CALLS == ["make", "total", "total"]


def test_a_retried_task_is_stored_once(store):
    def flaky():
        CALLS.append("flaky")
        if len(CALLS) == 1:
            raise OSError("the network")
        return (1,)

    with DAG("retried", schedule=None) as dag:
        task(retries=1, retry_delay=timedelta(seconds=0))(cached(flaky))()
    run(dag)
    run(dag)
    assert CALLS == ["flaky", "flaky"]
    assert store.producer("retried/flaky").attempt == 2


class Waits(BaseOperator):
    template_fields = ("n",)

    def __init__(self, *, n, **kwargs):
        super().__init__(**kwargs)
        self.n = n

    def execute(self, context):
        CALLS.append("execute")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=0)), method_name="done")

    def done(self, context, event=None):
        CALLS.append("done")
        return (self.n, "x" * 3000)


def test_a_deferrable_operator(store):
    with DAG("deferred", schedule=None) as dag:
        cached_operator(Waits)(task_id="wait", n=1)
    run(dag)
    run(dag)
    assert CALLS == ["execute", "done"]
    assert store.get("deferred/wait") == (1, "x" * 3000)


def test_operators_and_a_deferrable_sensor(store):
    with DAG("classic", schedule=None) as dag:
        put = FlowblobPutOperator(task_id="put", key="reports/{{ dag.dag_id }}", value=[1, 2])
        wait = BlobSensor(task_id="wait", ref="reports/classic", deferrable=True)
        shell = cached_operator(BashOperator)(task_id="shell", bash_command="echo hello")
        put >> wait >> shell
    run(dag)
    assert store.get("reports/classic") == [1, 2]
    assert store.get("classic/shell") == "hello"


def test_a_hit_updates_the_outlet_asset(store):
    sales = Asset(name="sales", uri="s3://bucket/sales")

    def loads(outlet_events=None):
        CALLS.append("loads")
        outlet_events[sales].extra["rows"] = 7
        return (1,)

    with DAG("assets", schedule=None) as dag:
        task(outlets=[sales])(cached(loads))()
    run(dag)
    run(dag)
    assert CALLS == ["loads"]

    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        extras = [e.extra for e in session.query(AssetEvent).filter_by(source_dag_id="assets")]
    assert [extra["rows"] for extra in extras] == [7, 7]


def test_a_short_circuit_over_a_cached_function_fails_the_run(store):
    def decides():
        return True

    with DAG("refused", schedule=None) as dag:
        task.short_circuit(cached(decides))()
    assert known(dag).test().state == "failed"
