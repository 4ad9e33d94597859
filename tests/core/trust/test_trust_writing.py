"""Every way to write a pickle signs it, and the cache keeps none that nobody vouches for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forging import KEY, OTHER

from flowblob import File, Store, cached
from flowblob.errors import (
    PayloadUnsafeError,
)
from flowblob.store import using


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


def test_signing_costs_a_store_without_a_key_nothing(any_store: Store) -> None:
    assert any_store.put("k", {1j}).signature == ""
    assert not any_store.objects.trust.can_sign
