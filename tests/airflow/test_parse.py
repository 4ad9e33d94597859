"""Parsing a DAG file touches no store, whatever the file asks of flowblob."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

ROOT = Path(__file__).parents[2]

DAG_FILE = """
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG, task
    import flowblob
    from flowblob_airflow import (
        BlobSensor, FlowblobGetOperator, FlowblobHook, FlowblobPromoteOperator,
        FlowblobPutOperator, FlowblobTagOperator, cached, cached_operator,
    )

    with DAG("everything", schedule=None) as dag:
        @task
        @cached(ttl="7d", name="features/{n}", packages=["numpy"])
        def features(n, ds=None):
            return [n]

        @task
        @flowblob.cached
        def plain(x):
            return x

        made = features.partial().expand(n=[1, 2])
        plain(made) >> FlowblobPutOperator(task_id="put", key="a", value=made)
        BlobSensor(task_id="wait", ref="a", deferrable=True)
        FlowblobGetOperator(task_id="get", ref="a")
        FlowblobTagOperator(task_id="tag", ref="a", tags={"b": 1})
        FlowblobPromoteOperator(task_id="promote", ref="a", alias="prod")
        cached_operator(BashOperator, ttl="1h").partial(task_id="bash").expand(
            bash_command=["a", "b"]
        )
        FlowblobHook()
"""


def parse(folder):
    bag = DagBag(dag_folder=str(folder), bundle_name="test")
    assert bag.import_errors == {}
    return bag.dags


@pytest.fixture
def dags(tmp_path):
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "everything.py").write_text(textwrap.dedent(DAG_FILE))
    return folder


def test_no_store_is_made(dags, store_folder):
    assert list(parse(dags)) == ["everything"]
    assert not store_folder.exists()


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/none?storage=s3://none", "no://x"]
)
def test_a_store_that_cannot_be_reached_is_not_asked(dags, url, monkeypatch):
    monkeypatch.setenv("FLOWBLOB_URL", url)
    monkeypatch.setenv(
        "AIRFLOW_CONN_FLOWBLOB_DEFAULT", json.dumps({"conn_type": "flowblob", "host": url})
    )
    assert list(parse(dags)) == ["everything"]


def test_the_dag_can_be_serialized_for_the_scheduler(dags, store_folder):
    from airflow.serialization.serialized_objects import DagSerialization

    (dag,) = parse(dags).values()
    told = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    tasks = {item["__var"]["task_id"]: item["__var"] for item in told["dag"]["tasks"]}
    assert tasks["bash"]["task_type"] == "BashOperator"
    assert tasks["bash"]["_task_module"] == "airflow.providers.standard.operators.bash"
    assert not store_folder.exists()


def test_the_example_parses_and_touches_no_store(tmp_path, store_folder, monkeypatch):
    folder = tmp_path / "dags"
    folder.mkdir()
    for name in ("airflow_dag.py", "digits.py"):
        (folder / name).write_text((ROOT / "examples" / name).read_text())
    monkeypatch.syspath_prepend(str(folder))
    assert list(parse(folder)) == ["digits_dag"]
    assert not store_folder.exists()


@pytest.mark.parametrize("kind", ["branch", "short_circuit", "sensor", "virtualenv"])
def test_a_task_that_cannot_be_cached_is_an_import_error(tmp_path, store_folder, kind):
    (tmp_path / "refused.py").write_text(
        textwrap.dedent(f"""
        from airflow.sdk import DAG, task
        from flowblob_airflow import cached

        with DAG("refused", schedule=None):
            @task.{kind}
            @cached
            def decide():
                return ["a"]

            decide()
        """)
    )
    bag = DagBag(dag_folder=str(tmp_path), bundle_name="test")
    assert bag.dags == {}
    (told,) = bag.import_errors.values()
    assert "decide: " in told
    assert "Cache the task" in told or "another environment" in told


def test_other_tasks_are_no_business_of_the_policy(tmp_path, store_folder):
    (tmp_path / "plain.py").write_text(
        textwrap.dedent("""
        from airflow.sdk import DAG, task
        import flowblob_airflow.decorators

        with DAG("plain", schedule=None):
            task.branch(lambda: ["a"], task_id="decide")()
        """)
    )
    assert list(parse(tmp_path)) == ["plain"]
