"""Signatures against botocore's own signer."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Theirs
from hypothesis import given
from hypothesis import strategies as st

from flowblob.storages.s3.location import quoted
from flowblob.storages.s3.signing import EMPTY, Credentials, Signer, query_text

NOW = datetime(2026, 11, 21, 12, 30, 59, tzinfo=UTC)
DIGEST = "ab" * 32
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


class _Known(S3SigV4Auth):
    """Theirs hashes the body at signing; ours is told."""

    def payload(self, request: AWSRequest) -> str:
        return DIGEST


def _theirs(method: str, path: str, query: str, headers: dict[str, str], token: str) -> str:
    credentials = Theirs("AKIA", "secret/key", token or None)
    url = f"http://host:9000{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method, url, headers=dict(headers))
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    signer = _Known(credentials, "s3", "eu-west-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda *_: NOW.replace(tzinfo=None))
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@given(
    st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    TEXT,
    st.lists(st.tuples(st.sampled_from(["uploads", "partNumber", "prefix"]), TEXT), max_size=2),
    st.sampled_from(["", "session+token/=="]),
)
def test_a_signature_is_the_one_of_botocore(
    method: str, key: str, query: list[tuple[str, str]], token: str
) -> None:
    path = f"/bucket/{quoted(key)}"
    headers = {"host": "host:9000", "x-amz-meta-flowblob-op": "a  b", "range": "bytes=0-9"}
    ours = Signer("eu-west-1").headers(
        method,
        path,
        query,
        headers,
        payload=DIGEST,
        credentials=Credentials("AKIA", "secret/key", token),
        now=NOW,
    )
    assert ours["authorization"] == _theirs(method, path, query_text(query), headers, token)


def test_a_link_is_the_one_of_botocore() -> None:
    ours = Signer("eu-west-1").link(
        "GET",
        "/bucket/a%20b",
        "host:9000",
        credentials=Credentials("AKIA", "secret/key", "token"),
        now=NOW,
        seconds=60,
    )
    request = AWSRequest("GET", "http://host:9000/bucket/a%20b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda *_: NOW.replace(tzinfo=None))
        S3SigV4QueryAuth(
            Theirs("AKIA", "secret/key", "token"), "s3", "eu-west-1", expires=60
        ).add_auth(request)
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(request.url).query)


def test_another_day_secret_or_token_signs_anew() -> None:
    signer = Signer("eu-west-1")

    def sign(now: datetime, secret: str, token: str = "") -> str:
        return signer.headers(
            "GET", "/b/k", (), {"host": "h"},
            payload=EMPTY, credentials=Credentials("A", secret, token), now=now,
        )["authorization"]  # fmt: skip

    signatures = [
        sign(NOW, "one"),
        sign(NOW, "two"),
        sign(NOW.replace(day=22), "two"),
        sign(NOW, "two", "token"),
    ]
    assert len({re.sub(".*Signature=", "", text) for text in signatures}) == 4
    assert sign(NOW, "one") == signatures[0]
