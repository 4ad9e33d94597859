"""`flowblob prefect setup` prints, does and takes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flowblob_prefect import FlowblobStorage


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """A Prefect home of its own, on the session's server."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "FLOWBLOB_"))}
    return {
        **kept,
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "HOME": str(tmp_path),
    }


def flowblob(
    env: dict[str, str], *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "flowblob", *arguments],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


def profile(env: dict[str, str]) -> str:
    file = Path(env["PREFECT_HOME"]) / "profiles.toml"
    return file.read_text() if file.exists() else ""


@pytest.mark.slow
def test_setup_prints_does_and_takes_back(env: dict[str, str], tmp_path: Path) -> None:
    name = f"setup-{os.getpid()}"
    options = ("prefect", "setup", "--block", name, "--store", str(tmp_path / "store"))
    told = flowblob(env, *options).stdout
    assert f"flowblob-storage/{name}" in told
    assert profile(env) == ""

    told = flowblob(env, *options, "--apply").stdout
    assert told.count("ok ") == 3
    assert f'PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK = "flowblob-storage/{name}"' in profile(env)
    assert "PREFECT_RESULTS_PERSIST_BY_DEFAULT" in profile(env)
    assert FlowblobStorage.load(name).url.get_secret_value() == str(tmp_path / "store")

    again = json.loads(flowblob(env, *options, "--apply", "--json").stdout)
    assert [change["changed"] for change in again["changes"]] == [False, False, False]

    told = flowblob(env, "prefect", "setup", "--undo").stdout
    assert told.count("ok ") == 3
    assert "PREFECT_RESULTS" not in profile(env)
    with pytest.raises(ValueError, match="Unable to find block document"):
        FlowblobStorage.load(name)
    assert "nothing to undo" in flowblob(env, "prefect", "setup", "--undo").stderr


@pytest.mark.slow
def test_without_a_server_nothing_is_changed(env: dict[str, str]) -> None:
    env["PREFECT_API_URL"] = "http://127.0.0.1:9/api"
    env["PREFECT_CLIENT_MAX_RETRIES"] = "0"
    assert "would" in flowblob(env, "prefect", "setup").stdout
    failed = flowblob(env, "prefect", "setup", "--apply", code=7)
    assert "does not answer" in failed.stderr
    assert "prefect server start" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert profile(env) == ""


def test_the_group_is_listed_without_importing_prefect(env: dict[str, str]) -> None:
    code = "import sys, flowblob_prefect.cli; sys.exit('prefect' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert "--undo" in flowblob(env, "prefect", "setup", "--help").stdout
