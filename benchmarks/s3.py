"""Puts and gets of S3Storage beside boto3, s3transfer and obstore, in one run.

Against a sink that swallows what it is sent, which shows what a client costs, and against MinIO
where FLOWBLOB_TEST_S3_URL names one (`tests/servers/servers.py up minio`), which shows what is left
of that before a real server.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from measuring import Goal, Side, compare, scratch

from flowblob.drafts import Spooled, physical_name
from flowblob.storages.s3 import S3Storage

SIZES = {"1 KB": 1000, "1 MB": 1 << 20, "128 MB": 128 << 20, "256 MB": 256 << 20}
#: Rounds and repetitions of each size.
EFFORT = {"1 KB": (9, 60), "1 MB": (9, 15), "128 MB": (5, 1), "256 MB": (5, 1)}
BLOCK = 1 << 20


# ------------------------------------------------------------------ the sink


def sink(port: int) -> None:
    """Serve S3 without keeping anything: a put is read and forgotten, a get is made of zeros."""
    listener = socket.create_server(("127.0.0.1", port), backlog=64)
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(client,), daemon=True).start()


def _serve(client: socket.socket) -> None:
    room, zeros, pending = memoryview(bytearray(BLOCK)), bytes(BLOCK), b""
    while True:
        while b"\r\n\r\n" not in pending:
            if not (block := client.recv(1 << 16)):
                return
            pending += block
        head, _, rest = pending.partition(b"\r\n\r\n")
        length = int(_found(rb"content-length: *(\d+)", head) or 0)
        if b"100-continue" in head.lower():
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        pending, left = rest[length:], length - len(rest)
        while left > 0:
            left -= client.recv_into(room[: min(left, BLOCK)])
        body = _answer(client, head)
        while body > 0:
            client.sendall(zeros[: min(body, BLOCK)])
            body -= BLOCK


def _answer(client: socket.socket, head: bytes) -> int:
    """Send the head of an answer; returns how many bytes of body are to follow."""
    method, target = head.split(b" ", 2)[:2]
    size = int(_found(rb"/size-(\d+)", target) or 0)
    text = b""
    lines = [b"HTTP/1.1 200 OK", b'ETag: "0"', b"x-amz-request-id: 0"]
    if method == b"POST":
        kind = b"InitiateMultipartUploadResult" if b"uploads" in target else b"Done"
        text = b"<%b><UploadId>1</UploadId><ETag>0</ETag></%b>" % (kind, kind)
    if span := re.search(rb"range: *bytes=(\d+)-(\d*)", head, re.I):
        start, end = int(span[1]), min(int(span[2] or size), size - 1)
        lines[0] = b"HTTP/1.1 206 Partial Content"
        lines.append(b"Content-Range: bytes %d-%d/%d" % (start, end, size))
        length = end - start + 1
    else:
        length = size if method in (b"GET", b"HEAD") else len(text)
    lines.append(b"Last-Modified: Sat, 21 Nov 2026 12:00:00 GMT")
    lines.append(b"Content-Length: %d" % length)
    client.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + text)
    return length if method == b"GET" else 0


def _found(pattern: bytes, text: bytes) -> bytes:
    match = re.search(pattern, text, re.I)
    return match[1] if match else b""


@contextmanager
def running_sink() -> Iterator[str]:
    """Run the sink in a process of its own, as any server is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, "sink", str(port)])
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------------ the sides


