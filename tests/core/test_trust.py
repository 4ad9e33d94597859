"""Pickles in stores that others can write to: signed and checked before a byte is unpickled."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import File, Store, cached
from flowblob.config import find
from flowblob.drafts import Record
from flowblob.errors import (
    FlowblobError,
    InvalidInputError,
    PayloadCorruptError,
    PayloadUnsafeError,
)
from flowblob.model import Ref
from flowblob.store import using
from flowblob.trust import Keyring, message, new_key

KEY = "first:" + base64.b64encode(b"one key that nobody else knows..").decode()
OTHER = "second:" + base64.b64encode(b"another key, made much later on.").decode()

#: A busy machine is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Trap:
    """A value whose loading leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture
def shared(folder: Path) -> Iterator[Callable[..., Store]]:
    """Open the store of a folder into which others can write."""
    opened: list[Store] = []

    def make(**options: Any) -> Store:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        opened.append(Store(folder, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(*keys: str) -> None:
        monkeypatch.delenv("FLOWBLOB_SIGNING_KEY", raising=False)
        if keys:
            monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", ",".join(keys))

    return use


@pytest.fixture
def forge(folder: Path) -> Callable[..., None]:
    """Change rows of the catalog as somebody with access to the database could."""

    def change(sql: str, *values: Any) -> None:
        with sqlite3.connect(folder / "catalog.db") as connection:
            assert connection.execute(sql, values).rowcount == 1
        connection.close()

    return change


# ------------------------------------------------------------------ whose store it is


def test_ones_own_store_loads_pickles_without_a_key(any_store: Store) -> None:
    any_store.put("k", {1j})
    assert any_store.get("k") == {1j}
    assert not any_store.catalog.is_shared


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o720, 0o1777])
def test_a_folder_that_others_can_write_to_is_shared(
    store: Store, folder: Path, tmp_path: Path, mode: int
) -> None:
    mark = tmp_path / "mark"
    store.put("k", Trap(mark))
    folder.chmod(mode)
    with pytest.raises(
        PayloadUnsafeError, match=r"k@0 is a pickle.*not signed.*chmod.*allow_pickle"
    ):
        store.get("k")
    assert not mark.exists()
    folder.chmod(0o755)
    store.get("k")
    assert mark.exists()


def test_a_catalog_file_that_others_can_write_to_is_shared(store: Store, folder: Path) -> None:
    store.put("k", {1j})
    folder.chmod(0o755)
    (folder / "catalog.db").chmod(0o666)
    with pytest.raises(PayloadUnsafeError):
        store.get("k")


def test_what_is_no_pickle_needs_no_key(shared: Callable[..., Store], tmp_path: Path) -> None:
    store = shared()
    (tmp_path / "file").write_bytes(b"content")
    values = {"json": [1], "typed": (1, b"x"), "text": "x", "bytes": b"x"}
    for key, value in values.items():
        store.put(key, value)
    store.put("file", File(tmp_path / "file"))
    assert {key: store.get(key) for key in values} == values
    assert store.get("file").read_bytes() == b"content"


