# ruff: noqa: PLR0917 - the signatures are those of Airflow's client
"""A worker and an API server in memory: real task runner, real XCom calls, no database.

The task runner of Airflow talks to the API server through a client; this one keeps rows in a dict,
through JSON as the real one does.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.api.datamodels._generated import (
    ConnectionResponse,
    DagRun,
    DagRunState,
    DagRunType,
    InactiveAssetsResponse,
    TaskInstance,
    TIRunContext,
    XComResponse,
    XComSequenceIndexResponse,
    XComSequenceSliceResponse,
)
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time.comms import (
    ErrorResponse,
    OKResponse,
    TICount,
    XComCountResponse,
)
from airflow.sdk.execution_time.supervisor import TaskRunResult, run_task_in_process

DAY = datetime(2026, 11, 20, tzinfo=UTC)


class Tally(list):
    """Counts calls of cached functions: a global that they read, and that must not change keys."""

    def __flowblob_key__(self) -> str:
        return "tally"


class Rows:
    """XCom rows by (dag, run, task, key) and map index."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str, str], dict[int, Any]] = {}
        self.calls: list[str] = []

    def set(
        self,
        dag_id,
        run_id,
        task_id,
        key,
        value,
        map_index=-1,
        *,
        dag_result=False,
        mapped_length=None,
    ):
        row = json.loads(json.dumps(value, allow_nan=False))
        self.rows.setdefault((dag_id, run_id, task_id, key), {})[
            -1 if map_index is None else map_index
        ] = row
        return OKResponse(ok=True)

    def get(self, dag_id, run_id, task_id, key, map_index=None, include_prior_dates=False):
        self.calls.append("get")
        found = self.rows.get((dag_id, run_id, task_id, key), {})
        value = found.get(-1 if map_index is None else map_index)
        return XComResponse(key=key, value=value)

    def delete(self, dag_id, run_id, task_id, key, map_index=None):
        self.rows.get((dag_id, run_id, task_id, key), {}).pop(
            -1 if map_index is None else map_index, None
        )
        return OKResponse(ok=True)

    def head(self, dag_id, run_id, task_id, key):
        return XComCountResponse(len=len(self.rows.get((dag_id, run_id, task_id, key), {})))

    def _list(self, dag_id, run_id, task_id, key):
        return [
            value for _, value in sorted(self.rows.get((dag_id, run_id, task_id, key), {}).items())
        ]

    def get_sequence_item(self, dag_id, run_id, task_id, key, offset):
        self.calls.append("item")
        try:
            return XComSequenceIndexResponse(root=self._list(dag_id, run_id, task_id, key)[offset])
        except IndexError:
            return ErrorResponse(error=ErrorType.XCOM_NOT_FOUND)

    def get_sequence_slice(
        self, dag_id, run_id, task_id, key, start, stop, step, include_prior_dates=False
    ):
        self.calls.append("slice")
        return XComSequenceSliceResponse(
            root=self._list(dag_id, run_id, task_id, key)[start:stop:step]
        )


class Tries:
    """What the API server knows of task instances."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.rendered: dict[str, Any] = {}
        self.succeeded: list[dict[str, Any]] = []

    def start(self, ti_id, pid, when):
        return self._host.contexts[ti_id]

    def set_rtif(self, ti_id, fields):
        self.rendered = fields

    def succeed(self, **kwargs):
        self.succeeded.append(kwargs)

    def get_count(self, **kwargs):
        return TICount(count=self._host.expanded)

    def validate_inlets_and_outlets(self, ti_id):
        return InactiveAssetsResponse(inactive_assets=[])

    def __getattr__(self, name):
        return lambda *args, **kwargs: OKResponse(ok=True)


class Connections:
    """Connections that only the API server has."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.asked = 0

    def get(self, conn_id):
        self.asked += 1
        if conn_id not in self.known:
            return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": conn_id})
        fields = dict.fromkeys(("host", "schema", "login", "password", "port", "extra"))
        return ConnectionResponse(conn_id=conn_id, **fields | self.known[conn_id])


@dataclass
class Host:
    """One deployment: its rows, and the means to run tasks."""

    xcoms: Rows = field(default_factory=Rows)
    connections: Connections = field(default_factory=Connections)
    contexts: dict[uuid.UUID, TIRunContext] = field(default_factory=dict)
    #: How many instances a mapped task or group has.
    expanded: int = 2

    def __post_init__(self) -> None:
        self.task_instances = Tries(self)
        self.assets = self.asset_events = self.dag_runs = SimpleNamespace()
        self.variables = SimpleNamespace()

    def run(
        self,
        dag: DAG,
        task_id: str,
        *,
        run_id: str = "manual__1",
        map_index: int = -1,
        try_number: int = 1,
        max_tries: int | None = None,
        conf: dict[str, Any] | None = None,
        next_method: str | None = None,
        next_kwargs: dict[str, Any] | None = None,
        should_retry: bool = False,
        day: datetime = DAY,
    ) -> TaskRunResult:
        """Run one try of a task as a worker does, to the end."""
        task = dag.get_task(task_id)
        ti = TaskInstance(
            id=uuid.uuid4(),
            task_id=task_id,
            dag_id=dag.dag_id,
            run_id=run_id,
            try_number=try_number,
            dag_version_id=uuid.uuid4(),
            map_index=map_index,
        )
        keys = [
            key
            for (d, r, t, key), rows in self.xcoms.rows.items()
            if (d, r, t) == (dag.dag_id, run_id, task_id) and map_index in rows
        ]
        self.contexts[ti.id] = TIRunContext(
            dag_run=DagRun(
                dag_id=dag.dag_id,
                run_id=run_id,
                logical_date=day,
                data_interval_start=day,
                data_interval_end=day,
                run_after=day,
                start_date=day,
                end_date=None,
                run_type=DagRunType.MANUAL,
                state=DagRunState.RUNNING,
                conf=conf,
                consumed_asset_events=[],
                partition_key=None,
            ),
            max_tries=(task.retries or 0) if max_tries is None else max_tries,
            should_retry=should_retry,
            xcom_keys_to_clear=[] if next_method else keys,
            next_method=next_method,
            next_kwargs=next_kwargs,
        )
        return run_task_in_process(ti=ti, task=task, client=self)

    def ran(self, dag: DAG, task_id: str, **kwargs: Any) -> TaskRunResult:
        """Run one try that must succeed."""
        result = self.run(dag, task_id, **kwargs)
        if result.state != "success":
            raise AssertionError(f"{task_id} is {result.state}") from result.error
        return result

    def row(
        self,
        dag: DAG,
        task_id: str,
        key: str = "return_value",
        *,
        run_id: str = "manual__1",
        map_index: int = -1,
    ) -> Any:
        """Return what stands in Airflow's database."""
        return self.xcoms.rows.get((dag.dag_id, run_id, task_id, key), {}).get(map_index)

    def value(self, dag: DAG, task_id: str, key: str = "return_value", **kwargs: Any) -> Any:
        """Return what a task would get that pulls this XCom."""
        from flowblob_airflow.xcom import FlowblobXCom

        return FlowblobXCom.load_value(self.row(dag, task_id, key, **kwargs))


def dag_of(function, *args, dag_id="etl", task_options=None, **kwargs):
    """Make a DAG of one task."""
    with DAG(dag_id) as dag:
        task(**(task_options or {}))(function)(*args, **kwargs)
    return dag
