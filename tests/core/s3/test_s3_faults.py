"""Every way in which the line to a server fails: nothing acknowledged is lost, no false byte read.

The proxy fails one request of a put after another, before and after the server has done its part.
What the bucket holds is read past it, by botocore.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from buckets import Bucket, Line, Make
from injecting import (
    Proxy,
    Reply,
    answer,
    answer_after,
    cut,
    cut_after,
    flip_answer,
    flip_request,
    hang,
    truncate,
)

from flowblob import Store
from flowblob.errors import PayloadCorruptError, StorageUnavailableError, UnavailableError
from flowblob.storages.s3 import S3Storage, transport, upload
from flowblob.storages.s3.access import Access, Address

pytestmark = [pytest.mark.services, pytest.mark.usefixtures("small_parts")]

PART = 5 << 20  # the least that S3 takes
LARGE = 3 * PART + (1 << 20)
OP = "0123abcd"
PASSING = {
    "500": answer(500, "InternalError"),
    "503": answer(503, "SlowDown"),
    "500 after": answer_after(500, "InternalError"),
    "cut": cut,
    "cut after": cut_after,
    "flipped": flip_request,
}
#: The requests of a put in parts.
STEPS = {
    "begin": ("POST", "uploads"),
    "part": ("PUT", "partNumber=3"),
    "complete": ("POST", "uploadId"),
}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have 16 MiB go in four parts."""
    monkeypatch.setattr(upload, "SINGLE", PART)
    monkeypatch.setattr(upload, "PART", PART)


@pytest.fixture(scope="session")
def large() -> bytes:
    return os.urandom(1 << 20) * (LARGE >> 20)


@pytest.mark.parametrize("fault", PASSING)
def test_a_put_in_one_request_survives_what_passes(line: Line, make: Make, fault: str) -> None:
    bucket, proxy, shaky = line
    name, spooled = make(b"content" * 1000)
    proxy.plan(PASSING[fault], method="PUT")
    shaky.write(name, spooled, op=OP)
    assert bucket.objects() == {f"flow/{name}": b"content" * 1000}


@pytest.mark.parametrize("fault", ["500 after", "cut after"])
def test_a_lost_reply_is_settled_without_sending_again(
    proxy: Proxy, shaky: S3Storage, make: Make, fault: str
) -> None:
    proxy.plan(PASSING[fault], method="PUT")
    shaky.write(*make(b"content"), op=OP)
    assert proxy.statuses("PUT") == [200]
    assert proxy.statuses("HEAD") == [200]


