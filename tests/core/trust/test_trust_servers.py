"""Trust and secrets on real servers: every server is shared, and no error shows a password."""

from __future__ import annotations

import os
import pickle
import secrets
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from forging import KEY, OTHER, Trap

from flowblob import Store
from flowblob.errors import FlowblobError, PayloadUnsafeError

pytestmark = pytest.mark.services

#: What stands nowhere else, with a character that URLs encode.
PASSWORD = "hunTer2%@" + secrets.token_hex(4)


def _server(name: str) -> str:
    variable = f"FLOWBLOB_TEST_{name}_URL"
    if not (url := os.environ.get(variable)):
        pytest.skip(f"{variable} is not set; see tests/servers")
    return url


Forge = Callable[[str, dict[str, Any]], None]


@pytest.fixture(params=["postgres", "mongo"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Forge]]:
    """The URL of a fresh store on a server, and a way to change its records behind its back."""
    name = f"flowblob_trust_{secrets.token_hex(6)}"
    storage = quote(str(tmp_path / "payloads"))
    if request.param == "postgres":
        import psycopg

        url = _server("POSTGRES")

        def change(blob_id: str, values: dict[str, Any]) -> None:
            sets = ", ".join(f"{field} = %s" for field in values)
            with psycopg.connect(url, autocommit=True) as connection:
                sql = f'UPDATE "{name}".version SET {sets} WHERE id = %s'
                assert connection.execute(sql, [*values.values(), blob_id]).rowcount == 1

        mark = "&" if "?" in url else "?"
        yield f"{url}{mark}schema={name}&storage={storage}", change
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
        return
    import pymongo

    url = _server("MONGO")

    def alter(blob_id: str, values: dict[str, Any]) -> None:
        with pymongo.MongoClient(url) as client:
            done = [
                client[name][table].update_one({"id": blob_id}, {"$set": values}).matched_count
                for table in client[name].list_collection_names()
            ]
        assert sum(done) == 1

    mark = "&" if "?" in url else "?"
    yield f"{urlsplit(url)._replace(path=f'/{name}').geturl()}{mark}storage={storage}", alter
    with pymongo.MongoClient(url) as client:
        client.drop_database(name)


