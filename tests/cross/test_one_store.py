"""Three environments, one store: what one host computes, the others are served."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
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


#: The store of one machine, and one that machines share.
everywhere = pytest.mark.parametrize(
    "place",
    ["sqlite+local", pytest.param("postgres+s3", marks=pytest.mark.services)],
    indirect=True,
)


@pytest.fixture
def store(place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    # Results out of the catalog, so that every host writes to the storage and reads from it.
    monkeypatch.setenv("FLOWBLOB_INLINE_LIMIT", "0")
    with Store(place) as opened:
        yield opened


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What both hosts need to run: a server of Prefect's and a database of Airflow's.

    Once for all tests, since each takes ten seconds of both cores; the store is each test's own.
    """
    homes = tmp_path_factory.mktemp("homes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "PREFECT_HOME": str(homes / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "AIRFLOW_HOME": str(homes / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "PYTHONPATH": str(HERE),
        "AIRFLOW__CORE__XCOM_BACKEND": "flowblob_airflow.xcom.FlowblobXCom",
    }
    environment = {**os.environ, **settings}
    serve = [HOSTS["prefect"], "-m", "prefect", "server", "start", "--port", str(port)]
    with (homes / "prefect.log").open("w") as log:
        server = subprocess.Popen(serve, env=environment, stdout=log, stderr=log)
    try:
        migrate = [HOSTS["airflow"], "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, env=environment, check=True, capture_output=True)
        while not answers(settings["PREFECT_API_URL"]):
            assert server.poll() is None, (homes / "prefect.log").read_text()[-6000:]
        yield settings
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        time.sleep(0.1)
        return False


@pytest.fixture
def start(place: str, tmp_path: Path, deployed: dict[str, str]) -> Start:
    """Start the shared function in a host, on the one store."""

    def starter(host: str, number: int, **extra: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            **deployed,
            "FLOWBLOB_URL": place,
            "CROSS_TALLY": str(tmp_path / "tally"),
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
        for secret in ("FLOWBLOB_TEST_S3_SECRET", "FLOWBLOB_SIGNING_KEY"):
            assert os.environ.get(secret, told + secret) not in told


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


@everywhere
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


@everywhere
def test_lineage_and_explanations_go_through_all_hosts(
    store: Store, start: Start, tmp_path: Path
) -> None:
    for host in ("prefect", "airflow", "python"):
        finish(start(host, 7))
    assert computed(tmp_path) == [7]
    (entry,) = store.cache.entries(name="square")
    assert store.get(entry.blob) == {"square": 49}
    assert not store.catalog.payloads(entry.blob.id)[0].is_inline
    graph = store.lineage(entry.blob)
    assert {run.system for run in graph.runs.values()} == set(HOSTS)
    for host in HOSTS:
        (call,) = store.cache.explain_run(system=host)
        assert call.verdict == ("computed" if host == "prefect" else "hit")
        assert call.entry.run is not None
        assert call.entry.run.system == "prefect"
