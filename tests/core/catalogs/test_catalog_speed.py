"""What keeps the catalog fast: every look-up uses an index, and a repeated one is remembered."""

from __future__ import annotations

import pytest

from flowblob.catalogs import pool, sqlite_file
from flowblob.catalogs.clock import Clock
from flowblob.catalogs.lock import WriteLock
from flowblob.catalogs.pool import Pool
from flowblob.catalogs.sql import committing, entries, lineage, placing, reading, upkeep
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.errors import CatalogUnavailableError
from flowblob.model import Ref

DIALECT = SqliteCatalog.dialect
STATEMENTS = {
    **{
        f"find {form} {payload}": reading._find_sql(DIALECT, form, payload)
        for form in reading._FORMS
        for payload in (False, True)
    },
    "entry": entries._entry_sql(DIALECT),
    "outcome": committing._OUTCOME,
    "head": committing._HEAD,
    "inline": committing._INLINE,
    "healthy": placing._HEALTHY,
    "own": placing._OWN,
    "run": lineage._FIND_RUN,
    "condemned": f"{upkeep._LISTED} WHERE p.state = 'condemned' ORDER BY p.seq LIMIT ?",
}


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("filled", [False, True])
def test_every_look_up_uses_an_index(open_catalog, make, name, filled):
    catalog = open_catalog()
    if filled:
        for n in range(30):
            draft = make.draft(f"k/{n}", bytes([n]), entry=make.entry(str(n)), run=make.run(str(n)))
            catalog.promote(catalog.commit(draft).blob, "prod")
        catalog._write(lambda c: c.execute("ANALYZE"))
    sql = STATEMENTS[name]
    plan = [row[3] for row in catalog._query(f"EXPLAIN QUERY PLAN {sql}", (0,) * sql.count("?"))]
    assert plan
    scans = [step for step in plan if step.startswith("SCAN") and "CONSTANT ROW" not in step]
    # A partial index that holds nothing but what is asked for may be walked.
    assert [step for step in scans if "payload_condemned" not in step] == []
    assert not any("AUTOMATIC" in step for step in plan)


def count_statements(catalog, action):
    seen = []
    connection = catalog._pool.take()
    connection.set_trace_callback(seen.append)
    catalog._pool.give(connection, catalog._pool.epoch)
    action()
    connection.set_trace_callback(None)
    return [" ".join(text.split())[:6] for text in seen]


@pytest.mark.parametrize("text", ["models/churn", "models/churn@0", "models/churn@prod"])
def test_a_get_of_inline_bytes_is_one_statement(open_catalog, make, text):
    catalog = open_catalog()
    catalog.promote(catalog.commit(make.draft(run=make.run())).blob, "prod")

    def find():
        assert catalog.find(Ref.parse(text), payload=True).payload.data == b"one"

    assert count_statements(catalog, find) == ["SELECT"]
    assert count_statements(catalog, find) == ["PRAGMA", "SELECT"]
    for _ in range(3):
        assert count_statements(catalog, find) == ["PRAGMA"]
    catalog.commit(make.draft("other"))
    assert count_statements(catalog, find) == ["PRAGMA", "SELECT"]
    assert count_statements(catalog, find) == ["PRAGMA"]


def test_an_entry_is_one_statement(open_catalog, make):
    catalog = open_catalog()
    catalog.commit(make.draft(run=make.run("one"), entry=make.entry()))
    catalog.commit(make.draft(run=make.run("two"), entry=make.entry()))
    assert count_statements(catalog, lambda: catalog.entry("fb1:embed")) == ["SELECT"]


def test_what_is_remembered_is_bounded(open_catalog, make, monkeypatch):
    monkeypatch.setattr(pool, "REMEMBERED", 3)
    catalog = open_catalog()
    for n in range(5):
        catalog.commit(make.draft(f"k{n}", bytes([n])))
    for _ in range(3):
        for n in range(5):
            for _ in range(3):
                assert catalog.find(Ref(f"k{n}")).blob.key == f"k{n}"
    connection = catalog._pool.take()
    catalog._pool.give(connection, catalog._pool.epoch)
    assert len(connection._asked) <= 3
    assert len(connection._known) <= 3


def test_a_large_row_is_not_remembered(open_catalog, make):
    catalog = open_catalog()
    catalog.commit(make.draft(data=b"x" * 30_000))
    for _ in range(4):
        assert len(catalog.find(Ref("models/churn"), payload=True).payload.data) == 30_000
    connection = catalog._pool.take()
    catalog._pool.give(connection, catalog._pool.epoch)
    assert not connection._known


def test_a_failed_connect_leaves_the_pool_usable(path):
    def fail(durable):
        raise CatalogUnavailableError("no")

    broken = Pool(fail, WriteLock(None))
    for _ in range(2):
        with pytest.raises(CatalogUnavailableError):
            broken.take()
    assert broken._reading == 0


def test_a_failed_migration_is_rolled_back(open_catalog, path, monkeypatch):
    def broken(step):
        yield "CREATE TABLE half (a)"
        yield "CREATE TABLE half (a)"

    monkeypatch.setattr(sqlite_file, "_statements", broken)
    with pytest.raises(CatalogUnavailableError, match="half"):
        assert open_catalog().store_id
    monkeypatch.undo()
    catalog = open_catalog()
    assert catalog.check() == []
    assert "half" not in str(catalog._query("SELECT name FROM sqlite_master"))


def test_a_catalog_that_nobody_can_lock_is_left_behind_without_a_word(path, monkeypatch):
    catalog = SqliteCatalog(path, wait=0.01, clock=Clock())
    assert catalog.store_id
    end, connections = catalog._end, list(catalog._pool._all)
    other = WriteLock(catalog._lock.path)
    with other:
        end()
    other.close()
    assert not catalog._pool._all
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("name", ["tags", "alias", "flow", "run_id"])
def test_a_listing_begins_at_what_few_versions_have(open_catalog, monkeypatch, name):
    catalog = open_catalog()
    assert catalog.store_id
    plans, query = [], catalog._query

    def explain(sql, parameters=()):
        plans.append([row[3] for row in query(f"EXPLAIN QUERY PLAN {sql}", parameters)])
        return query(sql, parameters)

    monkeypatch.setattr(catalog, "_query", explain)
    catalog.blobs(filters={name: {"team": "growth"} if name == "tags" else "x"}, limit=20)
    [plan] = plans
    assert not [step for step in plan if step.startswith("SCAN")]


def test_a_long_history_comes_back_in_a_few_statements(open_catalog, make):
    catalog = open_catalog()
    for number in range(200):
        catalog.commit(make.draft(data=b"%d" % number))
    catalog.delete(Ref("models/churn"))
    seen = []
    writer = catalog._pool.writer(durable=True)
    writer.set_trace_callback(seen.append)
    back = catalog.undelete(Ref("models/churn"))
    writer.set_trace_callback(None)
    assert [blob.version for blob in back] == list(reversed(range(200)))
    assert 0 < len(seen) < 30
