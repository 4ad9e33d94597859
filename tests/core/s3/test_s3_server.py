"""S3Storage before a real server: what is checked, kept and refused."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import uuid
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from buckets import Bucket, Make
from injecting import Proxy

from flowblob import Dir, File, Store, cached
from flowblob.errors import (
    AuthError,
    ConflictError,
    FlowblobError,
    NotFoundError,
    PayloadCorruptError,
    PayloadMissingError,
    StorageUnavailableError,
)
from flowblob.storages.s3 import S3Storage
from flowblob.storages.s3.upload import PART, SINGLE
from flowblob.store import using

pytestmark = pytest.mark.services

LARGE = SINGLE + PART + 12_345  # six parts, the last one short


@pytest.fixture(scope="session")
def large() -> bytes:
    return os.urandom(1 << 20) * (LARGE >> 20) + os.urandom(LARGE % (1 << 20))


# ------------------------------------------------------------------ integrity


def test_the_server_keeps_the_sha256_and_the_op(
    bucket: Bucket, storage: S3Storage, make: Make, op: str
) -> None:
    name, spooled = make(b"content")
    storage.write(name, spooled, op=op)
    head = bucket.client.head_object(Bucket=bucket.name, Key=f"flow/{name}", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == b64encode(hashlib.sha256(b"content").digest()).decode()
    assert head["Metadata"] == {"flowblob-op": op}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("extras", [True, False])
def test_the_server_refuses_other_bytes_than_were_named(
    bucket: Bucket, storage: S3Storage, make: Make, op: str, extras: bool
) -> None:
    """The signature alone is enough: not every vendor knows checksums."""
    name, spooled = make(b"right")
    storage._transport.takes_extras = extras
    with pytest.raises(StorageUnavailableError, match=r"(?i)sha256|checksum"):
        storage.write(name, replace(spooled, data=b"wrong"), op=op)
    assert bucket.objects() == {}


def test_a_payload_in_parts_has_a_checksum_for_each(
    bucket: Bucket, storage: S3Storage, make: Make, op: str, large: bytes
) -> None:
    name, spooled = make(large, file=True)
    storage.write(name, spooled, op=op)
    assert storage.size(name) == LARGE
    assert (
        hashlib.sha256(bucket.objects()[f"flow/{name}"]).digest() == hashlib.sha256(large).digest()
    )
    parts = bucket.client.get_object_attributes(
        Bucket=bucket.name, Key=f"flow/{name}", ObjectAttributes=["ObjectParts"]
    )["ObjectParts"]["Parts"]
    expected = [large[at : at + PART] for at in range(0, LARGE, PART)]
    assert [part["ChecksumSHA256"] for part in parts] == [
        b64encode(hashlib.sha256(part).digest()).decode() for part in expected
    ]
    assert bucket.uploads(name) == []
    assert storage.read(name) == large
    assert storage.read(name, PART - 3, 6) == large[PART - 3 : PART + 3]


def test_a_large_payload_that_is_in_memory_goes_in_parts_too(
    storage: S3Storage, make: Make, op: str, large: bytes
) -> None:
    name, spooled = make(large)
    storage.write(name, spooled, op=op)
    assert storage.read(name) == large


def test_a_wrong_key_and_a_wrong_secret_are_told_apart(bucket: Bucket) -> None:
    for key, secret, says in (
        ("nobody", bucket.secret, "unknown there"),
        (bucket.key, "wrong", "secret key is wrong"),
    ):
        url = f"s3://{key}:{secret}@{bucket.name}?endpoint={bucket.endpoint}"
        with pytest.raises(AuthError, match=says):
            S3Storage(url).claim("id")


def test_a_bucket_that_is_not_there_is_named(bucket: Bucket) -> None:
    missing = Bucket("flowblob-nowhere", bucket.endpoint, bucket.key, bucket.secret, None)
    with pytest.raises(NotFoundError, match="There is no bucket 'flowblob-nowhere'"):
        S3Storage(missing.url()).claim("id")


# ------------------------------------------------------------------ names


def test_of_stores_that_claim_one_prefix_at_once_one_gets_it(bucket: Bucket) -> None:
    def claim(number: int) -> str:
        try:
            S3Storage(bucket.url()).claim(f"store-{number}")
        except ConflictError:
            return ""
        return f"store-{number}"

    with ThreadPoolExecutor(8) as pool:
        won = [name for name in pool.map(claim, range(8)) if name]
    assert len(won) == 1
    with pytest.raises(ConflictError, match=won[0]):
        S3Storage(bucket.url()).claim("another")
    S3Storage(bucket.url().replace("/flow?", "/elsewhere?")).claim("another")


def test_keys_of_others_under_the_prefix_are_left_alone(
    bucket: Bucket, storage: S3Storage, make: Make
) -> None:
    storage.claim("id")
    foreign = ["flow/notes & more.txt", f"flow/ab/{'0' * 64}", "flowers/x", f"{'a' * 64}.x"]
    for key in foreign:
        bucket.client.put_object(Bucket=bucket.name, Key=key, Body=b"theirs")
    written = {}
    for number in range(5):
        name, spooled = make(b"x" * number)
        storage.write(name, spooled, op=uuid.uuid4().hex)
        written[name] = number
    listed = list(storage.names())
    assert {name: size for name, size, _ in listed} == written
    now = datetime.now(UTC)
    assert all(abs(now - changed) < timedelta(minutes=10) for _, _, changed in listed)
    storage.sweep_spool()
    for name in written:
        storage.delete(name)
    assert set(bucket.objects()) == {*foreign, "flow/flowblob-store-id"}


@pytest.mark.slow
def test_a_listing_of_more_than_a_page_is_complete(bucket: Bucket, storage: S3Storage) -> None:
    names = {f"{n % 256:02x}/{n:064x}.{'0' * 32}" for n in range(1005)}
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda name: bucket.client.put_object(
                    Bucket=bucket.name, Key=f"flow/{name}", Body=b""
                ),
                names,
            )
        )
    assert {name for name, _, _ in storage.names()} == names


def test_a_versioned_bucket_serves_as_well(
    bucket: Bucket, storage: S3Storage, make: Make, op: str
) -> None:
    bucket.client.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    name, spooled = make(b"once")
    storage.write(name, spooled, op=op)
    storage.write(name, spooled, op=op)
    versions = bucket.client.list_object_versions(Bucket=bucket.name)["Versions"]
    assert len(versions) == 1  # the condition spared the second
    storage.delete(name)
    assert storage.size(name) is None
    storage.write(name, spooled, op=op)
    assert storage.read(name) == b"once"


def test_a_proxy_on_the_way_is_gone_through(
    bucket: Bucket, make: Make, op: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    def as_a_proxy_does(request: Any, forward: Any) -> Any:
        head = request.head.replace(f" {bucket.endpoint}/".encode(), b" /", 1)
        assert head != request.head
        return forward(replace(request, head=head))

    proxy.plan(as_a_proxy_does, times=99)
    storage = S3Storage(bucket.url())
    name, spooled = make(b"through")
    storage.write(name, spooled, op=op)
    assert storage.read(name) == b"through"
    assert [request.method for request, _ in proxy.seen] == ["PUT", "HEAD", "GET"]


def test_encryption_and_storage_class_are_asked_for(
    bucket: Bucket, make: Make, op: str, proxy: Proxy
) -> None:
    storage = S3Storage(bucket.url(proxy.url, "&storage_class=REDUCED_REDUNDANCY"))
    name, spooled = make(b"x")
    storage.write(name, spooled, op=op)
    head = bucket.client.head_object(Bucket=bucket.name, Key=f"flow/{name}")
    assert head["StorageClass"] == "REDUCED_REDUNDANCY"
    # MinIO encrypts only where it was given a key service: that the wish reached it is enough.
    encrypted = S3Storage(bucket.url(proxy.url, "&sse=AES256"))
    with pytest.raises(FlowblobError, match=r"NotImplemented|KMS"):
        encrypted.write(*make(b"y"), op=op)
    assert proxy.seen[-1][0].headers["x-amz-server-side-encryption"] == "AES256"


# ------------------------------------------------------------------ links


def _fetch(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_link_gives_one_payload_for_its_time(storage: S3Storage, make: Make, op: str) -> None:
    name, spooled = make(b"shared")
    other, _ = make(b"other")
    storage.write(name, spooled, op=op)
    link = storage.presign(name, expires=timedelta(minutes=1))
    assert _fetch(link) == (200, b"shared")
    assert _fetch(link, "PUT", b"mine")[0] == 403
    assert _fetch(link.replace(name, other))[0] == 403
    put = storage.presign(other, method="PUT", expires=timedelta(minutes=1))
    assert _fetch(put, "PUT", b"theirs")[0] == 200
    assert storage.read(other) == b"theirs"
    short = storage.presign(name, expires=timedelta(seconds=1))
    deadline = time.monotonic() + 300
    while _fetch(short)[0] != 403:
        assert time.monotonic() < deadline
        time.sleep(0.2)


# ------------------------------------------------------------------ the whole store


@pytest.fixture
def store_url(bucket: Bucket, tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/catalog?storage={bucket.url()}"


def test_a_store_keeps_values_files_and_folders(store_url: str, tmp_path: Path) -> None:
    import numpy as np

    array = np.arange(3_000_000)  # 24 MB: more than one range
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "a.bin").write_bytes(b"a" * 100_000)
    with Store(store_url) as store:
        store.put("bytes", b"b" * 100_000)
        store.put("array", array)
        store.put("folder", Dir(tmp_path / "in"))
        store.put("file", {"at": File(tmp_path / "in" / "sub" / "a.bin")})
    with Store(store_url) as store:
        assert store.get("bytes") == b"b" * 100_000
        found = store.get("array", lazy=True).load()
        assert (found == array).all()
        found[0] = 7  # the caller's own
        assert store.get("array")[0] == 0
        assert Path(store.get("file")["at"]).read_bytes() == b"a" * 100_000
        store.download("folder", tmp_path / "out")
        assert (tmp_path / "out" / "sub" / "a.bin").read_bytes() == b"a" * 100_000
        with store.open("array") as stream:
            stream.seek(-8, os.SEEK_END)
            assert stream.read() == array[-1].tobytes()
        for blob in store.ls():
            store.verify(blob)


def test_a_collection_leaves_what_is_used_and_nothing_else(bucket: Bucket, store_url: str) -> None:
    with Store(store_url) as store:
        store.put("kept", b"k" * 100_000)
        store.put("gone", b"g" * 100_000)
        store.delete("gone")
        collected = store.gc(grace="1ms", dry_run=False, force=True)
        assert collected.payloads == 1
        assert store.get("kept") == b"k" * 100_000
    assert sorted(len(data) for data in bucket.objects().values()) == [36, 100_000]


def test_a_value_is_computed_once_by_two_machines(bucket: Bucket, store_url: str) -> None:
    calls = []

    @cached
    def compute(seed: int) -> bytes:
        calls.append(seed)
        return bytes([seed]) * 200_000

    for _ in range(2):
        with Store(store_url) as store, using(store):
            assert compute(3) == b"\x03" * 200_000
    assert calls == [3]


@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "gone"])
@pytest.mark.parametrize("size", [100_000, 40 << 20])
def test_damage_in_the_bucket_is_never_given_out(
    bucket: Bucket, store_url: str, tmp_path: Path, damage: str, size: int
) -> None:
    data = os.urandom(1 << 20) * (size >> 20) or os.urandom(size)
    with Store(store_url) as store:
        store.put("value", data)
        [key] = [key for key, found in bucket.objects().items() if len(found) == size]
        changed = {
            "flipped": data[: size // 2] + bytes([data[size // 2] ^ 1]) + data[size // 2 + 1 :],
            "shorter": data[:-1],
            "longer": data + b"x",
        }
        if damage == "gone":
            bucket.client.delete_object(Bucket=bucket.name, Key=key)
        else:
            bucket.client.put_object(Bucket=bucket.name, Key=key, Body=changed[damage])
        error = PayloadMissingError if damage == "gone" else PayloadCorruptError
        for read in (
            lambda: store.get("value"),
            lambda: store.open("value").read(),
            lambda: store.get("value", mmap=True),
            lambda: store.download("value", tmp_path / "out"),
        ):
            with pytest.raises(error):
                read()
        assert not (tmp_path / "out").exists()
        store.put("value", data, new_version=True)  # heals it
        assert store.get("value@0") == data


class _Endless:
    """A stream of so many bytes that nobody has in memory."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._block = os.urandom(1 << 20)

    def read(self, size: int = -1) -> bytes:
        block = self._block[: min(self._left, size if size >= 0 else 1 << 20)]
        self._left -= len(block)
        return block


def test_a_large_stream_passes_in_constant_memory(
    store_url: str, tmp_path: Path, python: Callable[..., object]
) -> None:
    code = """
        import resource, sys
        sys.path.insert(0, sys.argv[3])
        from test_s3_server import _Endless
        from flowblob import Store
        with Store(sys.argv[1]) as store:
            store.put("warm", b"w" * 1_000_000)
            store.get("warm")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            store.upload("large", _Endless(300 << 20))
            store.download("large", sys.argv[2])
            with store.open("large") as stream:
                while stream.read(1 << 20):
                    pass
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 100 << 10, grown
    """
    python(code, store_url, tmp_path / "out", Path(__file__).parent)
    assert (tmp_path / "out").stat().st_size == 300 << 20