def test_the_time_to_load_botocore_is_no_silence_of_the_server(
    proxy: Proxy, shaky: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine that may take longer than a server is waited for."""
    find, away = Access._find_address, [0.0]

    def find_slowly(access: Access) -> Address:
        away[0] += 2 * transport.PATIENCE
        return find(access)

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + away[0], sleep=time.sleep)
    monkeypatch.setattr(Access, "_find_address", find_slowly)
    monkeypatch.setattr(transport, "time", clock)
    proxy.plan(answer(503, "SlowDown"), method="GET")
    shaky.claim("a store")
    assert proxy.statuses("GET") == [0, 404, 200]


def test_a_reply_that_never_comes_is_settled(
    line: Line, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, proxy, shaky = line
    monkeypatch.setattr(transport, "_ANSWER", 1.0)

    def stored_but_silent(request: Any, forward: Any) -> Any:
        forward(request)
        return hang(proxy)(request, forward)

    proxy.plan(stored_but_silent, method="PUT")
    name, spooled = make(b"content")
    shaky.write(name, spooled, op=OP)
    assert bucket.objects() == {f"flow/{name}": b"content"}
    assert proxy.statuses("PUT") == []  # the first still hangs, and there was no second


def test_what_stands_there_by_another_put_is_replaced(line: Line, make: Make) -> None:
    """Only the op in the metadata settles a reply: not that something is there."""
    bucket, proxy, shaky = line
    name, spooled = make(b"content")
    bucket.client.put_object(Bucket=bucket.name, Key=f"flow/{name}", Body=b"CONTENT")
    shaky.write(name, spooled, op=OP)
    assert proxy.statuses("PUT") == [412, 200]
    assert bucket.objects() == {f"flow/{name}": b"content"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", [name for name in PASSING if name != "flipped"])
def test_a_put_in_parts_survives_what_passes(
    line: Line, make: Make, large: bytes, step: str, fault: str
) -> None:
    bucket, proxy, shaky = line
    name, spooled = make(large, file=True)
    method, query = STEPS[step]
    proxy.plan(PASSING[fault], method=method, query=query)
    shaky.write(name, spooled, op=OP)
    stored = bucket.objects()[f"flow/{name}"]
    assert hashlib.sha256(stored).hexdigest() == name[3:67]
    assert bucket.uploads(name) == []


def test_a_part_that_was_damaged_on_the_way_is_sent_again(
    line: Line, make: Make, large: bytes
) -> None:
    bucket, proxy, shaky = line
    name, spooled = make(large, file=True)
    proxy.plan(flip_request, method="PUT", query="partNumber=2")
    shaky.write(name, spooled, op=OP)
    assert 400 in proxy.statuses("PUT", "partNumber=2")
    assert bucket.objects()[f"flow/{name}"] == large


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", ["503", "cut", "403"])
def test_a_put_in_parts_that_fails_leaves_nothing(
    line: Line, make: Make, large: bytes, step: str, fault: str
) -> None:
    bucket, proxy, shaky = line
    name, spooled = make(large, file=True)
    method, query = STEPS[step]
    kinds = {"503": answer(503, "SlowDown"), "cut": cut, "403": answer(403, "AccessDenied")}
    proxy.plan(kinds[fault], method=method, query=query, times=999)
    with pytest.raises(Exception, match=r"refused|did not answer"):
        shaky.write(name, spooled, op=OP)
    assert bucket.objects() == {}
    assert bucket.uploads(name) == []


def test_an_error_under_a_success_is_an_error(line: Line, make: Make, large: bytes) -> None:
    """S3 sends 200 before it has put the parts together, and may fail after."""
    bucket, proxy, shaky = line
    name, spooled = make(large, file=True)
    proxy.plan(answer(200, "InternalError"), method="POST", query="uploadId")
    shaky.write(name, spooled, op=OP)
    assert bucket.objects()[f"flow/{name}"] == large
    assert len(proxy.statuses("POST", "uploadId")) == 2


@pytest.mark.parametrize("extras", [True, False])
def test_parts_that_a_collector_took_fail_the_put(
    line: Line, make: Make, large: bytes, extras: bool
) -> None:
    bucket, proxy, shaky = line
    shaky._transport.takes_extras = extras
    name, spooled = make(large, file=True)

    def collected(request: Any, forward: Any) -> Reply:
        S3Storage(bucket.url()).delete(name)
        return forward(request)  # type: ignore[no-any-return]

    proxy.plan(collected, method="POST", query="uploadId")
    with pytest.raises(StorageUnavailableError, match=r"removed|NoSuchUpload|completion") as caught:
        shaky.write(name, spooled, op=OP)
    assert caught.value.retryable
    assert bucket.objects() == {}


@pytest.mark.parametrize("size", [100_000, 40 << 20])
@pytest.mark.parametrize("fault", ["500", "503", "cut", "truncated"])
def test_a_read_survives_what_passes(
    proxy: Proxy, shaky: S3Storage, make: Make, fault: str, size: int
) -> None:
    data = os.urandom(1 << 16) * (size >> 16)
    name, spooled = make(data)
    shaky.write(name, spooled, op=OP)
    fault_of = {**PASSING, "truncated": truncate}
    proxy.plan(fault_of[fault], method="GET", times=3, after=1)
    proxy.plan(fault_of[fault], method="GET")
    assert shaky.read(name) == data


def test_a_cut_read_goes_on_where_it_was_cut(proxy: Proxy, shaky: S3Storage, make: Make) -> None:
    data = os.urandom(1 << 20)
    name, spooled = make(data)
    shaky.write(name, spooled, op=OP)
    proxy.plan(truncate, method="GET", times=4)
    assert shaky.read(name, 0, 1 << 20) == data
    starts = [request.headers["range"] for request, _ in proxy.seen if request.method == "GET"]
    assert starts == [f"bytes={at}-1048575" for at in (0, 524288, 786432, 917504, 983040)]


# ------------------------------------------------------------------ the whole store


@pytest.fixture
def store_url(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/catalog?storage={bucket.url(proxy.url)}"


@pytest.mark.parametrize("size", [100_000, 40 << 20])
def test_bytes_flipped_on_the_way_back_are_never_given_out(
    proxy: Proxy, store_url: str, tmp_path: Path, size: int
) -> None:
    data = os.urandom(1 << 16) * (size >> 16)
    with Store(store_url) as store:
        store.put("value", data)
        for read in (
            lambda: store.get("value"),
            lambda: store.open("value").read(),
            lambda: store.download("value", tmp_path / "out"),
        ):
            proxy.rules.clear()
            proxy.plan(flip_answer, method="GET", after=1 if size > 1 << 20 else 0)
            with pytest.raises(PayloadCorruptError):
                read()
        assert not (tmp_path / "out").exists()
        assert store.get("value") == data  # the bucket was sound all the time


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["500", "500 after", "cut", "cut after"])
def test_what_was_acknowledged_is_there_and_what_failed_is_not(
    bucket: Bucket, proxy: Proxy, store_url: str, fault: str
) -> None:
    """Every second request fails, of whatever kind; then the server is gone for good."""
    with Store(store_url) as store:
        rules = [{"after": number} for number in range(0, 40, 2)]
        for rule in rules:
            proxy.plan(PASSING[fault], **rule)
        for number in range(8):
            store.put(f"key/{number}", bytes([number]) * 100_000)
        proxy.rules.clear()
        proxy.plan(PASSING[fault], times=999)
        with pytest.raises(UnavailableError):
            store.put("never", b"n" * 100_000)
        proxy.rules.clear()
        assert [blob.key for blob in store.ls()] == [f"key/{number}" for number in range(8)]
        for number in range(8):
            assert store.get(f"key/{number}") == bytes([number]) * 100_000
        store.gc(grace="1ms", dry_run=False, force=True)
    assert sum(len(data) == 100_000 for data in bucket.objects().values()) == 8