def _use(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    monkeypatch.delenv("FLOWBLOB_SIGNING_KEY", raising=False)
    if keys:
        monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", ",".join(keys))


def test_a_server_loads_what_is_signed_and_nothing_else(
    shared: tuple[str, Forge], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, _ = shared
    mark = tmp_path / "mark"
    with Store(url) as store:
        assert store.catalog.is_shared
        store.put("unsigned", Trap(mark))
        store.put("large", [bytes(100_000), Trap(mark)])
        store.put("json", [1, 2])
        assert store.get("json") == [1, 2]
        for key in ("unsigned", "large"):
            with pytest.raises(PayloadUnsafeError, match="not signed"):
                store.get(key)
    _use(monkeypatch, KEY)
    with Store(url) as store:
        blob = store.put("signed", {1j})
        big = store.put("big", [bytes(100_000), {1j}])
        assert (blob.signature_key, store.get("signed")) == ("first", {1j})
        assert store.get(big) == [bytes(100_000), {1j}]
        # The id that was signed is the one that was stored.
        assert store.resolve(f"id:{blob.id}").signature == blob.signature
        assert store.put("signed", {1j}).id == blob.id
    assert not mark.exists()
    with Store(url, allow_pickle=True) as store:
        store.get("unsigned")
    assert mark.exists()


def test_a_server_takes_an_unchanged_put_over_what_nobody_vouches_for(
    shared: tuple[str, Forge], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _ = shared
    versions = []
    for keys in ((), (KEY,), (KEY,), (OTHER, KEY), (OTHER,), (OTHER,)):
        _use(monkeypatch, *keys)
        with Store(url) as store:
            inline = store.put("inline", {1j})
            large = store.put("large", [bytes(100_000), {1j}])
            assert inline.version == large.version
            versions.append(inline.version)
            if keys:
                assert store.get(inline) == {1j}
                assert store.get(large) == [bytes(100_000), {1j}]
    assert versions == [0, 1, 1, 1, 2, 2]


def test_a_changed_record_of_a_server_is_refused(
    shared: tuple[str, Forge], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, forge = shared
    mark = tmp_path / "mark"
    _use(monkeypatch, KEY)
    with Store(url) as store:
        good = store.put("good", {1j})
        loot = store.put("loot", pickle.dumps(Trap(mark)))
        forge(loot.id, {"serializer": "pickle5"})
        with pytest.raises(PayloadUnsafeError, match="not signed"):
            store.get("loot")
        forge(loot.id, {"signature": good.signature, "signature_key": "first"})
        with pytest.raises(PayloadUnsafeError, match="not what was signed"):
            store.get("loot")
        forge(good.id, {"digest": loot.digest})
        with pytest.raises(FlowblobError):
            store.get("good")
    assert not mark.exists()


# ------------------------------------------------------------------ secrets


def _shown(error: BaseException) -> str:
    """Return all that a log could show of an error and what caused it."""
    told = "".join(traceback.format_exception(error))
    seen: BaseException | None = error
    while seen is not None:
        told += f"{seen!r} {vars(seen) if hasattr(seen, '__dict__') else ''}"
        seen = seen.__cause__ or seen.__context__
    return told


def _hostile_urls() -> Iterator[str]:
    coded = quote(PASSWORD, safe="")
    if postgres := os.environ.get("FLOWBLOB_TEST_POSTGRES_URL"):
        host = urlsplit(postgres).netloc.rpartition("@")[2]
        yield f"postgresql://nobody:{coded}@{host}/flow?storage=memory://"
        yield f"postgresql://nobody@{host}/flow?password={coded}&storage=memory://"
        yield f"postgresql://nobody:{coded}@{host}/flow?nosuch={coded}&storage=memory://"
        yield f"postgresql://nobody:{PASSWORD}@{host}/flow?storage=memory://"
        yield f"postgresql://nobody:{coded}@127.0.0.1:1/flow?connect_timeout=2&storage=memory://"
    if mongo := os.environ.get("FLOWBLOB_TEST_MONGO_URL"):
        host = urlsplit(mongo).netloc.rpartition("@")[2]
        limit = "serverSelectionTimeoutMS=500&storage=memory://"
        yield f"mongodb://nobody:{coded}@{host}/flow?{limit}"
        yield f"mongodb://nobody:{PASSWORD}@{host}/flow?{limit}"
        yield f"mongodb://nobody:{coded}@127.0.0.1:1/flow?{limit}"
        yield (
            f"mongodb://{host}/flow?authMechanism=MONGODB-AWS"
            f"&authMechanismProperties=AWS_SESSION_TOKEN:{coded}&{limit}"
        )
        yield f"mongodb://nobody:{coded}@{host}/flow?storage=gridfs&serverSelectionTimeoutMS=500"
    if s3 := os.environ.get("FLOWBLOB_TEST_S3_URL"):
        folder = "/tmp/flowblob-" + secrets.token_hex(6)
        yield f"sqlite://{folder}?storage=s3://AKIA123:{coded}@bucket/p?endpoint={s3}"
        yield f"sqlite://{folder}?storage=" + quote(
            f"s3://AKIA123:{coded}@bucket/p?endpoint=http://u:{coded}@127.0.0.1:1", safe=""
        )
        yield f"sqlite://{folder}?storage=s3://AKIA123:{coded}@bucket/p?nosuch={coded}"


def test_no_error_of_a_driver_shows_a_password(
    tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowblob.mongodb.WAIT", timedelta(seconds=2))
    urls = list(_hostile_urls())
    if not urls:
        pytest.skip("FLOWBLOB_TEST_POSTGRES_URL, _MONGO_URL and _S3_URL are not set")
    for url in urls:
        url = url.replace("sqlite:///tmp/", f"sqlite://{tmp_path}/")  # noqa: PLW2901
        with (
            caplog.at_level("DEBUG", logger="flowblob"),
            pytest.raises(FlowblobError) as failed,
            Store(url) as store,
        ):
            store.put("k", bytes(100_000))
        shown = _shown(failed.value) + caplog.text
        assert PASSWORD[9:] not in shown, url


def test_a_store_on_a_server_shows_no_password_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    _server("POSTGRES")
    monkeypatch.setattr("flowblob.mongodb.WAIT", timedelta(seconds=2))
    for url in _hostile_urls():
        with suppress(FlowblobError):
            store = Store(url)
            shown = f"{store!r} {store.settings!r} {store.catalog!r} {store.storage!r} {store.url}"
            shown += f" {store.objects!r} {store.catalog.url} {store.storage.url}"
            assert PASSWORD[9:] not in shown
            store.close()
