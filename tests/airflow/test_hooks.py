"""Which store a task finds, and how often it is asked for."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from airflow.sdk import DAG, Connection, task
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow_host import Host
from engines import everywhere

from flowblob import config
from flowblob.errors import InvalidInputError
from flowblob_airflow import FlowblobHook, stores
from flowblob_airflow.stores import settings_of, store_for
from flowblob_airflow.wiring import connection_of


def connect(monkeypatch, conn_id="flowblob_default", **fields):
    monkeypatch.setenv(
        f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "flowblob", **fields})
    )


def test_without_a_connection_it_is_what_flowblob_url_says(store):
    assert FlowblobHook().store.store_id == store.store_id


def test_without_anything_it_is_the_users_own_store(tmp_path, monkeypatch):
    monkeypatch.delenv("FLOWBLOB_URL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "project" / ".flowblob").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    assert store_for().settings.folder == tmp_path / "data" / "flowblob"


def test_a_connection_in_json_comes_first(store, tmp_path, monkeypatch):
    connect(monkeypatch, extra={"url": str(tmp_path / "shared")})
    assert FlowblobHook().store.settings.folder == tmp_path / "shared"


def test_the_host_of_a_connection_may_be_the_folder(store_folder, tmp_path, monkeypatch):
    connect(monkeypatch, host=str(tmp_path / "shared"))
    assert FlowblobHook().get_conn().settings.folder == tmp_path / "shared"


def test_an_empty_connection_says_nothing(store, monkeypatch):
    connect(monkeypatch)
    assert FlowblobHook().store.store_id == store.store_id


def test_a_named_connection_that_is_missing_opens_no_other_store(store):
    with pytest.raises(AirflowNotFoundException):
        _ = FlowblobHook("flowblob_shared").store


def test_a_connection_that_was_set_up_holds_its_password_where_airflow_masks_it():
    url = "postgresql://ana:hun%40ter2@db:5432/flow?sslmode=require"
    made = connection_of(config.find(f"{url}&storage=/srv/payloads", host=True))
    assert "hun" not in json.dumps(made["extra"])
    assert made["password"] == "hun@ter2"
    connection = Connection(
        conn_id="flowblob_default",
        conn_type="flowblob",
        password=made["password"],
        extra=json.dumps(made["extra"]),
    )
    found = settings_of(connection)
    assert (found.url, found.storage) == (url, "/srv/payloads")
    assert "ter2" not in repr(found)
    plain = config.find("postgresql://ana@db/flow?storage=/srv/payloads", host=True)
    assert "password" not in connection_of(plain)


@pytest.mark.parametrize(
    "storage",
    [
        "s3://AKIA:hun/ter+2@bucket/flow?endpoint=http://host:9000",
        "s3://AKIA:hun%2Fter%2B2@bucket/flow",
        "gridfs+mongodb://ana:hun%2Fter%2B2@one:1,two:2/flow?replicaSet=rs",
    ],
)
def test_the_secret_of_a_storage_stands_in_a_field_of_its_own(storage, monkeypatch):
    masked = []
    monkeypatch.setattr("airflow.sdk.log.mask_secret", masked.append)
    url = "postgresql://ana@db/flow"
    made = connection_of(config.find(f"{url}?storage={quote(storage, safe='')}", host=True))
    assert made["extra"].pop("storage_password") == "hun/ter+2"
    assert "hun" not in json.dumps(made)
    made["extra"]["storage_password"] = "hun/ter+2"
    found = settings_of(Connection(conn_id="c", **made | {"extra": json.dumps(made["extra"])}))
    assert unquote(found.storage) == unquote(storage)
    assert [found for found in masked if isinstance(found, str)] == ["hun/ter+2", "hun%2Fter%2B2"]


def test_a_mongodb_url_gives_gridfs_its_password_out_of_sight():
    url = "mongodb://ana:hunter2@host/flow?storage=gridfs"
    made = connection_of(config.find(url, host=True))
    assert (made["password"], made["extra"]["storage_password"]) == ("hunter2", "hunter2")
    assert "hunter2" not in made["extra"]["url"] + made["extra"]["storage"]


def test_a_relative_path_is_refused(monkeypatch, store_folder):
    connect(monkeypatch, host="some/folder")
    with pytest.raises(InvalidInputError, match="relative path"):
        store_for()


def test_the_password_goes_into_a_url_that_names_a_user():
    connection = Connection(
        conn_id="c",
        conn_type="flowblob",
        password="p@ss/w",
        extra=json.dumps({"url": "postgresql://ana@db:5432/flow?storage=s3://b/x"}),
    )
    settings = settings_of(connection)
    assert settings.url == "postgresql://ana:p%40ss%2Fw@db:5432/flow"
    assert "p%40" not in repr(settings)


def test_login_and_password_fill_a_url_without_user():
    connection = Connection(
        conn_id="c",
        conn_type="flowblob",
        login="ana",
        password="x",
        extra=json.dumps({"url": "postgresql://db/flow", "storage": "s3://bucket/a?b=c"}),
    )
    settings = settings_of(connection)
    assert (settings.url, settings.storage) == ("postgresql://ana:x@db/flow", "s3://bucket/a?b=c")


def test_a_password_in_the_url_stays():
    connection = Connection(
        conn_id="c",
        conn_type="flowblob",
        password="other",
        extra=json.dumps({"url": "postgresql://ana:own@db/flow?storage=s3://b"}),
    )
    assert "ana:own@db" in settings_of(connection).url


def test_one_store_per_process_and_configuration(store, tmp_path, monkeypatch):
    first = store_for()
    assert store_for() is first
    connect(monkeypatch, "other", host=str(tmp_path / "other"))
    assert store_for("other") is not first


@everywhere
def test_a_forked_child_opens_its_own(store):
    parent = store_for()
    parent.put("a", 1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            mine = store_for()
            mine.put("b", mine.get("a") + 1)
            os.write(writer, b"same" if mine is parent else b"own")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    assert os.read(reader, 10) == b"own"
    assert parent.get("b") == 2


def test_a_fork_while_another_thread_opens_a_store_blocks_nobody(store):
    with stores._Pool.lock:
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # instead of waiting for ever
            try:
                store_for().put("a", 1)
            finally:
                os._exit(0 if sys.exc_info()[0] is None else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_task_asks_for_its_connection_once(store_folder, tmp_path):
    with DAG("d") as dag:

        @task
        def write():
            for n in range(3):
                FlowblobHook().store.put(f"k/{n}", n)
            return (1, 2)

        write()
    host = Host()
    host.connections.known["flowblob_default"] = {
        "conn_type": "flowblob",
        "extra": json.dumps({"url": str(tmp_path / "api")}),
    }
    host.ran(dag, "write")
    assert host.connections.asked == 1
    assert (tmp_path / "api" / "catalog.db").exists()
    assert not Path(store_folder).exists()


def test_the_connection_test_stores_reads_and_deletes(store):
    ok, told = FlowblobHook().test_connection()
    assert ok, told
    assert "stored, read and deleted" in told
    assert store.ls() == []


def test_a_failing_connection_test_says_why(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    connect(monkeypatch, host=str(tmp_path / "file"))
    ok, told = FlowblobHook().test_connection()
    assert not ok
    assert "is a file" in told
