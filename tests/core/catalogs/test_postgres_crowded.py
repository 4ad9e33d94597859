"""A server that has no room for one more connection, for a while or for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest

from flowblob.catalogs import postgres_errors, postgres_pool
from flowblob.catalogs import postgres_url as urls
from flowblob.catalogs.postgres import PostgresCatalog
from flowblob.checks import new_id
from flowblob.errors import AuthError, CatalogUnavailableError

pytestmark = pytest.mark.services


@pytest.fixture
def crowded_url(postgres_url: str) -> Iterator[str]:
    """Give the URL of a user who may have one connection."""
    role, server = f"fb_{new_id()[:8]}", postgres_url.partition("?")[0]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        admin.execute(f"GRANT CREATE ON DATABASE {admin.info.dbname} TO {role}")
        yield postgres_url.replace("flowblob@", f"{role}@", 1)
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")


def test_a_put_waits_for_room(crowded_url, make, monkeypatch):
    other = psycopg.connect(crowded_url.partition("?")[0])
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        other.close()  # as a process does that ends meanwhile
        time.sleep(seconds)

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(postgres_pool, "time", clock)
    catalog = PostgresCatalog(crowded_url)
    assert catalog.commit(make.draft()).is_new
    assert waits
    catalog.close()


def test_the_wait_for_room_has_an_end(crowded_url, make):
    catalog = PostgresCatalog(crowded_url, wait=1)
    with (
        psycopg.connect(crowded_url.partition("?")[0]),
        pytest.raises(CatalogUnavailableError) as caught,
    ):
        catalog.commit(make.draft())
    assert caught.value.retryable


def test_who_finds_no_room_is_told_what_to_do(crowded_url):
    server = crowded_url.partition("?")[0]
    with psycopg.connect(server), pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(server)
    told = postgres_errors.translate(caught.value, urls.parse(crowded_url), 60)
    assert "?pool=" in str(told)
    assert told.retryable


def test_who_is_unknown_there_is_told_so_at_once(postgres_url):
    nobody = postgres_url.replace("flowblob@", "nobody@", 1)
    with pytest.raises(AuthError, match=r"nobody.*Check user"):
        PostgresCatalog(nobody).now()


def test_a_database_that_is_not_there_is_named(postgres_url):
    server, _, query = postgres_url.partition("?")
    with pytest.raises(CatalogUnavailableError, match=r"absent.*Create the database") as told:
        PostgresCatalog(f"{server.rpartition('/')[0]}/absent?{query}").now()
    assert not told.value.retryable
