"""What becomes of answers that are none, before a server that says whatever it is told."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import Make
from injecting import Proxy, Reply, Request, answer, cut, hang

from flowblob.errors import (
    AuthError,
    InvalidInputError,
    NotFoundError,
    PayloadMissingError,
    QuotaExceededError,
    StorageUnavailableError,
)
from flowblob.storages.s3 import S3Storage

NAME = f"ab/{'0' * 64}.{'1' * 32}"


@pytest.fixture
def server() -> Iterator[Proxy]:
    """A server that only says what rules tell it."""
    with Proxy() as made:
        yield made


@pytest.fixture
def storage(server: Proxy) -> Iterator[S3Storage]:
    made = S3Storage(f"s3://key:secret@bucket/flow?endpoint={server.url}")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ((404, "NoSuchBucket"), (NotFoundError, "There is no bucket 'bucket'")),
        ((403, "AccessDenied"), (AuthError, "Permissions")),
        ((403, "InvalidAccessKeyId"), (AuthError, "access key is unknown")),
        ((403, "SignatureDoesNotMatch"), (AuthError, "secret key is wrong")),
        ((403, "RequestTimeTooSkewed"), (AuthError, "clock")),
        ((400, "ExpiredToken"), (AuthError, "log in again")),
        ((507, "XMinioStorageFull"), (QuotaExceededError, "Free space")),
        ((403, "QuotaExceeded"), (QuotaExceededError, "quota")),
        ((400, "InvalidStorageClass"), (StorageUnavailableError, "InvalidStorageClass")),
    ],
)
def test_a_refusal_that_will_not_pass_is_told_at_once(
    server: Proxy, storage: S3Storage, refusal: tuple[int, str], told: tuple[type[Exception], str]
) -> None:
    server.plan(answer(*refusal, "the server's own words"), times=99)
    error, says = told
    with pytest.raises(error, match=says) as caught:
        storage.read(NAME, 0, 10)
    assert len(server.seen) == 1
    if isinstance(caught.value, StorageUnavailableError):
        assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "InternalError"), (502, ""), (503, "SlowDown"), (504, ""), (429, ""),
     (400, "RequestTimeout"), (409, "OperationAborted")],
)  # fmt: skip
def test_a_refusal_that_passes_is_asked_again(
    server: Proxy, storage: S3Storage, status: int, code: str
) -> None:
    server.plan(answer(status, code), times=2)
    server.plan(answer(404, "NoSuchKey"), times=99)
    with pytest.raises(PayloadMissingError):
        storage.read(NAME, 0, 10)
    assert len(server.seen) == 3


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["503", "cut", "hang"])
def test_what_does_not_pass_is_given_up_as_retryable(
    server: Proxy, storage: S3Storage, fault: str
) -> None:
    kinds = {"503": answer(503, "SlowDown"), "cut": cut, "hang": hang(server)}
    server.plan(kinds[fault], times=999)
    with pytest.raises(StorageUnavailableError, match=r"503|did not answer") as caught:
        storage.size(NAME)
    assert caught.value.retryable
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("impatient")
def test_nobody_at_the_endpoint_is_told_with_the_endpoint(server: Proxy) -> None:
    server.__exit__()
    with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1\S* did not answer") as caught:
        S3Storage(f"s3://k:s@bucket?endpoint={server.url}").size(NAME)
    assert caught.value.retryable


def test_the_wait_a_server_asks_for_is_kept(
    server: Proxy, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("flowblob.storages.s3.transport.time.sleep", slept.append)
    server.plan(answer(503, "SlowDown", headers=["Retry-After: 7"]))
    server.plan(answer(503, "SlowDown", headers=["Retry-After: 86400"]))
    server.plan(answer(404, "NoSuchKey"), times=99)
    assert storage.size(NAME) is None
    assert slept == [7.0, 10.0]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_never_followed(server: Proxy, storage: S3Storage, status: int) -> None:
    with Proxy() as elsewhere:
        elsewhere.plan(answer(200), times=99)
        server.plan(answer(status, "", headers=[f"Location: {elsewhere.url}/x"]), times=99)
        with pytest.raises(InvalidInputError, match="in another place"):
            storage.size(NAME)
        assert elsewhere.seen == []


def test_another_region_is_named(server: Proxy, storage: S3Storage) -> None:
    header = "x-amz-bucket-region: eu-west-3"
    server.plan(answer(400, "AuthorizationHeaderMalformed", headers=[header]), times=99)
    with pytest.raises(InvalidInputError, match="Add region=eu-west-3"):
        storage.read(NAME, 0, 1)


def test_rotated_credentials_are_read_anew_once(
    server: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"

    def save(key: str) -> None:
        file.write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key=x\n")

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))

    def only_new(request: Request, forward: Any) -> Any:
        is_new = "NEWKEY" in request.headers["authorization"]
        return answer(404 if is_new else 403)(request, forward)

    server.plan(only_new, times=99)
    save("OLDKEY")
    storage = S3Storage(f"s3://bucket?endpoint={server.url}")
    with pytest.raises(AuthError):
        storage.size(NAME)
    assert len(server.seen) == 1  # the same key again would be refused again
    save("NEWKEY")
    assert storage.size(NAME) is None
    assert len(server.seen) == 3


def test_a_server_that_knows_no_conditions_gets_none(
    server: Proxy, storage: S3Storage, make: Make
) -> None:
    def picky(request: Request, forward: Any) -> Any:
        refused = "if-none-match" in request.headers
        return answer(501 if refused else 200, "NotImplemented" if refused else "")(
            request, forward
        )

    server.plan(picky, times=99)
    for _ in range(2):
        storage.write(*make(b"x"), op=uuid.uuid4().hex)
    assert ["if-none-match" in request.headers for request, _ in server.seen] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("body", ["", "not XML", "<Error></Error>", "<!DOCTYPE x><x/>"])
def test_an_answer_that_is_no_xml_is_still_told(
    server: Proxy, storage: S3Storage, body: str
) -> None:
    def odd(request: Request, forward: Any) -> Reply:
        head = f"HTTP/1.1 418 Teapot\r\nContent-Length: {len(body)}"
        return Reply(head.encode(), body.encode())

    server.plan(odd, times=99)
    with pytest.raises(StorageUnavailableError, match="418"):
        storage.read(NAME, 0, 1)


def test_a_listing_that_is_no_xml_is_told(server: Proxy, storage: S3Storage) -> None:
    def page(request: Request, forward: Any) -> Reply:
        return Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 15", b"<html>Welcome! ")

    server.plan(page, times=9)
    with pytest.raises(StorageUnavailableError, match="is that an S3 server"):
        list(storage.names())


def test_a_server_that_ignores_ranges_is_not_misread(server: Proxy, storage: S3Storage) -> None:
    def everything(request: Request, forward: Any) -> Reply:
        return Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 10", b"0123456789")

    server.plan(everything, times=99)
    assert storage.read(NAME, 0, 4) == b"0123"
    with pytest.raises(StorageUnavailableError, match="answers a range with everything"):
        storage.read(NAME, 4, 2)
    assert storage.read(NAME, 0, 99) == b"0123456789"


def test_a_forged_name_reaches_nothing(server: Proxy, storage: S3Storage, make: Make) -> None:
    _, spooled = make(b"x")
    for name in ("../other", "flowblob-store-id", f"ab/../{'0' * 64}.{'1' * 32}", ""):
        for act in (storage.size, storage.read, storage.delete):
            with pytest.raises(PayloadMissingError):
                act(name)
        with pytest.raises(PayloadMissingError):
            storage.write(name, spooled, op="op")
    assert server.seen == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # there are threads: so be it
def test_a_forked_child_opens_connections_of_its_own(server: Proxy, storage: S3Storage) -> None:
    server.plan(answer(404), times=99)
    assert storage.size(NAME) is None
    child = os.fork()
    if child == 0:
        try:
            fine = all(storage.size(NAME) is None for _ in range(3))
        finally:
            os._exit(0 if fine else 1)
    assert all(storage.size(NAME) is None for _ in range(3))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # there are threads: so be it
def test_a_child_is_not_held_up_by_a_thread_of_its_parent(
    server: Proxy, storage: S3Storage
) -> None:
    """Forked while another thread held the locks, which nobody gives back in the child."""
    server.plan(answer(404), times=99)
    transport = storage._transport
    with transport._lock, transport._access._lock:
        child = os.fork()
        if child == 0:
            fine = False
            try:
                signal.alarm(30)
                fine = storage.size(NAME) is None
            finally:
                os._exit(0 if fine else 1)
    assert os.waitpid(child, 0)[1] == 0