class Bench:
    """One size against one server."""

    def __init__(self, server: str, endpoint: str, login: tuple[str, str], label: str) -> None:
        import boto3
        import obstore.store

        self.server, self.label, self.size = server, label, SIZES[label]
        self.rounds, self.number = EFFORT[label]
        key, secret = login
        self.bucket = f"flowblob-bench-{secrets.token_hex(4)}"
        self.ours = S3Storage(f"s3://{key}:{secret}@{self.bucket}/x?endpoint={endpoint}")
        named = {"aws_access_key_id": key, "aws_secret_access_key": secret}
        self.boto = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **named)
        self.obstore = obstore.store.S3Store(
            self.bucket,
            endpoint=endpoint,
            access_key_id=key,
            secret_access_key=secret,
            region="us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": timedelta(minutes=5)},
        )
        self.data = os.urandom(min(self.size, BLOCK)) * max(1, self.size // BLOCK)
        self.digest = f"sha256:{hashlib.sha256(self.data).hexdigest()}"
        self.read_from = f"size-{self.size}"

    def __enter__(self) -> Bench:
        if self.server != "the sink":
            self.boto.create_bucket(Bucket=self.bucket)
        return self

    def __exit__(self, *_: object) -> None:
        if self.server != "the sink":
            self.clean()
            self.boto.delete_bucket(Bucket=self.bucket)

    def clean(self) -> None:
        if self.server != "the sink":
            for page in self.boto.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
                for found in page.get("Contents", ()):
                    self.boto.delete_object(Bucket=self.bucket, Key=found["Key"])

    # ------------------------------------------------------------ puts

    def spool(self, folder: Path) -> None:
        """Do what comes before the storage: hash, and keep what is large in a file."""
        path = folder / "spooled"
        if self.size > BLOCK:
            path.write_bytes(self.data)
            self.spooled = Spooled(self.digest, "", self.size, path=path)
        else:
            self.spooled = Spooled(self.digest, "", self.size, data=self.data)

    def put(self) -> None:
        name = physical_name(self.digest, str(uuid.uuid4()))
        self.ours.write(name, self.spooled, op="op")

    def hash_and_put(self) -> None:
        hashlib.sha256(self.data).hexdigest()
        self.put()

    def boto_put(self) -> None:
        self.boto.put_object(Bucket=self.bucket, Key=uuid.uuid4().hex, Body=self.data)

    def boto_upload(self) -> None:
        self.boto.upload_fileobj(io.BytesIO(self.data), self.bucket, uuid.uuid4().hex)

    def obstore_put(self) -> None:
        import obstore

        obstore.put(self.obstore, uuid.uuid4().hex, self.data)

    def compare_puts(self) -> None:
        def side(name: str, run: Any) -> Side:
            return Side(name, run, self.number, settle=self.clean)

        goal = 1 / 3 if self.server == "the sink" else 1 / 1.3
        compare(
            f"put of {self.label} to {self.server}",
            side("S3Storage.write, hash known", self.put),
            side("the same and its sha256", self.hash_and_put),
            side("boto3 put_object", self.boto_put),
            side("s3transfer upload_fileobj", self.boto_upload),
            side("obstore.put", self.obstore_put),
            rounds=self.rounds,
            goal=Goal(ratio=goal, peer="boto3 put_object"),
        )

    # ------------------------------------------------------------ gets

    def prepare_gets(self) -> None:
        self.name = physical_name(self.digest, str(uuid.uuid4()))
        if self.server == "the sink":
            # The sink gives as many zeros as the key says, wherever it stands.
            self.ours = S3Storage(self.ours._location.url.replace("/x?", f"/{self.read_from}?"))
        else:
            self.ours.write(self.name, self.spooled, op="op")
            self.boto.put_object(Bucket=self.bucket, Key=self.read_from, Body=self.data)
        self.buffer = memoryview(bytearray(self.size))

    def get(self) -> None:
        if self.size > BLOCK:
            assert self.ours.read_into(self.name, self.buffer) == self.size
        else:
            assert len(self.ours.read(self.name, 0, self.size)) == self.size

    def boto_get(self) -> None:
        found = self.boto.get_object(Bucket=self.bucket, Key=self.read_from)
        assert len(found["Body"].read()) == self.size

    def boto_download(self) -> None:
        out = io.BytesIO()
        self.boto.download_fileobj(self.bucket, self.read_from, out)
        assert len(out.getbuffer()) == self.size

    def obstore_get(self) -> None:
        import obstore

        assert len(obstore.get(self.obstore, self.read_from).bytes()) == self.size

    def compare_gets(self) -> None:
        self.prepare_gets()
        compare(
            f"get of {self.label} from {self.server}",
            Side("S3Storage.read", self.get, self.number),
            Side("boto3 get_object().read()", self.boto_get, self.number),
            Side("s3transfer download_fileobj", self.boto_download, self.number),
            Side("obstore.get", self.obstore_get, self.number),
            rounds=self.rounds,
        )


def main() -> None:
    with running_sink() as endpoint, scratch() as folder:
        servers = [("the sink", endpoint, ("key", "secret"))]
        if url := os.environ.get("FLOWBLOB_TEST_S3_URL"):
            login = os.environ["FLOWBLOB_TEST_S3_KEY"], os.environ["FLOWBLOB_TEST_S3_SECRET"]
            servers.append(("MinIO", url, login))
        else:
            print("FLOWBLOB_TEST_S3_URL is not set: no real server is measured")
        for server, url, login in servers:
            for label in SIZES:
                with Bench(server, url, login, label) as bench:
                    bench.spool(folder)
                    bench.compare_puts()
                    bench.compare_gets()


if __name__ == "__main__":
    if sys.argv[1:2] == ["sink"]:
        sink(int(sys.argv[2]))
    else:
        main()
