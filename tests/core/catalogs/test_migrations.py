"""Stores of older formats, and what happens while they are brought up to date."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import pytest

from flowblob import Store
from flowblob.catalogs import migrations, postgres_text
from flowblob.catalogs.postgres import PostgresCatalog
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.errors import CatalogUnavailableError, SchemaVersionError
from flowblob.model import Ref

STORES = Path(__file__).with_name("stores")
SCHEMAS = Path(migrations.__file__).with_name("schema")
FORMATS = sorted(int(path.stem.partition("-")[2]) for path in STORES.glob("sqlite-*.sql"))

#: A second migration of each engine, as a later release might bring it.
SECOND = """
CREATE TABLE colour (version BIGINT NOT NULL REFERENCES version (seq), name TEXT NOT NULL);
INSERT INTO colour SELECT seq, 'red' FROM version;
ALTER TABLE store ADD COLUMN nick TEXT NOT NULL DEFAULT '';
"""
SLOW = {
    "sqlite": """INSERT INTO colour WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c
        WHERE n < 1000000000) SELECT 1, 'slow' FROM c WHERE n < 0;""",
    "postgres": "SELECT pg_sleep(3);",
}


def write_second(folder, engine, text=SECOND):
    """Make a folder of migrations in which there is a second one."""
    shutil.copytree(SCHEMAS, folder, dirs_exist_ok=True)
    (folder / f"{engine}-0002.sql").write_text(text)
    return folder


@pytest.fixture
def later(tmp_path, monkeypatch):
    """Make this process the later release; returns its folder of migrations."""

    def become(engine, text=SECOND):
        folder = write_second(tmp_path / "later", engine, text)
        monkeypatch.setattr(migrations, "folder", folder)
        postgres_text._tables.cache_clear()
        return folder

    yield become
    postgres_text._tables.cache_clear()


class Sqlite:
    name = "sqlite"

    def __init__(self, folder, _):
        self.url = str(folder / "store")
        self.storage = self.url

    def load(self, number):
        Path(self.url).mkdir(mode=0o700)
        connection = sqlite3.connect(Path(self.url) / "catalog.db")
        connection.executescript((STORES / f"sqlite-{number}.sql").read_text("utf-8"))
        connection.close()

    def catalog(self):
        return SqliteCatalog(Path(self.url) / "catalog.db")

    def state(self):
        """Return schema number, colours and whether `nick` is there, past our own code."""
        connection = sqlite3.connect(Path(self.url) / "catalog.db")
        try:
            number = connection.execute("PRAGMA user_version").fetchone()[0]
            nick = "nick" in [row[1] for row in connection.execute("PRAGMA table_info(store)")]
            return number, self._colours(connection, sqlite3.OperationalError), nick
        finally:
            connection.close()

    def _colours(self, connection, absent):
        try:
            return connection.execute("SELECT count(*) FROM colour").fetchone()[0]
        except absent:
            return None


class Postgres:
    name = "postgres"

    def __init__(self, folder, request):
        self.catalog_url = request.getfixturevalue("postgres_url")
        self.server, self.schema = self.catalog_url.split("?schema=")
        self.storage = str(folder / "payloads")
        self.url = f"{self.catalog_url}&storage={self.storage}"

    def load(self, number):
        text = (STORES / f"postgres-{number}.sql").read_text("utf-8")
        self.run(text.replace("old_store", self.schema))

    def run(self, text):
        import psycopg

        with psycopg.connect(self.server) as connection:
            return connection.execute(text)

    def catalog(self):
        return PostgresCatalog(self.catalog_url)

    def state(self):
        import psycopg

        with psycopg.connect(self.server, autocommit=True) as connection:
            one = f"SELECT max(number) FROM {self.schema}.migration"
            number = connection.execute(one).fetchone()[0]
            nick = connection.execute(
                "SELECT count(*) FROM information_schema.columns WHERE table_schema = %s "
                "AND table_name = 'store' AND column_name = 'nick'",
                (self.schema,),
            ).fetchone()[0]
            try:
                count = f"SELECT count(*) FROM {self.schema}.colour"
                colours = connection.execute(count).fetchone()[0]
            except psycopg.errors.UndefinedTable:
                colours = None
            return number, colours, bool(nick)


@pytest.fixture(params=[Sqlite, pytest.param(Postgres, marks=pytest.mark.services)])
def engine(request, tmp_path):
    return request.param(tmp_path, request)


# ------------------------------------------------------------------ stores of released formats


@pytest.mark.parametrize("number", FORMATS)
def test_a_store_of_every_released_format_can_be_read_and_written(engine, number):
    engine.load(number)
    catalog = engine.catalog()
    catalog.migrate()
    catalog.close()
    with Store(engine.url) as store:
        assert store.get("models/churn") == [1, 2, 4]
        assert store.get("models/churn@0") == [1, 2, 3]
        blob = store.resolve("models/churn@prod")
        assert (blob.version, blob.metadata, blob.run.used) == (1, {"a": 1}, {"rows": 3})
        assert store.resolve("models/churn@0").tags == {"team": "risk", "n": 1.5}
        assert store.get("text") == "ä\u2028\0"
        assert store.resolve("text").partitions == {"day": "2026-11-21"}
        assert [b.version for b in store.versions("dropped")] == [1]
        entry, _ = store.catalog.entry("fb1:train")
        assert (entry.blob.id, entry.cost) == (blob.id, timedelta(seconds=5))
        [parent] = store.catalog.parents(blob.id)
        assert store.catalog.bound("prefect", "key") == (parent.id, b"\0record")
        taken = store.catalog.acquire(
            "fb1:held", "me", ttl=timedelta(seconds=1), max_hold=timedelta(hours=1)
        )
        assert taken.reservation.token == 2
        assert {blob.key for blob in store.undelete("ended")} == {"ended"}
        assert store.put("models/churn", [5]).version == 2
        assert store.put("ended", b"two").version == 1
        assert store.catalog.check() == []


def test_the_two_engines_have_the_same_tables_and_columns():
    connection = sqlite3.connect(":memory:")
    for number in range(migrations.latest("sqlite")):
        connection.executescript(migrations.text_of("sqlite", number + 1))
    there = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
        there[table] = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    connection.close()
    text = "".join(
        migrations.text_of("postgres", number + 1)
        for number in range(migrations.latest("postgres"))
    )
    here = {}
    for table in migrations.tables("postgres"):
        body = text.partition(f"CREATE TABLE {table} (\n")[2].partition("\n);")[0]
        words = [line.split()[0] for line in body.splitlines() if line.startswith("    ")]
        here[table] = [word for word in words if word.islower()]
    assert here.pop("migration") == ["number", "at"]
    del here["settled"]  # a file loses no reply
    assert here == there


# ------------------------------------------------------------------ the next format


def test_the_next_migration_keeps_everything(engine, later):
    engine.load(FORMATS[0])
    with Store(engine.url) as store:
        before = [store.versions(key) for key in ("models/churn", "text", "dropped")]
    later(engine.name)
    catalog = engine.catalog()
    assert catalog.migrate(dry_run=True) == [f"{engine.name}-0002"]
    assert engine.state()[0] == 1
    assert catalog.migrate() == [f"{engine.name}-0002"]
    assert catalog.migrate() == catalog.migrate(dry_run=True) == []
    catalog.close()
    assert engine.state() == (2, 6, True)
    with Store(engine.url) as store:
        assert [store.versions(key) for key in ("models/churn", "text", "dropped")] == before
        assert store.put("models/churn", [6]).version == 2
        assert store.catalog.check() == []


def test_a_migration_that_fails_changes_nothing(engine, later):
    engine.load(FORMATS[0])
    later(engine.name, SECOND + "INSERT INTO no_such_table VALUES (1);")
    catalog = engine.catalog()
    with pytest.raises(CatalogUnavailableError, match="no_such_table"):
        catalog.migrate()
    catalog.close()
    assert engine.state() == (1, None, False)


def test_an_embedded_store_migrates_itself_and_keeps_a_copy(tmp_path, later, caplog):
    engine = Sqlite(tmp_path, None)
    engine.load(1)
    later("sqlite")
    caplog.set_level(logging.INFO, logger="flowblob")
    with Store(engine.url) as store:
        assert store.get("models/churn") == [1, 2, 4]
    assert engine.state() == (2, 6, True)
    assert "to schema 2" in caplog.text
    copy = Path(engine.url) / "catalog.db.schema-1"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT count(*) FROM version").fetchone() == (6,)
    connection.close()
    assert not list(Path(engine.url).glob("*.part"))


@pytest.mark.services
def test_a_shared_store_waits_for_the_command(postgres_url, later, tmp_path, request):
    engine = Postgres(tmp_path, request)
    engine.load(1)
    earlier = engine.catalog()
    assert earlier.find(Ref("models/churn")) is not None
    later("postgres")
    catalog = engine.catalog()
    with pytest.raises(SchemaVersionError, match="has schema 1, this flowblob needs 2") as caught:
        catalog.find(Ref("models/churn"))
    assert "flowblob migrate" in caught.value.hint
    assert catalog.migrate() == ["postgres-0002"]
    assert catalog.find(Ref("models/churn")) is not None
    assert earlier.find(Ref("models/churn")) is not None
    catalog.close()
    earlier.close()


def test_an_older_flowblob_refuses_what_a_newer_one_made(engine, later, monkeypatch):
    engine.load(FORMATS[0])
    later(engine.name)
    newer = engine.catalog()
    newer.migrate()
    newer.close()
    monkeypatch.setattr(migrations, "folder", SCHEMAS)
    older = engine.catalog()
    for verb in (lambda: older.store_id, older.migrate, lambda: older.migrate(dry_run=True)):
        with pytest.raises(SchemaVersionError, match=r"has schema 2, this flowblob knows 1"):
            verb()
    older.close()


# ------------------------------------------------------------------ several processes, and kills

WORKER = """
    import sys
    from pathlib import Path
    from flowblob.catalogs import migrations
    migrations.folder = Path(sys.argv[2])
    from flowblob.engines import open_catalog
    catalog = open_catalog(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    print(catalog.migrate(), flush=True)
    catalog.close()
"""


def start(engine, folder):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), engine.url.partition("&")[0], str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def test_of_several_processes_one_migrates(engine, tmp_path):
    engine.load(FORMATS[0])
    folder = write_second(tmp_path / "later", engine.name)
    processes = [start(engine, folder) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    answers = []
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate()
        assert process.returncode == 0
        answers.append(out.strip())
    assert sorted(answers, key=len) == ["[]"] * 3 + [f"['{engine.name}-0002']"]
    assert engine.state() == (2, 6, True)


def test_a_process_killed_in_the_middle_leaves_the_old_format(engine, tmp_path, later):
    engine.load(FORMATS[0])
    folder = write_second(tmp_path / "slow", engine.name, SECOND + SLOW[engine.name])
    process = start(engine, folder)
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    wait_until_inside(engine)
    process.kill()
    process.communicate()
    assert engine.state() == (1, None, False)
    later(engine.name)
    catalog = engine.catalog()
    assert catalog.migrate() == [f"{engine.name}-0002"]
    catalog.close()
    assert engine.state() == (2, 6, True)
    with Store(engine.url) as store:
        assert store.get("models/churn") == [1, 2, 4]
        assert store.catalog.check() == []


def wait_until_inside(engine):
    deadline = time.monotonic() + 300
    while not is_inside(engine):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_inside(engine):
    if engine.name == "sqlite":
        copied = (Path(engine.url) / "catalog.db.schema-1").exists()
        other = sqlite3.connect(Path(engine.url) / "catalog.db", timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return copied
        finally:
            other.close()
        return False
    asked = """SELECT count(*) FROM pg_stat_activity
        WHERE query LIKE %s AND wait_event = 'PgSleep' AND pid <> pg_backend_pid()"""
    import psycopg

    with psycopg.connect(engine.server) as connection:
        return connection.execute(asked, ("%CREATE TABLE colour%",)).fetchone()[0] > 0


def test_the_command_tells_and_runs_what_is_missing(engine, tmp_path, later, capsys):
    from flowblob.cli.app import run

    engine.load(FORMATS[0])
    later(engine.name)
    where = ["--store", engine.url]
    assert run(["migrate", "--dry-run", "--json", *where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"v": 1, "steps": [f"{engine.name}-0002"], "dry_run": True}
    if engine.name == "postgres":
        assert run(["ls", *where]) == 8
        assert "flowblob migrate" in capsys.readouterr().err
    assert run(["migrate", *where]) == 0
    assert capsys.readouterr().out == f"{engine.name}-0002\n"
    assert run(["ls", "-q", *where]) == 0
    assert engine.state() == (2, 6, True)