def test_allow_pickle_is_an_argument_a_variable_and_a_parameter(
    shared: Callable[..., Store], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared().put("k", {1j})
    assert shared(allow_pickle=True).get("k") == {1j}
    assert Store(f"sqlite://{folder}?allow_pickle=true").get("k") == {1j}
    monkeypatch.setenv("FLOWBLOB_ALLOW_PICKLE", "1")
    assert Store(folder).get("k") == {1j}
    with pytest.raises(PayloadUnsafeError):
        Store(folder, allow_pickle=False).get("k")
    monkeypatch.setenv("FLOWBLOB_ALLOW_PICKLE", "perhaps")
    with pytest.raises(InvalidInputError, match="FLOWBLOB_ALLOW_PICKLE"):
        find(folder)


# ------------------------------------------------------------------ signatures


def test_a_signed_pickle_loads_where_the_key_is_known(
    shared: Callable[..., Store], signing: Callable[..., None]
) -> None:
    signing(KEY)
    blob = shared().put("k", {1j})
    assert (blob.signature_key, len(blob.signature)) == ("first", 64)
    assert shared().get("k") == {1j}
    signing()
    with pytest.raises(PayloadUnsafeError, match="no signing key"):
        shared().get("k")
    signing(OTHER)
    with pytest.raises(PayloadUnsafeError, match=r"'first'.*second"):
        shared().get("k")
    signing("first:" + base64.b64encode(b"x" * 32).decode())
    with pytest.raises(PayloadUnsafeError, match="not what was signed"):
        shared().get("k")


def test_a_process_without_the_key_is_refused_in_a_world_of_its_own(
    shared: Callable[..., Store], signing: Callable[..., None], folder: Path, python: Any
) -> None:
    signing(KEY)
    shared().put("k", {1j})
    code = """
        import sys, os
        from flowblob import Store
        from flowblob.errors import PayloadUnsafeError
        try:
            print(Store(sys.argv[1]).get("k"))
        except PayloadUnsafeError as error:
            print(error.code)
        """
    assert python(code, folder).stdout == "{1j}\n"
    signing()
    assert python(code, folder).stdout == "payload_unsafe\n"


def test_a_record_that_was_changed_is_refused(
    shared: Callable[..., Store],
    signing: Callable[..., None],
    forge: Callable[..., None],
    tmp_path: Path,
) -> None:
    signing(KEY)
    store = shared()
    good = store.put("good", {1j})
    mark = tmp_path / "mark"
    signing(OTHER)
    evil = shared().put("evil", Trap(mark))
    loot = shared().put("loot", pickle.dumps(Trap(mark)))

    forge("UPDATE version SET signature_key = 'first' WHERE id = ?", evil.id)
    forge("UPDATE version SET signature = ? WHERE id = ?", good.signature, evil.id)
    _refused(store, "evil")
    forge("UPDATE version SET digest = ? WHERE id = ?", good.digest, evil.id)
    _refused(store, "evil")
    forge("UPDATE incarnation SET key = 'was' WHERE key = 'good'")
    forge("UPDATE incarnation SET key = 'good' WHERE key = 'evil'")
    _refused(store, "good")
    forge("UPDATE version SET id = 'x' WHERE id = ?", good.id)
    forge("UPDATE version SET id = ? WHERE id = ?", good.id, evil.id)
    # Everything that is signed is true by now; the bytes are not.
    with pytest.raises(PayloadCorruptError):
        store.get("good")
    forge("UPDATE version SET serializer = 'pickle5' WHERE id = ?", loot.id)
    _refused(store, "loot")
    assert not mark.exists()


def _refused(store: Store, key: str) -> None:
    with pytest.raises(PayloadUnsafeError):
        store.get(key)


def test_a_payload_with_a_forged_checksum_is_not_unpickled(
    shared: Callable[..., Store],
    signing: Callable[..., None],
    forge: Callable[..., None],
    payload_files: Callable[[], list[Path]],
    tmp_path: Path,
) -> None:
    signing(KEY)
    store = shared()
    blob = store.put("k", [bytes(200_000), {1j}])
    mark = tmp_path / "mark"
    with Store("memory://") as bench:
        evil = bench.open(bench.put("k", [bytes(200_000), Trap(mark)])).read()
    [file] = payload_files()
    file.chmod(0o600)
    file.write_bytes(evil)
    checksum = xxhash.xxh3_128_hexdigest(evil)
    for table in ("version", "payload"):
        forge(f"UPDATE {table} SET checksum = ?, size = ?", checksum, len(evil))
    forge("UPDATE payload SET stored_size = ?", len(evil))
    with pytest.raises(PayloadCorruptError):
        store.get("k")
    with pytest.raises(PayloadCorruptError):
        store.get(blob, mmap=True)
    assert not mark.exists()


def test_payloads_that_others_can_write_are_compared_with_ones_own_catalog(
    tmp_path: Path,
) -> None:
    payloads = tmp_path / "payloads"
    payloads.mkdir()
    payloads.chmod(0o777)
    mark = tmp_path / "mark"
    with Store(f"sqlite://{tmp_path}/own?storage={payloads}") as store:
        store.put("k", [bytes(100_000), {1j}])
        assert store.get("k") == [bytes(100_000), {1j}]
        [file] = [path for path in payloads.glob("??/*") if path.is_file()]
        # As if the checksum collided: it is no hash that resists an attacker.
        file.chmod(0o600)
        evil = file.read_bytes()
        file.write_bytes(evil[:-70_000] + b"x" + evil[-69_999:])
        record = store.objects.resolve(Ref("k"), payload=True)
        assert record.payload is not None
        forged = Record(record.blob, _with_checksum(record.payload, file.read_bytes()))
        with pytest.raises(PayloadCorruptError):
            store.objects.load(forged)
    assert not mark.exists()


def _with_checksum(payload: Any, data: bytes) -> Any:
    from dataclasses import replace

    return replace(payload, checksum=xxhash.xxh3_128_hexdigest(data))


def test_the_signature_is_what_the_note_says(
    shared: Callable[..., Store], signing: Callable[..., None]
) -> None:
    import hmac

    signing(KEY)
    blob = shared().put("models/é", {1j})
    text = b"flowblob/pickle/1"
    for part in ("models/é", blob.id, blob.digest, "pickle5"):
        text += len(part.encode()).to_bytes(8, "big") + part.encode()
    secret = base64.b64decode(KEY.partition(":")[2])
    assert blob.signature == hmac.new(secret, text, hashlib.sha256).hexdigest()


@patient
@given(st.lists(st.text(max_size=6), min_size=8, max_size=8))
def test_no_two_records_share_what_is_signed(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    first, second = texts[:4], texts[4:]
    assert (message(*first) == message(*second)) == (first == second)


# ------------------------------------------------------------------ every path that writes


def test_every_way_to_write_a_pickle_signs_it(
    shared: Callable[..., Store], signing: Callable[..., None], tmp_path: Path
) -> None:
    signing(KEY)
    store = shared()
    (tmp_path / "inner").write_bytes(b"inner" * 30_000)
    store.put("plain", {1j})
    store.put("large", [bytes(100_000), {1j}])
    store.put("inline", {1j}, inline=True)
    store.put("file inside", [File(tmp_path / "inner"), {1j}])
    store.put("edited", {1j})
    store.put("edited", {1j}, metadata={"rows": 1})
    store.put("replaced", {1j}, history=False)
    store.put("replaced", {2j}, history=False)
    store.put("forced", {1j})
    store.put("forced", {1j}, new_version=True)
    store.put("asked", {"plain": "json"}, serializer="pickle")
    store.put("opaque", b"bytes", serializer="opaque")
    store.cache.put("entry", {1j}, outputs={"side": {2j}})
    store.promote("edited@0", "prod")
    pickles = [blob for key in store.ls() for blob in store.versions(key.key)]
    assert len(pickles) == 13
    assert all(blob.signature_key == "first" for blob in pickles)
    other = shared()
    for blob in pickles:
        other.get(blob)
    assert other.get("file inside")[0].read_bytes() == b"inner" * 30_000
    assert other.get("edited@prod") == {1j}
    assert other.cache.get("entry").outputs["side"].load() == {2j}


def test_a_store_of_ones_own_is_signed_too_where_there_is_a_key(
    store: Store, folder: Path, signing: Callable[..., None]
) -> None:
    store.put("before", {1j})
    signing(KEY)
    with Store(folder) as signed:
        blob = signed.put("k", {1j})
        assert blob.signature_key == "first"
        # There is nothing to gain here from another version: it loads as it is.
        assert signed.put("before", {1j}).version == 0


def test_an_unchanged_put_keeps_the_version_and_its_signature(
    shared: Callable[..., Store], signing: Callable[..., None]
) -> None:
    signing(KEY)
    first = shared().put("k", {1j})
    again = shared().put("k", {1j})
    signing(OTHER, KEY)  # rotated: the old key still verifies
    rotated = shared().put("k", {1j})
    assert first.id == again.id == rotated.id
    assert shared().get("k") == {1j}


@pytest.mark.parametrize("writers", [(), (KEY,)], ids=["unsigned", "signed with a dropped key"])
def test_an_unchanged_put_over_what_nobody_vouches_for_makes_a_version_that_loads(
    shared: Callable[..., Store],
    signing: Callable[..., None],
    payload_files: Callable[[], list[Path]],
    writers: tuple[str, ...],
) -> None:
    value = [bytes(100_000), {1j}]
    signing(*writers)
    shared().put("k", value)
    signing(OTHER)
    store = shared()
    blob = store.put("k", value)
    assert (blob.version, blob.signature_key) == (1, "second")
    assert store.get("k") == value
    assert len(payload_files()) == 1
    assert store.put("k", value).version == 1


def test_a_reader_without_a_key_does_not_append_over_a_signed_version(
    shared: Callable[..., Store], signing: Callable[..., None]
) -> None:
    signing(KEY)
    shared().put("k", {1j})
    signing()
    assert shared().put("k", {1j}).signature_key == "first"


# ------------------------------------------------------------------ the cache


def test_a_hit_that_nobody_vouches_for_is_computed_again_and_signed(
    shared: Callable[..., Store],
    signing: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    @cached
    def compute(x: int) -> Any:
        calls.append(x)
        return {complex(x)}

    with using(shared()):
        compute(1)
    signing(KEY)
    with using(shared()) as store, caplog.at_level(logging.WARNING):
        assert compute(1) == {1 + 0j}
        assert "not signed" in caplog.text
        assert compute(1) == {1 + 0j}
        [entry] = store.cache.entries()
        assert (entry.blob.version, entry.blob.signature_key) == (1, "first")
    assert calls == [1, 1]


@pytest.mark.parametrize("lazy", [False, True])
def test_without_a_key_the_entry_is_kept_and_nothing_is_stored(
    shared: Callable[..., Store],
    signing: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    lazy: bool,
) -> None:
    calls = []

    @cached(lazy=lazy)
    def compute(x: int) -> Any:
        calls.append(x)
        return {complex(x)}

    signing(KEY)
    with using(shared()):
        compute(1)
    signing()
    with using(shared()) as store:
        before = store.cache.entries()
        for _ in range(2):
            assert compute(1) == {1 + 0j}
        assert store.cache.entries() == before
        assert "no signing key" in caplog.text
        with pytest.raises(PayloadUnsafeError):
            store.cache.get(before[0].key)
    assert calls == [1, 1, 1]


def test_a_forged_entry_is_replaced(
    shared: Callable[..., Store], signing: Callable[..., None], forge: Callable[..., None]
) -> None:
    @cached
    def compute(x: int) -> Any:
        return {complex(x)}

    signing(KEY)
    with using(shared()):
        compute(1)
    forge("UPDATE version SET signature = ?", "0" * 64)
    with using(shared()) as store:
        assert compute(1) == {1 + 0j}
        assert store.cache.entries()[0].blob.version == 1


# ------------------------------------------------------------------ keys


def test_keys_are_read_in_every_documented_form(tmp_path: Path) -> None:
    secret = b"0123456789abcdef?>"
    plain = base64.b64encode(secret).decode()
    url_safe = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    rings = [
        Keyring.parse(f"a:{plain}"),
        Keyring.parse(f"a:{url_safe}"),
        Keyring.parse(f" a:{plain} ,"),
        Keyring.parse(f"\na:{plain}\n"),
    ]
    assert {ring.sign(b"text") for ring in rings} == {rings[0].sign(b"text")}
    bare = Keyring.parse("a secret of some length")
    assert bare.ids == Keyring.parse(f"a:{plain},a secret of some length").ids[1:]
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\na secret of some length\n")
    found = Keyring.from_environment({"FLOWBLOB_SIGNING_KEY_FILE": str(file)})
    assert found.ids == ("first", *bare.ids)
    assert Keyring.from_environment({}).ids == ()
    assert Keyring.parse(new_key("fresh")).ids == ("fresh",)


SECRET = "SeCrEt-hunter2"
BAD = [
    SECRET, "a:" + base64.b64encode(SECRET.encode()).decode(), f"a:{SECRET}!{SECRET}",
    f"{SECRET} {SECRET}:aaaa", f"{KEY},{KEY}", ",", f":{SECRET}{SECRET}", "a:",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_bad_key_is_refused_and_never_shown(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", text)
    with pytest.raises(InvalidInputError, match="FLOWBLOB_SIGNING_KEY") as refused:
        Store(tmp_path / "store")
    shown = "".join(_texts(refused.value))
    assert SECRET not in shown
    assert base64.b64encode(SECRET.encode()).decode() not in shown
    assert not (tmp_path / "store").exists()


def _texts(error: BaseException) -> Iterator[str]:
    """Yield what a traceback shows of an error and of those behind it."""
    shown: BaseException | None = error
    while shown is not None:
        yield f"{shown!r} {shown}"
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def test_a_bad_key_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY_FILE", str(file))
    for content in (None, b"", b"\xff\xfe" * 20, b"\n \n"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InvalidInputError, match="keys"):
            Store("memory://")
    file.write_text(KEY)
    assert Store("memory://").put("k", {1j}).signature_key == "first"
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", KEY)
    with pytest.raises(InvalidInputError, match="Both"):
        Store("memory://")


def test_keys_are_shown_nowhere(
    signing: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    secret = KEY.partition(":")[2]
    signing(KEY)
    with caplog.at_level(logging.DEBUG):
        store = Store("memory://")
        store.put("k", {1j})
        store.get("k")
    ring = Keyring.parse(KEY)
    shown = [repr(ring), str(ring), repr(store), repr(store.objects), repr(store.settings)]
    shown += [repr(vars(store)), caplog.text]
    assert not any(secret in text or "nobody else" in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(ring)
    assert repr(ring) == "Keyring(first)"


def test_a_pickled_store_is_found_again_by_its_id_and_holds_no_address(
    folder: Path, python: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"sqlite://{folder}?storage={tmp_path}/elsewhere"
    with Store(url) as store:
        store.put("k", 1)
        data = pickle.dumps(store)
        assert pickle.loads(data) is store
    assert str(folder).encode() not in data
    (tmp_path / "store").write_bytes(data)
    code = """
        import pickle, sys
        from flowblob.errors import NotFoundError
        try:
            print(pickle.load(open(sys.argv[1], "rb")).get("k"))
        except NotFoundError as error:
            print(error.code)
        """
    assert python(code, tmp_path / "store").stdout == "not_found\n"
    monkeypatch.setenv("FLOWBLOB_URL", url)
    assert python(code, tmp_path / "store").stdout == "1\n"


def test_signing_costs_a_store_without_a_key_nothing(any_store: Store) -> None:
    assert any_store.put("k", {1j}).signature == ""
    assert not any_store.objects.trust.can_sign


def test_root_alone_may_own_a_store_besides_the_user(tmp_path: Path) -> None:
    from flowblob.ownership import is_private

    assert is_private(tmp_path, tmp_path / "absent")
    assert is_private(Path("/usr/bin/env"))
    if os.geteuid() == 0:
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", 12345, 12345)
        assert not is_private(tmp_path / "theirs")
    assert not is_private(Path("/tmp"))


def test_an_unreadable_format_of_a_plugin_is_no_way_around(
    shared: Callable[..., Store], forge: Callable[..., None]
) -> None:
    store = shared()
    blob = store.put("k", b"x")
    forge("UPDATE version SET serializer = '../pickle5' WHERE id = ?", blob.id)
    with pytest.raises(FlowblobError, match="not installed"):
        store.get("k")
