"""`flowblob airflow setup`: prints, writes, takes back."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from flowblob import config
from flowblob_airflow import wiring

BACKEND = "flowblob_airflow.xcom.FlowblobXCom"
CFG = """\
[core]
# a comment
dags_folder = /dags
xcom_backend = somebody.Else

[database]
xcom_backend = not this one
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    monkeypatch.delenv("AIRFLOW_CONFIG", raising=False)
    monkeypatch.delenv("AIRFLOW__CORE__XCOM_BACKEND", raising=False)
    monkeypatch.delenv("FLOWBLOB_URL", raising=False)
    for name in ("DATA", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    (tmp_path / "airflow").mkdir()
    return tmp_path / "airflow"


def flowblob(*arguments):
    return subprocess.run(
        [str(Path(sys.executable).with_name("flowblob")), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def own_store():
    return config.find(host=True)


def test_it_prints_exports_and_changes_nothing(home):
    done = flowblob("airflow", "setup", "--store", "/srv/flow blob")
    assert done.returncode == 0, done.stderr
    told = dict(shlex.split(line)[1].split("=", 1) for line in done.stdout.splitlines())
    assert told["AIRFLOW__CORE__XCOM_BACKEND"] == BACKEND
    assert json.loads(told["AIRFLOW_CONN_FLOWBLOB_DEFAULT"]) == {
        "conn_type": "flowblob",
        "extra": {"url": "/srv/flow blob"},
    }
    assert list(home.iterdir()) == []


def test_the_users_own_store_needs_no_connection(home):
    assert list(wiring.variables(own_store())) == ["AIRFLOW__CORE__XCOM_BACKEND"]


def test_it_answers_in_json(home):
    done = flowblob("airflow", "setup", "--json")
    assert json.loads(done.stdout)["variables"] == {"AIRFLOW__CORE__XCOM_BACKEND": BACKEND}


def test_apply_replaces_one_line_and_undo_brings_it_back(home):
    file = home / "airflow.cfg"
    file.write_text(CFG)
    file.chmod(0o640)
    (change,) = wiring.apply(own_store())
    assert change.is_new
    assert file.read_text() == CFG.replace("somebody.Else", BACKEND)
    assert file.stat().st_mode & 0o777 == 0o640
    (change,) = wiring.undo()
    assert change.is_new
    assert file.read_text() == CFG
    assert [path.name for path in home.iterdir()] == ["airflow.cfg"]


def test_apply_adds_the_line_where_there_is_none(home):
    file = home / "airflow.cfg"
    text = "[api]\nport = 1\n[core]\ndags_folder = /dags\n"
    file.write_text(text)
    wiring.apply(own_store())
    assert f"[core]\nxcom_backend = {BACKEND}\ndags_folder" in file.read_text()
    wiring.undo()
    assert file.read_text() == text


def test_apply_twice_changes_nothing_and_still_knows_what_was_before(home):
    file = home / "airflow.cfg"
    file.write_text(CFG)
    wiring.apply(own_store())
    (second,) = wiring.apply(own_store())
    assert not second.is_new
    wiring.undo()
    assert file.read_text() == CFG


def test_undo_leaves_what_somebody_has_changed_since(home):
    file = home / "airflow.cfg"
    file.write_text(CFG)
    wiring.apply(own_store())
    changed = file.read_text().replace(BACKEND, "a.third.Backend")
    file.write_text(changed)
    (change,) = wiring.undo()
    assert not change.is_new
    assert file.read_text() == changed


def test_undo_without_apply_does_nothing(home):
    (home / "airflow.cfg").write_text(CFG)
    assert wiring.undo() == []
    assert (home / "airflow.cfg").read_text() == CFG


@pytest.mark.slow
def test_apply_and_undo_on_a_real_airflow(home):
    airflow = [sys.executable, "-m", "airflow"]
    env = {
        **os.environ,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    run = lambda *command: subprocess.run(  # noqa: E731
        command, env=env, capture_output=True, text=True, check=False
    )
    flowblob_ = str(Path(sys.executable).with_name("flowblob"))
    assert run(*airflow, "db", "migrate").returncode == 0
    store = home.parent / "shared"
    done = run(flowblob_, "airflow", "setup", "--apply", "--store", str(store))
    assert done.returncode == 0, done.stderr
    assert "added flowblob_default" in done.stdout
    assert BACKEND in run(*airflow, "config", "get-value", "core", "xcom_backend").stdout
    told = run(*airflow, "connections", "get", "flowblob_default", "-o", "json").stdout
    assert str(store) in told
    done = run(flowblob_, "airflow", "setup", "--undo")
    assert "deleted flowblob_default" in done.stdout, done.stderr
    assert BACKEND not in (home / "airflow.cfg").read_text()
