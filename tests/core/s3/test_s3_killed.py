"""Writers that are killed while their parts are on the way leave nothing that gc forgets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from buckets import Bucket
from injecting import Proxy, Reply

from flowblob import Store
from flowblob.storages.s3 import S3Storage, listing
from flowblob.storages.s3.transport import Transport

pytestmark = pytest.mark.services

WRITER = """
    import sys
    from datetime import timedelta
    import flowblob.writing
    from flowblob import Store
    flowblob.writing.PIN_TTL = timedelta(seconds=1)
    store = Store(sys.argv[1])
    store.put("before", b"b" * 100_000)
    print("begun", flush=True)
    store.put("large", b"x" * (100 << 20), inline=False)
    print("done", flush=True)
"""


@pytest.mark.parametrize("step", ["partNumber=2", "uploadId=[^&]*$"])
def test_parts_of_a_killed_writer_go_with_the_next_collection(
    bucket: Bucket, proxy: Proxy, tmp_path: Path, step: str
) -> None:
    url = f"sqlite://{tmp_path}/catalog?storage={bucket.url(proxy.url)}"
    killed: list[int] = []

    def kill(request: Any, forward: Any) -> Reply:
        os.kill(writer.pid, signal.SIGKILL)
        killed.append(writer.wait())
        return Reply(b"HTTP/1.1 503 X\r\nContent-Length: 0", b"")

    proxy.plan(kill, query=step)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), url],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    printed, _ = writer.communicate()
    assert printed == "begun\n"
    assert killed == [-signal.SIGKILL]
    [name] = {
        request.key.partition("/flow/")[2]
        for request, _ in proxy.seen
        if request.query.startswith("partNumber")
    }
    assert len(bucket.uploads(name)) == 1  # it was there, with its parts
    proxy.rules.clear()
    with Store(url) as store:
        assert not store.exists("large")
        deadline = time.monotonic() + 300
        while bucket.uploads(name):  # until the pin of the dead writer has run out
            store.gc(grace="1ms", dry_run=False, force=True)
            assert time.monotonic() < deadline
        assert store.get("before") == b"b" * 100_000
        store.put("large", b"x" * (100 << 20))  # and its name is free
        assert store.head("large").version == 0


def test_uploads_of_payloads_are_aborted_by_age_and_others_left(
    bucket: Bucket, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = f"ab/{'a' * 64}.{'1' * 32}", "notes.txt"
    for name in (ours, theirs):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=f"flow/{name}")
    find = listing.unfinished

    def find_each(transport: Transport, prefix: str) -> Iterator[listing.Unfinished]:
        """As others list them: MinIO does so for a whole key only."""
        for name in (ours, theirs):
            yield from find(transport, prefix + name)

    monkeypatch.setattr(listing, "unfinished", find_each)
    assert storage.abort_older(timedelta(hours=1)) == 0
    # The date of an answer is in whole seconds, behind the times of uploads.
    assert storage.abort_older(timedelta(seconds=-2)) == 1
    assert bucket.uploads(ours) == []
    assert len(bucket.uploads(theirs)) == 1
    bucket.client.abort_multipart_upload(
        Bucket=bucket.name, Key=f"flow/{theirs}", UploadId=bucket.uploads(theirs)[0]
    )
