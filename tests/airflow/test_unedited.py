"""Tasks that know nothing of flowblob, cached because the configuration names them."""

from __future__ import annotations

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, task
from airflow_host import Host, Tally

import flowblob

CALLS = Tally()


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def score(n):
    CALLS.append(n)
    return (n, "x" * 3000)


def dag_of(dag_id="etl"):
    with DAG(dag_id) as dag:
        task(score)(3)
    return dag


def run_twice(dag, task_id):
    host = Host()
    for run_id in ("one", "two"):
        host.ran(dag, task_id, run_id=run_id)
    return host


def test_without_the_setting_nothing_is_cached(store):
    run_twice(dag_of(), "score")
    assert CALLS == [3, 3]


def test_a_named_python_task_has_the_key_of_its_function(store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__CACHE_TASKS", "other.*, etl.sc*")
    run_twice(dag_of(), "score")
    assert CALLS == [3]
    flowblob.cached(store=store)(score)(3)
    assert CALLS == [3]


def test_other_tasks_are_left_alone(store, monkeypatch):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__CACHE_TASKS", "etl.score")
    run_twice(dag_of("elsewhere"), "score")
    assert CALLS == [3, 3]


def test_any_operator_can_be_named(store, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__CACHE_TASKS", "*.shell")
    mark = tmp_path / "mark"
    with DAG("etl") as dag:
        BashOperator(task_id="shell", bash_command=f"echo x >> {mark}; echo done")
    host = run_twice(dag, "shell")
    assert mark.read_text() == "x\n"
    assert host.row(dag, "shell", run_id="two") == "done"


def test_a_task_that_cannot_be_cached_runs_as_ever_and_says_so(store, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__FLOWBLOB__CACHE_TASKS", "*")

    def decides():
        CALLS.append("decides")
        return True

    with DAG("etl") as dag:
        task.short_circuit(decides)()
    run_twice(dag, "decides")
    assert CALLS == ["decides", "decides"]
    assert any("decides which tasks run" in line for line in caplog.messages)
