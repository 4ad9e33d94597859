"""Which run a put in a task belongs to."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task
from airflow_host import DAY, Host
from engines import everywhere

import flowblob
from flowblob_airflow import FlowblobHook, runs


def test_there_is_no_run_outside_of_tasks(store):
    assert runs.current() is None
    assert flowblob.current_run() is None


def test_a_put_inside_a_task_is_linked_without_arguments(store):
    with DAG("etl") as dag:

        @task
        def write(n):
            FlowblobHook().store.put("k", n)

        write.expand(n=[1, 2])
    ti = Host().ran(dag, "write", map_index=1, run_id="r", try_number=3, max_tries=5).ti
    run = store.producer("k")
    assert (run.flow, run.task, run.run_id, run.map_index, run.attempt) == (
        "etl",
        "write",
        "r",
        1,
        3,
    )
    assert run.task_run_id == str(ti.id)
    assert run.used["run_type"] == "manual"
    assert run.used["logical_date"].startswith("2026-11-20")
    assert run.used["dag_version_id"] == str(ti.dag_version_id)


def test_an_explicit_run_wins(store):
    with DAG("etl") as dag:

        @task
        def write():
            with flowblob.run("mine"):
                FlowblobHook().store.put("k", 1)

        write()
    Host().ran(dag, "write")
    assert (store.producer("k").system, store.producer("k").flow) == ("python", "mine")


def test_a_thread_of_a_task_is_linked_too(store):
    with DAG("etl") as dag:

        @task
        def write():
            import threading

            thread = threading.Thread(target=lambda: FlowblobHook().store.put("k", 1))
            thread.start()
            thread.join()

        write()
    Host().ran(dag, "write")
    assert store.producer("k").task == "write"


@everywhere
def test_a_subprocess_of_a_task_is_linked_with_map_index_and_id(store):
    code = "import flowblob; flowblob.Store().put('k', 1)"
    with DAG("etl") as dag:
        BashOperator.partial(task_id="shell").expand(
            bash_command=[f'{sys.executable} -c "{code}"'] * 2
        )
    ti = Host().ran(dag, "shell", map_index=1).ti
    run = store.producer("k")
    assert (run.system, run.task, run.map_index) == ("airflow", "shell", 1)
    assert run.task_run_id == str(ti.id)


def test_airflows_own_variables_are_enough():
    run = runs.from_environment(
        {
            "AIRFLOW_CTX_DAG_ID": "etl",
            "AIRFLOW_CTX_DAG_RUN_ID": "r",
            "AIRFLOW_CTX_TASK_ID": "t",
            "AIRFLOW_CTX_TRY_NUMBER": "2",
        }
    )
    assert (run.flow, run.run_id, run.task, run.attempt) == ("etl", "r", "t", 2)
    assert run.task_run_id == "etl/r/t"


@pytest.mark.parametrize("environ", [{}, {"AIRFLOW_CTX_DAG_ID": "etl"}, {"HOME": "/"}])
def test_other_variables_name_no_run(environ):
    assert runs.from_environment(environ) is None


def test_nothing_of_a_finished_task_remains(store, monkeypatch):
    with DAG("etl") as dag:

        @task
        def write():
            return 1

        write()
    Host().ran(dag, "write")
    assert flowblob.current_run() is None
    assert store.put("after", 1).run is None


def test_a_failed_task_leaves_nothing_either(store):
    with DAG("etl") as dag:

        @task
        def write():
            raise OSError

        write()
    Host().run(dag, "write")
    assert flowblob.current_run() is None


def test_a_rescheduled_task_leaves_nothing_either(store):
    from airflow.sdk.exceptions import AirflowRescheduleException

    with DAG("etl") as dag:

        @task
        def later():
            raise AirflowRescheduleException(DAY)

        later()
    assert Host().run(dag, "later").state == "up_for_reschedule"
    assert flowblob.current_run() is None


def test_a_plain_cached_function_called_inside_of_a_task_uses_the_tasks_store(
    store, tmp_path, monkeypatch
):
    @flowblob.cached
    def inner(n):
        return (n, "x" * 3000)

    with DAG("etl") as dag:

        @task
        def outer():
            return inner(3)[0]

        outer()
    monkeypatch.setenv(
        "AIRFLOW_CONN_FLOWBLOB_DEFAULT",
        json.dumps({"conn_type": "flowblob", "host": str(tmp_path / "shared")}),
    )
    Host().ran(dag, "outer")
    assert store.cache.entries() == []
    with flowblob.Store(tmp_path / "shared") as shared:
        (entry,) = shared.cache.entries()
    assert entry.name.endswith("inner")
    assert (entry.run.system, entry.run.task) == ("airflow", "outer")


def test_asking_for_the_run_does_not_import_airflow():
    code = "import sys, flowblob; flowblob.current_run(); print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
