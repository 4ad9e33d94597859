"""What a MongoDB store is opened with: URLs, servers that cannot hold one, indexes, versions."""

from __future__ import annotations

import pickle
import socket
import sys
from datetime import timedelta

import pytest

pytest.importorskip("pymongo")

import pymongo

from flowblob import config, engines
from flowblob.catalogs.mongo import MongoCatalog, schema
from flowblob.errors import (
    AuthError,
    CatalogUnavailableError,
    InvalidInputError,
    NotSupportedError,
    SchemaVersionError,
)
from flowblob.model import Ref
from flowblob.mongodb import Database


@pytest.fixture
def catalog(mongo_url):
    opened = MongoCatalog(mongo_url)
    yield opened
    opened.close()


@pytest.mark.parametrize("url", ["mongodb://host", "mongodb://host:27017/", "mongodb://h/?a=b"])
def test_a_url_without_a_database_is_refused(url):
    with pytest.raises(InvalidInputError, match="names no database") as told:
        MongoCatalog(url)
    assert "/DATABASE" in told.value.hint


@pytest.mark.parametrize("url", ["mongodb://host/a.b", "mongodb://host/a%20b", "mongodb://h/a$b"])
def test_a_name_that_no_database_can_have_is_refused(url):
    with pytest.raises(InvalidInputError, match="no name of a database"):
        MongoCatalog(url)


def test_an_option_that_the_driver_does_not_take_is_refused_without_the_password():
    with pytest.raises(InvalidInputError) as told:
        MongoCatalog("mongodb://ana:hunter2@host/db?maxPoolSize=many")
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://ana:hunter2@host/db",
        "mongodb://ana:hunter2@h1:1,h2:2/db?replicaSet=rs",
        "mongodb://host/db?tlsCertificateKeyFilePassword=hunter2",
        "mongodb://host/db?authMechanismProperties=AWS_SESSION_TOKEN:hunter2",
    ],
)
def test_no_secret_is_shown(url):
    catalog = MongoCatalog(url)
    assert "hunter2" not in catalog.url + repr(catalog)
    assert "***" in catalog.url


def test_a_catalog_is_found_by_its_scheme():
    for url in ("mongodb://host/db",):
        assert isinstance(engines.open_catalog(url), MongoCatalog)
    assert config.find("mongodb://host/db?w=2&storage=gridfs").storage == (
        "gridfs+mongodb://host/db?w=2"
    )


def test_a_missing_driver_names_the_command(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("flowblob.catalogs.mongo")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "flowblob.mongodb")
    monkeypatch.setitem(sys.modules, "pymongo", None)
    with pytest.raises(ImportError, match=r"pip install 'flowblob\[mongo\]'"):
        engines.open_catalog("mongodb://host/db")


def test_a_server_that_is_not_there_is_told_in_time():
    catalog = MongoCatalog("mongodb://127.0.0.1:9/db?serverSelectionTimeoutMS=200")
    with pytest.raises(CatalogUnavailableError, match="does not answer") as told:
        catalog.find(Ref("k"))
    assert told.value.retryable
    catalog.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["serverSelectionTimeoutMS", "socketTimeoutMS", "timeoutMS"])
