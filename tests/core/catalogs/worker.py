"""What the tests of several processes run: `worker.py <verb> <catalog file or URL> …`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from flowblob.catalogs.sql import SqlCatalog
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.checks import new_id
from flowblob.drafts import Draft, EntryDraft, Note, Part
from flowblob.engines import open_catalog
from flowblob.errors import (
    CatalogUnavailableError,
    ReservationLostError,
    VersionConflictError,
)
from flowblob.model import CacheKey, Ref

SECOND = timedelta(seconds=1)


def draft(key: str, data: bytes, **fields: Any) -> Draft:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    part = Part("", digest, len(data), "c" * 32, data=data)
    return Draft(new_id(), key, (part,), "", "", "bytes", **fields)


def wait_for_start() -> None:
    """Let all workers begin together: the test writes one line when they are ready."""
    print("ready", flush=True)
    sys.stdin.readline()


def put(catalog: SqlCatalog, key: str, count: str) -> None:
    """Append versions and say after each which number was acknowledged, and how long it took."""
    wait_for_start()
    for number in range(int(count)):
        began = time.perf_counter()
        blob = catalog.commit(draft(key, f"{os.getpid()} {number}".encode().ljust(1024))).blob
        took = time.perf_counter() - began
        print(json.dumps([blob.version, blob.id, took]), flush=True)


def persist(catalog: SqlCatalog, key: str, count: str) -> None:
    """Append versions to a server that dies now and then, each with the same op until it is in."""
    wait_for_start()
    for number in range(int(count)):
        data = f"{os.getpid()} {number}".encode()
        change = draft(key, data, partitions={"n": "odd"} if number % 2 else {})
        while True:
            try:
                blob = catalog.commit(change).blob
                break
            except CatalogUnavailableError as error:
                if not error.retryable:
                    raise
                time.sleep(0.05)
        print(json.dumps([blob.version, blob.id]), flush=True)


def tally(catalog: SqlCatalog, blob_id: str, count: str) -> None:
    """Tag and count on a server that dies now and then, each time until it is done."""
    wait_for_start()
    note = Note(catalog.now(), name="tally")
    for number in range(int(count)):
        mark = f"{os.getpid()} {number}"
        for verb in (lambda m=mark: catalog.tag(blob_id, {"n": m}), lambda: catalog.record([note])):
            while True:
                try:
                    verb()
                    break
                except CatalogUnavailableError as error:
                    if not error.retryable:
                        raise
                    time.sleep(0.05)


def create(catalog: SqlCatalog) -> None:
    """Open a store that may not exist yet."""
    wait_for_start()
    print(json.dumps(catalog.store_id), flush=True)


def count(catalog: SqlCatalog, rounds: str) -> None:
    """Add one to a number by compare-and-swap."""
    wait_for_start()
    for _ in range(int(rounds)):
        while True:
            found = catalog.find(Ref("counter"), payload=True)
            assert found is not None
            assert found.payload is not None
            assert found.payload.data is not None
            number = int(found.payload.data) + 1
            change = draft("counter", str(number).encode(), expect_version=found.blob.version)
            try:
                catalog.commit(change)
                break
            except VersionConflictError:
                continue


def promote(catalog: SqlCatalog, rounds: str) -> None:
    """Move an alias one version on, so often, each move by compare-and-swap."""
    wait_for_start()
    for _ in range(int(rounds)):
        while True:
            found = catalog.find(Ref("models/churn", alias="prod"))
            assert found is not None
            at = found.blob.version
            target = catalog.find(Ref("models/churn", version=at + 1))
            assert target is not None
            try:
                catalog.promote(target.blob, "prod", expect=at)
                break
            except VersionConflictError:
                continue


def compute(catalog: SqlCatalog, name: str) -> None:
    """Compute one cache key unless somebody else does, and say who did."""
    owner, key = str(os.getpid()), CacheKey(f"fb1:{name}", name, ())
    wait_for_start()
    while True:
        got = catalog.acquire(key.digest, owner, ttl=30 * SECOND, max_hold=60 * SECOND)
        if got.entry is not None:
            print(json.dumps(["hit", got.entry.blob.id]), flush=True)
            return
        if got.reservation is not None:
            entry = EntryDraft(key, got.reservation)
            try:
                blob = catalog.commit(draft(name, owner.encode(), entry=entry)).blob
            except ReservationLostError:
                continue
            print(json.dumps(["computed", blob.id]), flush=True)
            return
        time.sleep(0.002)


def keep_open(catalog: SqlCatalog) -> None:
    """Keep the files of an open store where they are."""
    assert catalog.store_id
    wait_for_start()


def stop_inside(catalog: SqlCatalog) -> None:
    """Stand still in the middle of a write transaction, the lock held."""

    def step(connection: Any) -> None:
        connection.execute("INSERT INTO outcome SELECT 'torn', seq, 0 FROM version LIMIT 1")
        wait_for_start()

    catalog._write(step)


def main(verb: str, path: str, *arguments: str) -> None:
    catalog = open_catalog(path) if "://" in path else SqliteCatalog(Path(path))
    try:
        globals()[verb](catalog, *arguments)
    finally:
        catalog.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
