"""A bucket on the S3 server that FLOWBLOB_TEST_S3_URL names, and a proxy before it."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.session import Session

from flowblob.drafts import Spooled, physical_name
from flowblob.payload import xxh3
from flowblob.storages.s3 import S3Storage, transport

sys.path.insert(0, str(Path(__file__).parent))

from buckets import Bucket, Line, Make
from injecting import Proxy

NEEDED = ("URL", "KEY", "SECRET")


@cache
def _session() -> Session:
    """One for all: each reads the description of S3 again, a tenth of a second of CPU."""
    return Session()


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    values = [os.environ.get(f"FLOWBLOB_TEST_S3_{name}", "") for name in NEEDED]
    if not all(values):
        pytest.skip('FLOWBLOB_TEST_S3_URL is not set; eval "$(tests/servers/servers.py up)"')
    endpoint, key, secret = values
    client = _session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}),
    )
    made = Bucket(f"flowblob-test-{secrets.token_hex(6)}", endpoint, key, secret, client)
    client.create_bucket(Bucket=made.name)
    yield made
    for page in client.get_paginator("list_object_versions").paginate(Bucket=made.name):
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        named = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        if named:
            client.delete_objects(Bucket=made.name, Delete={"Objects": named, "Quiet": True})
    client.delete_bucket(Bucket=made.name)
    client.close()


@pytest.fixture
def storage(bucket: Bucket) -> Iterator[S3Storage]:
    """The bucket without a proxy."""
    made = S3Storage(bucket.url())
    yield made
    made.close()


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    with Proxy(bucket.endpoint) as made:
        yield made


@pytest.fixture
def shaky(bucket: Bucket, proxy: Proxy) -> Iterator[S3Storage]:
    """The bucket behind the proxy."""
    made = S3Storage(bucket.url(proxy.url))
    yield made
    made.close()


@pytest.fixture
def line(bucket: Bucket, proxy: Proxy, shaky: S3Storage) -> Line:
    return Line(bucket, proxy, shaky)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up after four seconds; one without an answer."""
    defaults = transport.Patience.__init__.__defaults__
    assert defaults == (transport.PATIENCE,)
    monkeypatch.setattr(transport.Patience.__init__, "__defaults__", (4.0,))
    monkeypatch.setattr(transport, "_ANSWER", 1.0)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a payload and a name for it: in memory, or in a file as large ones are."""

    def payload(data: bytes, *, file: bool = False) -> tuple[str, Spooled]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        checksum, path = xxh3(data).hexdigest(), tmp_path / uuid.uuid4().hex
        if file:
            path.write_bytes(data)
        return physical_name(digest, str(uuid.uuid4())), Spooled(
            digest,
            checksum,
            len(data),
            data=None if file else data,
            path=path if file else None,
        )

    return payload


@pytest.fixture
def op() -> str:
    return uuid.uuid4().hex