def test_a_shorter_limit_in_the_url_counts(monkeypatch, name):
    monkeypatch.setattr("flowblob.mongodb.WAIT", timedelta(hours=1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        catalog = MongoCatalog(f"mongodb://127.0.0.1:{port}/db?{name}=200")
        with pytest.raises(CatalogUnavailableError, match="does not answer"):
            catalog.find(Ref("k"))
        catalog.close()


@pytest.mark.parametrize(
    "facts",
    [
        {"ferretdbVersion": "v1.24.0", "version": "7.0.42"},
        {"ferretdb": {"version": "v0.9.3"}, "version": "7.0.42"},
    ],
)
def test_a_server_without_atomic_updates_is_refused(monkeypatch, facts):
    monkeypatch.setattr(schema, "server_facts", lambda _: facts)
    with pytest.raises(NotSupportedError, match="not atomic") as told:
        MongoCatalog("mongodb://host/db").store_id  # noqa: B018
    assert "PostgreSQL" in told.value.hint


@pytest.mark.parametrize(
    "facts", [{"version": "7.0.5"}, {"ferretdb": {"version": "v2.1.0"}}, {"version": "1.1.1"}]
)
def test_other_servers_are_not(facts):
    assert not schema._ferret_version(facts).lstrip("v").startswith(("0.", "1."))


@pytest.mark.parametrize(("code", "kind"), [(18, AuthError), (13, AuthError)])
def test_a_refused_user_is_told_so(code, kind):
    database = Database("mongodb://host/db", unavailable=CatalogUnavailableError)

    def refuse(_):
        raise pymongo.errors.OperationFailure("no", code)

    with pytest.raises(kind, match="refuses this user"):
        database.run(refuse)


@pytest.mark.services
class TestStores:
    def test_a_store_keeps_its_id(self, catalog):
        other = pickle.loads(pickle.dumps(catalog))
        assert other.store_id == catalog.store_id
        other.close()

    def test_a_store_of_newer_code_is_refused(self, catalog):
        assert catalog.store_id
        catalog._tables.store.update({}, {"$set": {"format": schema.FORMAT + 1}})
        other = pickle.loads(pickle.dumps(catalog))
        with pytest.raises(SchemaVersionError, match="Upgrade flowblob"):
            other.find(Ref("k"))
        other.close()

    def test_a_lost_index_is_noticed_and_made_again_at_the_next_opening(self, catalog):
        assert catalog.check() == []
        catalog._tables.steps.run(lambda found: found.drop_index("incarnation_1_step_1"))
        [problem] = catalog.check()
        assert "steps(incarnation, step)" in problem
        other = pickle.loads(pickle.dumps(catalog))
        assert other.check() == catalog.check() == []
        other.close()

    def test_a_record_beyond_what_a_document_holds_is_refused_by_name(self, catalog, make):
        catalog.commit(make.draft("k"))
        with pytest.raises(InvalidInputError, match="16 MB"):
            catalog.commit(make.draft("k", metadata=f'{{"text": "{"x" * (17 << 20)}"}}'))
        assert [blob.version for blob in catalog.versions("k")] == [0]
        assert catalog.check() == []

    def test_a_version_of_thousands_of_files_is_a_few_commands(self, catalog, make, monkeypatch):
        files = [make.part(b"%d" % n, f"part-{n}") for n in range(2000)]
        assert catalog.store_id
        real, count = Database.run, []

        def run(*arguments, **options):
            count.append(1)
            return real(*arguments, **options)

        monkeypatch.setattr(Database, "run", run)
        blob = catalog.commit(make.draft("k", parts=(make.part(b"main"), *files))).blob
        assert len(count) < 40
        assert [p.data for p in catalog.payloads(blob.id)][1:] == [b"%d" % n for n in range(2000)]

    def test_operators_in_values_are_values(self, catalog, make):
        catalog.commit(make.draft("k", kind="ml_model", tags={"$gt": "", "a.b": "$where"}))
        for hostile in ({"$gt": ""}, {"$ne": None}, {"$regex": ".*"}):
            assert catalog.blobs(filters={"kind": hostile}) == []
            assert catalog.runs(filters={"flow": hostile}) == []
        [blob] = catalog.blobs(filters={"tags": {"a.b": "$where"}})
        assert blob.tags == {"$gt": "", "a.b": "$where"}

    @pytest.mark.parametrize("change", [{"$unset": {"kind": 1}}, {"$set": {"metadata": "{"}}])
    def test_a_version_that_somebody_changed_is_named(self, catalog, make, mongo_url, change):
        catalog.commit(make.draft("k", metadata='{"a":1}'))
        database = Database(mongo_url, unavailable=CatalogUnavailableError)
        database.run(lambda db: db["steps"].update_one({"key": "k", "version": 0}, change))
        database.close()
        for read in (
            catalog.blobs,
            lambda: catalog.find(Ref("k")),
            lambda: catalog.scan("version"),
        ):
            with pytest.raises(CatalogUnavailableError, match="k@0"):
                read()

    def test_a_key_whose_document_is_gone_is_found(self, catalog, make, mongo_url):
        catalog.commit(make.draft("k"))
        database = Database(mongo_url, unavailable=CatalogUnavailableError)
        database.run(lambda db: db["keys"].delete_one({"_id": "k"}))
        database.close()
        assert "a version has no key: k@0" in catalog.check()
