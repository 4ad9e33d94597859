"""Pickles in stores that others can write to: signed and checked before a byte is unpickled."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash
from forging import KEY, OTHER, Trap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import File, Store
from flowblob.config import find
from flowblob.drafts import Record
from flowblob.errors import (
    FlowblobError,
    InvalidInputError,
    PayloadCorruptError,
    PayloadUnsafeError,
)
from flowblob.model import Ref
from flowblob.trust import message

#: A busy machine is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


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
