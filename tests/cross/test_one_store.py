"""Three environments, one store: what one host computes, the others are served."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowblob import Store

HERE = Path(__file__).parent / "hosts"
SCRIPTS = {"airflow": HERE / "dags" / "in_airflow.py"}
HOSTS = {
    "python": sys.executable,
    "prefect": os.environ.get("FLOWBLOB_DEMO_PREFECT_PYTHON", ""),
    "airflow": os.environ.get("FLOWBLOB_DEMO_AIRFLOW_PYTHON", ""),
}
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not all(path and Path(path).exists() for path in HOSTS.values()),
        reason="needs the environments of both hosts: run 'make envs' and 'nox -s cross'",
    ),
]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start the shared function in a host, with homes of its own and the one store."""

    def starter(host: str, number: int, **extra: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "FLOWBLOB_URL": str(tmp_path / "store"),
            "CROSS_TALLY": str(tmp_path / "tally"),
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
            "DO_NOT_TRACK": "1",
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
            "PYTHONPATH": str(HERE),
            "AIRFLOW__CORE__XCOM_BACKEND": "flowblob_airflow.xcom.FlowblobXCom",
            **extra,
        }
        return subprocess.Popen(
            [HOSTS[host], str(SCRIPTS.get(host, HERE / f"in_{host}.py")), str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return starter


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        told, _ = process.communicate()
        assert process.returncode == 0, told[-6000:]


def computed(folder: Path) -> list[int]:
    tally = folder / "tally"
    return [int(line) for line in tally.read_text().split()] if tally.exists() else []


def test_what_each_host_computes_is_a_hit_in_the_others(
    store: Store, start: Start, tmp_path: Path
) -> None:
    for number, first in enumerate(HOSTS, start=3):
        for host in [first, *(other for other in HOSTS if other != first)]:
            finish(start(host, number))
        assert computed(tmp_path).count(number) == 1, f"{first} computed first"
    entries = store.cache.entries(name="square")
    assert sorted(entry.run.system for entry in entries if entry.run) == sorted(HOSTS)
    for entry in entries:
        assert entry.run is not None
        served = {use.run.system for use in store.consumers(entry.blob) if use.role == "cache_hit"}
        assert served == HOSTS.keys() - {entry.run.system}
        assert entry.hits == 2
        assert store.get(entry.blob) in ({"square": n * n} for n in (3, 4, 5))


def test_three_hosts_that_call_at_once_compute_once(
    store: Store, start: Start, tmp_path: Path
) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    extra = {"CROSS_MEETING": str(meeting), "CROSS_GUESTS": "3", "CROSS_SECONDS": "4"}
    finish(*(start(host, 9, **extra) for host in HOSTS))
    assert computed(tmp_path) == [9]
    (entry,) = store.cache.entries(name="square")
    assert entry.hits == 2


def test_lineage_goes_through_all_hosts(store: Store, start: Start) -> None:
    finish(start("prefect", 7))
    finish(start("airflow", 7))
    finish(start("python", 7))
    (entry,) = store.cache.entries(name="square")
    graph = store.lineage(entry.blob)
    assert {run.system for run in graph.runs.values()} == set(HOSTS)
