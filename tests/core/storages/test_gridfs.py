"""GridFS where the shipped StorageTests do not look: chunks, died writers, and where it is."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

pytest.importorskip("pymongo")
import gridfs
import pymongo

from flowblob import Store, config
from flowblob.checks import new_id
from flowblob.drafts import physical_name
from flowblob.errors import InvalidInputError, PayloadMissingError, StorageUnavailableError
from flowblob.storages.gridfs import CHUNK, GridFSStorage
from flowblob.testing import Make

SERVER = os.environ.get("FLOWBLOB_TEST_MONGO_URL")


@pytest.fixture
def url():
    if not SERVER:
        pytest.skip("FLOWBLOB_TEST_MONGO_URL is not set; start one with tests/servers/servers.py")
    name = f"flowblob_test_{secrets.token_hex(6)}"
    yield urlsplit(SERVER)._replace(path=f"/{name}").geturl()
    with pymongo.MongoClient(SERVER) as client:
        client.drop_database(name)


@pytest.fixture
def database(url):
    with pymongo.MongoClient(url) as client:
        yield client.get_default_database()


@pytest.fixture
def storage(url):
    opened = GridFSStorage(f"gridfs+{url}")
    opened.claim(new_id())
    yield opened
    opened.close()


def put(storage, data):
    spooled = Make().spooled(data)
    name = physical_name(spooled.digest, new_id())
    storage.write(name, spooled, op=new_id())
    return name


@pytest.mark.services
class TestChunks:
    def test_other_tools_read_what_was_written(self, storage, database):
        data = os.urandom(2 * CHUNK + 5)
        name = put(storage, data)
        bucket = gridfs.GridFSBucket(database, "blobs")
        assert bucket.open_download_stream(name).read() == data

    def test_a_range_fetches_only_its_chunks(self, storage, monkeypatch):
        data = os.urandom(20 * CHUNK)
        name = put(storage, data)
        asked = []
        real = type(storage._chunks).many

        def many(table, where, *fields, **options):
            found = real(table, where, *fields, **options)
            asked.extend(chunk["data"] for chunk in found)
            return found

        monkeypatch.setattr(type(storage._chunks), "many", many)
        assert storage.read(name, 9 * CHUNK - 1, 2) == data[9 * CHUNK - 1 : 9 * CHUNK + 1]
        assert len(asked) == 2

    def test_a_file_that_lost_a_chunk_is_missing_and_written_again(self, storage, database):
        data = os.urandom(3 * CHUNK)
        spooled = Make().spooled(data)
        name = physical_name(spooled.digest, new_id())
        storage.write(name, spooled, op=new_id())
        database["blobs.chunks"].delete_one({"files_id": name, "n": 1})
        with pytest.raises(PayloadMissingError, match="gone"):
            storage.read(name)
        storage.write(name, spooled, op=new_id())
        assert storage.read(name) == data

    def test_a_shortened_chunk_is_never_given_out(self, storage, database):
        name = put(storage, os.urandom(CHUNK + 9))
        database["blobs.chunks"].update_one({"files_id": name, "n": 0}, {"$set": {"data": b"x"}})
        with pytest.raises(PayloadMissingError):
            storage.read(name, 0, 1)

    def test_chunks_that_vanish_while_they_are_written_fail_the_write(self, storage, monkeypatch):
        monkeypatch.setattr(type(storage._chunks), "matching", lambda *_: 0)
        with pytest.raises(StorageUnavailableError, match="lost parts"):
            put(storage, b"data")


@pytest.mark.services
class TestDeadWriters:
    @pytest.fixture
    def left(self, storage, monkeypatch):
        """What a writer leaves that died after its second chunk."""
        spooled = Make().spooled(os.urandom(4 * CHUNK))
        name = physical_name(spooled.digest, new_id())
        real, count = type(storage._chunks).put, []

        def die(table, *arguments, **options):
            count.append(1)
            if len(count) > 2:
                raise KeyboardInterrupt
            return real(table, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(type(storage._chunks), "put", die)
            with pytest.raises(KeyboardInterrupt):
                storage.write(name, spooled, op=new_id())
        return name, spooled

    def test_its_file_is_no_file(self, storage, left):
        name, _ = left
        assert storage.size(name) is None
        with pytest.raises(PayloadMissingError):
            storage.read(name)

    def test_the_same_put_writes_on(self, storage, left):
        name, spooled = left
        storage.write(name, spooled, op=new_id())
        assert storage.read(name) == spooled.data

    def test_a_collector_removes_its_chunks(self, storage, database, left):
        storage.delete(left[0])
        assert database["blobs.chunks"].count_documents({}) == 0

    def test_a_sweep_is_told_of_what_nobody_has_a_record_of(self, storage, left):
        whole = put(storage, b"whole")
        sizes = {name: size for name, size, _ in storage.names()}
        assert sizes == {whole: 5, left[0]: 0}


@pytest.mark.services
def test_gridfs_means_the_database_of_the_catalog(url, database):
    joined = "&" if "?" in url else "?"
    with Store(f"{url}{joined}storage=gridfs") as store:
        value = os.urandom(100_000)
        assert store.get(store.put("k", value)) == value
        assert database["blobs.files"].count_documents({}) == 1
        store.delete("k")
        store.gc(grace=timedelta(microseconds=1), dry_run=False, force=True)
    assert database["blobs.files"].count_documents({}) == 0
    assert database["blobs.chunks"].count_documents({}) == 0


@pytest.mark.services
def test_any_catalog_may_keep_its_payloads_in_gridfs(url, tmp_path):
    with Store(f"sqlite://{tmp_path}/store?storage=gridfs%2B{url}") as store:
        value = os.urandom(100_000)
        assert store.get(store.put("k", value)) == value
        assert store.storage.url.startswith("gridfs+mongodb://")


def test_gridfs_beside_another_catalog_says_what_to_write(tmp_path):
    with pytest.raises(InvalidInputError, match=r"gridfs\+mongodb"):
        config.find(f"sqlite://{tmp_path}/store?storage=gridfs")


@pytest.mark.parametrize(
    "url",
    ["gridfs+mongodb://ana:secret@host/db", "gridfs+mongodb://ana:secret@h1,h2:27018/db?ssl=true"],
)
def test_no_password_is_shown(url):
    storage = GridFSStorage(url)
    assert "secret" not in storage.url + repr(storage)
    assert "ana:***@h" in storage.url


def test_a_url_without_a_database_is_refused():
    with pytest.raises(InvalidInputError, match="names no database"):
        GridFSStorage("gridfs+mongodb://host:27017")
