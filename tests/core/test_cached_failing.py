"""The decorator where something fails: damaged payloads, results that cannot be kept, outages."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store, cached
from flowblob.errors import PayloadCorruptError, SerializationError, UnavailableError

Calls = list[Any]


@pytest.mark.parametrize("way", ["missing", "flipped"])
def test_a_hit_on_a_damaged_payload_computes_again_and_heals(
    store: Store,
    payload_files: Callable[[], list[Path]],
    caplog: pytest.LogCaptureFixture,
    way: str,
) -> None:
    @cached(store=store, ignore=["calls"], name="k")
    def make(calls: Calls) -> bytes:
        calls.append(1)
        return b"value" * 50_000

    calls: Calls = []
    make(calls)
    [path] = payload_files()
    if way == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert make(calls) == b"value" * 50_000
    assert "computed again" in caplog.text
    assert make(calls) == b"value" * 50_000
    assert len(calls) == 2
    assert store.get("k") == b"value" * 50_000
    assert len(store.versions("k")) == 1


def test_a_damaged_lazy_hit_raises_and_is_computed_the_next_time(
    store: Store, payload_files: Callable[[], list[Path]]
) -> None:
    @cached(store=store, ignore=["calls"], lazy=True)
    def make(calls: Calls) -> bytes:
        calls.append(1)
        return b"value" * 50_000

    calls: Calls = []
    make(calls)
    [path] = payload_files()
    os.truncate(path, 10)
    with pytest.raises(PayloadCorruptError):
        make(calls).load()
    assert make(calls).load() == b"value" * 50_000
    assert len(calls) == 2


class Stubborn:
    """Its own code fails while it is pickled."""

    def __reduce__(self) -> Any:
        raise ZeroDivisionError("no pickling")


@pytest.mark.parametrize("make", [threading.Lock, Stubborn, lambda: (n for n in [])])
def test_an_unserialisable_result_is_returned_and_leaves_nothing(
    is_reserved: Callable[[], bool],
    store: Store,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[], Any],
) -> None:
    @cached(store=store, ignore=["make"])
    def connect(make: Callable[[], Any]) -> Any:
        return make()

    store.put("warm", bytes(2_000_000))
    with caplog.at_level(logging.WARNING):
        first = connect(make)
    assert type(first) is type(make())
    assert "cannot be stored" in caplog.text
    assert [blob.key for blob in store.ls()] == ["warm"]
    assert store.cache.entries() == []
    assert not is_reserved()


def test_an_unserialisable_result_raises_where_that_was_asked_for(
    is_reserved: Callable[[], bool], store: Store
) -> None:
    @cached(store=store, on_error="raise")
    def connect() -> Any:
        return threading.Lock()

    with pytest.raises(SerializationError):
        connect()
    assert not is_reserved()


def test_a_failing_store_never_fails_the_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "store")
    store.put("k", 1)
    store.close()

    @cached(store=store)
    def make() -> int:
        return 7

    @cached(store=store, on_error="raise")
    def strict() -> int:
        return 7

    (tmp_path / "store" / "catalog.db").write_bytes(b"no database at all" * 1000)
    with caplog.at_level(logging.WARNING):
        assert make() == 7
    assert "not cached" in caplog.text
    with pytest.raises(UnavailableError):
        strict()
