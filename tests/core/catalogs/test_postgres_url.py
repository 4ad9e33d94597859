"""What a PostgreSQL URL may say, and what nobody is told of it."""

from __future__ import annotations

import logging
import pickle
import sys
import traceback

import pytest

from flowblob.catalogs import postgres_text, postgres_url
from flowblob.catalogs.postgres import PostgresCatalog
from flowblob.engines import open_engines
from flowblob.errors import (
    CatalogUnavailableError,
    InvalidInputError,
    MissingDependencyError,
)

NOBODY = "127.0.0.1:1"  # nothing listens there


def test_flowblobs_own_parameters_are_taken_and_the_others_go_to_libpq():
    target = postgres_url.parse(
        "postgres://ana@db:6543/flow?schema=blobs_2&pool=3&prepare=0&sslmode=require"
        "&connect_timeout=2"
    )
    assert (target.schema, target.pool, target.prepare) == ("blobs_2", 3, 0)
    given = target.parameters
    assert (given["host"], given["port"], given["dbname"]) == ("db", "6543", "flow")
    assert (given["sslmode"], given["connect_timeout"]) == ("require", "2")
    assert "pool" not in given


def test_nothing_is_prepared_unless_asked():
    target = postgres_url.parse("postgresql://db/flow")
    assert (target.schema, target.pool, target.prepare) == ("flowblob", 5, None)


@pytest.mark.parametrize(
    "query",
    [
        "schema=Blobs",
        "schema=a-b",
        "schema=1a",
        "schema=",
        'schema=a"; DROP SCHEMA flowblob; --',
        "schema=pg_blobs",
        "schema=information_schema",
        f"schema={'a' * 64}",
        "pool=0",
        "pool=many",
        "prepare=-1",
        "pol=3",
    ],
)
def test_a_parameter_that_cannot_be_is_refused_before_anything_is_opened(query):
    with pytest.raises(InvalidInputError):
        PostgresCatalog(f"postgresql://db/flow?{query}")


SECRETS = [
    f"postgresql://ana:hunter2@{NOBODY}/flow",
    f"postgresql://{NOBODY}/flow?user=ana&password=hunter2",
    "postgresql://ana:hunter2@h:port/flow",
    f"postgresql://ana:hunter2@{NOBODY}/flow?no_such_parameter=1",
    f"postgresql://ana:hun?ter2@{NOBODY}/flow",
]


@pytest.mark.parametrize("url", SECRETS)
def test_a_password_is_never_told(url, caplog):
    caplog.set_level(logging.DEBUG, logger="flowblob")

    def open_it():
        told = PostgresCatalog(url)
        assert "ter2" not in f"{told!r} {told.url} {told._target!r}"
        return told.store_id

    with pytest.raises((CatalogUnavailableError, InvalidInputError)) as caught:
        open_it()
    error = caught.value
    text = "".join(traceback.format_exception(error)) + f"{error.hint} {caplog.text}"
    assert "ter2" not in text.replace(f'"{url}"', "")
    assert "***" in str(error)


def test_a_server_that_is_not_there_is_a_retryable_error():
    catalog = PostgresCatalog(f"postgresql://ana@{NOBODY}/flow")
    with pytest.raises(CatalogUnavailableError) as caught:
        assert catalog.store_id
    assert caught.value.retryable
    assert "runs and can be reached" in caught.value.hint


def test_a_catalog_pickles_by_its_url():
    catalog = PostgresCatalog(f"postgresql://ana:hunter2@{NOBODY}/flow?schema=other")
    copy = pickle.loads(pickle.dumps(catalog))
    assert copy._target == catalog._target


def test_the_place_of_the_payloads_must_be_named(monkeypatch):
    from flowblob import config

    settings = config.find(f"postgresql://ana@{NOBODY}/flow")
    with pytest.raises(InvalidInputError, match="payloads are") as caught:
        open_engines(settings)
    assert "storage=" in caught.value.hint


def test_without_the_driver_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("flowblob.catalogs.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    from flowblob.engines import open_catalog

    with pytest.raises(MissingDependencyError) as caught:
        open_catalog("postgresql://db/flow")
    assert caught.value.hint == "pip install 'flowblob[postgres]'"


def test_statements_are_numbered_and_name_the_schema():
    sql = (
        """SELECT '?' FROM tag t JOIN version v ON v.seq = t.version WHERE t.name = ? AND 'x' = ?"""
    )
    assert postgres_text.translate(sql, "s") == (
        """SELECT '?' FROM "s".tag t JOIN "s".version v ON v.seq = t.version """
        """WHERE t.name = $1 AND 'x' = $2"""
    )
    sql = "INSERT INTO pin (op) VALUES (?) ON CONFLICT (op) DO UPDATE SET boot = excluded.boot"
    assert postgres_text.translate(sql, "s").startswith('INSERT INTO "s".pin (op) VALUES ($1) ON')
    assert postgres_text.translate(sql, "s").endswith("DO UPDATE SET boot = excluded.boot")
    assert postgres_text.translate("SELECT a FROM unknown u", "s") == "SELECT a FROM unknown u"
