"""Airflow for the tests: a home of its own, the flowblob backend, one process for all DAG runs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["*"]
else:
    # Airflow reads its settings when it is imported, and the XCom backend is chosen then.
    _HOME = Path(tempfile.mkdtemp(prefix="flowblob-airflow-"))
    os.environ.update(
        {
            "AIRFLOW_HOME": str(_HOME),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(_HOME / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(_HOME / "plugins"),
            # It would switch off the check that operators are executed by the task runner only.
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__CORE__XCOM_BACKEND": "flowblob_airflow.xcom.FlowblobXCom",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(_HOME / "logs"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
    )
    (_HOME / "dags").mkdir()
    (_HOME / "plugins").mkdir()
    sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config: pytest.Config) -> None:
    # Airflow and what it stands on warn about each other; our own warnings stay errors.
    if importlib.util.find_spec("airflow") is not None:
        for line in ("ignore", "error:::flowblob"):
            config.addinivalue_line("filterwarnings", line)


def pytest_unconfigure(config: pytest.Config) -> None:
    if "_HOME" in globals():
        shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture
def store_url(place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The store that Airflow finds in this test, empty."""
    monkeypatch.setenv("FLOWBLOB_URL", place)
    for name in list(os.environ):
        if name.startswith(("AIRFLOW_CTX_", "FLOWBLOB_RUN_", "AIRFLOW_CONN_FLOWBLOB")):
            monkeypatch.delenv(name)
    yield place
    from flowblob_airflow.stores import _Pool

    # A server has a number of connections, and this process opens a store for each test.
    while _Pool.stores:
        _Pool.stores.popitem()[1].close()


@pytest.fixture
def store_folder(store_url: str) -> Path:
    """The folder of that store, for tests that look into it."""
    if "://" in store_url:
        pytest.skip("looks into the folder of an embedded store")
    return Path(store_url)


@pytest.fixture
def store(store_url: str):
    from flowblob import Store

    with Store(store_url) as opened:
        yield opened
