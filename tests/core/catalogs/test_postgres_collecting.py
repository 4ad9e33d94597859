"""Collectors beside puts on PostgreSQL: every order in which their statements can meet."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from flowblob.catalogs.postgres import PostgresCatalog
from flowblob.catalogs.postgres_pool import Link
from flowblob.drafts import PlacementLost
from flowblob.errors import NotFoundError
from flowblob.model import Ref

pytestmark = pytest.mark.services

NOTHING, HOUR = timedelta(microseconds=1), timedelta(hours=1)


@pytest.fixture
def catalog(postgres_url):
    opened = PostgresCatalog(postgres_url)
    yield opened
    opened.close()


def test_a_collector_takes_nothing_that_a_put_has_just_taken(catalog, make):
    """The put has seen the payload and not yet committed; the collector sees no reference."""
    draft = make.draft(data=b"shared")
    catalog.commit(draft)
    catalog.delete(Ref("models/churn"))
    time.sleep(0.01)
    collected = []

    def put(connection):
        collected_meanwhile = threading.Thread(
            target=lambda: collected.extend(catalog.condemned(grace=NOTHING, limit=10))
        )
        commit = catalog._commit(connection, make.draft("other", b"shared"))
        collected_meanwhile.start()
        collected_meanwhile.join()
        return commit

    assert catalog._write(put).is_new
    assert collected == []
    found = catalog.find(Ref("other"), payload=True)
    assert found.payload.data == b"shared"
    assert catalog.check() == []


@pytest.mark.parametrize("found", ["in the store", "from an earlier attempt"])
def test_what_a_put_has_found_stays_until_its_pin_stands(catalog, make, monkeypatch, found):
    """Between the two, a whole collection: condemned, deleted, forgotten."""
    [(payload, _)] = catalog.place("op", [make.spooled(b"big")], ttl=NOTHING)
    part = make.part(b"big", generation=payload.generation)
    if found == "in the store":
        catalog.commit(make.draft(op="op", parts=(part,)))
        catalog.delete(Ref("models/churn"))
    time.sleep(0.01)
    came, collected = [], []

    def collect():
        for garbage in catalog.condemned(grace=NOTHING, limit=10):
            catalog.forget(garbage.generation)
            collected.append(garbage)

    def execute(link, sql, parameters=(), /):
        if sql.startswith("INSERT INTO pin") and not came:
            came.append(threading.Thread(target=collect))
            came[0].start()
            came[0].join()
        return real(link, sql, parameters)

    real = Link.execute
    monkeypatch.setattr(Link, "execute", execute)
    op = "another op" if found == "in the store" else "op"
    [(again, _)] = catalog.place(op, [make.spooled(b"big")], ttl=HOUR)
    assert came
    assert collected == []
    assert again.generation == payload.generation
    assert catalog.commit(make.draft("other", op=op, parts=(part,))).is_new
    assert catalog.check() == []


def test_what_was_condemned_under_a_put_is_asked_for_again(catalog, make):
    [(payload, _)] = catalog.place("op", [make.spooled(b"big")], ttl=timedelta(milliseconds=1))
    time.sleep(0.02)
    [gone] = catalog.condemned(grace=NOTHING, limit=10)
    assert gone.generation == payload.generation
    part = make.part(b"big", generation=payload.generation)
    with pytest.raises(PlacementLost):
        catalog.commit(make.draft(parts=(part,)))


# ------------------------------------------------------------------ the collector was first


def meet(catalog, work):
    """Condemn everything, and commit that when `work` waits for it; returns what came of that."""
    rows = [seq for (seq,) in catalog._query("SELECT seq FROM payload")]
    waiting = """SELECT count(*) FROM pg_locks
        WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"""

    def collect(connection):
        catalog._condemn(connection, rows, NOTHING)
        done = threads.submit(work)
        deadline = time.monotonic() + 300
        while not (done.done() or connection.execute(waiting).fetchone()[0]):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return done

    with ThreadPoolExecutor(1) as threads:
        return catalog._write(collect).result()


@pytest.mark.parametrize("fields", [{}, {"partitions": {"a": "b"}}], ids=["plain", "general"])
def test_a_put_that_waits_for_a_collector_stores_its_bytes_anew(catalog, make, fields):
    first = catalog.commit(make.draft(data=b"shared")).blob
    catalog.delete(Ref("models/churn"))
    time.sleep(0.01)
    blob = meet(catalog, lambda: catalog.commit(make.draft("other", b"shared", **fields))).blob
    assert catalog.find(Ref("other"), payload=True).payload.data == b"shared"
    assert catalog.payloads(first.id) == []
    assert catalog.payloads(blob.id)[0].state == "ok"
    assert catalog.check() == []


def test_a_put_that_waits_for_a_collector_gets_another_place(catalog, make):
    [(payload, _)] = catalog.place("op", [make.spooled(b"big")], ttl=HOUR)
    part = make.part(b"big", generation=payload.generation)
    catalog.commit(make.draft(op="op", parts=(part,)))
    catalog.delete(Ref("models/churn"))
    time.sleep(0.01)
    [(again, must_write)] = meet(
        catalog, lambda: catalog.place("another op", [make.spooled(b"big")], ttl=HOUR)
    )
    assert must_write
    assert again.generation != payload.generation
    part = make.part(b"big", generation=again.generation)
    assert catalog.commit(make.draft("other", op="another op", parts=(part,))).is_new
    assert catalog.check() == []


def test_who_brings_back_what_a_collector_is_taking_is_told_so(catalog, make):
    catalog.commit(make.draft())
    catalog.delete(Ref("models/churn"))
    time.sleep(0.01)
    with pytest.raises(NotFoundError, match="collected"):
        meet(catalog, lambda: catalog.undelete(Ref("models/churn")))
    assert catalog.find(Ref("models/churn")) is None
    assert catalog.check() == []
