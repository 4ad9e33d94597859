"""Write the store of the present format, for the tests of later ones: `build.py NUMBER`.

Run it once for each release that changed the schema, and commit what it writes. The files are SQL,
so that a diff shows what a format is. PostgreSQL's is what pg_dump writes of a schema `old_store`
on the server that FLOWBLOB_TEST_POSTGRES_URL names.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from flowblob import Store
from flowblob.drafts import EntryDraft
from flowblob.model import CacheKey, Ingredient, Read, Run

HERE = Path(__file__).parent
SCHEMA = "old_store"


def fill(store: Store) -> None:
    """Put one of everything into a store, so that a migration has something to lose."""
    run = Run(flow="nightly", run_id="r-1", task="train", task_run_id="r-1/train", used={"rows": 3})
    first = store.put("models/churn", [1, 2, 3], kind="ml_model", tags={"team": "risk", "n": 1.5})
    entry = EntryDraft(
        CacheKey("fb1:train", "train", (Ingredient("x", "argument", "d1", "41"),)),
        cost=timedelta(seconds=5),
        reads=(Read("raw/day", first.id),),
    )
    store.put("models/churn", [1, 2, 4], run=run, parents=[first], entry=entry, metadata={"a": 1})
    store.promote("models/churn@1", "prod", expect=None)
    store.put("text", "ä\u2028\0", partitions={"day": "2026-11-21"}, inline=True)
    store.put("dropped", b"one")
    store.put("dropped", b"two")
    store.delete("dropped@0")
    store.put("ended", b"one", alias="prod")
    store.delete("ended")
    store.catalog.bind("prefect", "key", blob_id=first.id, record=b"\0record")
    store.catalog.acquire(
        "fb1:held", "worker", ttl=timedelta(seconds=1), max_hold=timedelta(hours=1)
    )
    store.get("models/churn")
    store.flush()


def write_sqlite(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Store(folder) as store:
            fill(store)
        connection = sqlite3.connect(Path(folder) / "catalog.db")
        marks = [
            f"PRAGMA {name} = {connection.execute(f'PRAGMA {name}').fetchone()[0]};"
            for name in ("application_id", "user_version")
        ]
        text = "\n".join([*connection.iterdump(), *marks])
        connection.close()
    (HERE / f"sqlite-{number}.sql").write_text(f"{text}\n", encoding="utf-8")


def write_postgres(number: int) -> None:
    import psycopg

    server = os.environ["FLOWBLOB_TEST_POSTGRES_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        try:
            with (
                tempfile.TemporaryDirectory() as folder,
                Store(f"{server}?schema={SCHEMA}&storage={folder}") as store,
            ):
                fill(store)
            options = ["--inserts", "--no-owner", "--no-privileges", "--no-comments"]
            text = subprocess.run(
                ["pg_dump", *options, "-n", SCHEMA, server],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
        finally:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    # A newer pg_dump writes settings and commands that an older server does not know.
    kept = [line for line in text.splitlines() if not line.startswith(("SET ", "\\", "--"))]
    (HERE / f"postgres-{number}.sql").write_text("\n".join(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_sqlite(int(sys.argv[1]))
    write_postgres(int(sys.argv[1]))
