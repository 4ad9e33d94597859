"""A store on MongoDB: put and get of 1 KB, 1 MB, 32 MB, beside plain pymongo and GridFSBucket."""

from __future__ import annotations

import itertools
import os
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import gridfs
import pymongo
from measuring import Side, compare

import flowblob

VARIABLE = "FLOWBLOB_TEST_MONGO_URL"
SIZES = {"1 KB": 1000, "1 MB": 1_000_000, "32 MB": 32_000_000}
#: Above this, a payload goes to GridFS.
INLINE = 32 << 10


class Plain:
    """A put and a get by hand, without links, history, deduplication or checks."""

    def __init__(self, database: Any) -> None:
        self.rows = database["plain"]
        # As the store has them: acknowledged by the majority, in the journal.
        options = {"write_concern": pymongo.WriteConcern("majority", j=True)}
        self.rows = self.rows.with_options(**options)
        self.rows.create_index([("name", 1), ("n", 1)], unique=True)
        self.bucket = gridfs.GridFSBucket(database, "plain", chunk_size_bytes=1 << 20, **options)

    def insert(self, data: bytes) -> None:
        """Write one document in one command: the floor under any put."""
        self.rows.insert_one({"name": uuid.uuid4().hex, "n": 0, "data": data})

    def put(self, data: bytes) -> None:
        """Give a number by compare-and-swap, and write the document."""
        newest = self.rows.find_one({"name": "a"}, {"n": 1}, sort=[("n", -1)])
        number = newest["n"] + 1 if newest else 0
        if len(data) > INLINE:
            held: Any = {"file": self.bucket.upload_from_stream("a", data)}
        else:
            held = {"data": data}
        self.rows.insert_one({"name": "a", "n": number, **held})

    def clear(self) -> None:
        """Keep the newest only: the server of the tests has everything in memory."""
        *older, _ = self.rows.find({"name": "a"}, {"file": 1}, sort=[("n", 1)]) or [None]
        for row in older:
            if "file" in row:
                self.bucket.delete(row["file"])
            self.rows.delete_one({"_id": row["_id"]})

    def get(self) -> bytes:
        newest = self.rows.find_one({"name": "a"}, sort=[("n", -1)])
        if "data" in newest:
            return bytes(newest["data"])
        return bytes(self.bucket.open_download_stream(newest["file"]).read())


@contextmanager
def databases(url: str) -> Iterator[tuple[str, Any]]:
    """Yield the URL of an empty store and an empty database, both dropped at the end."""
    name = f"flowblob_bench_{secrets.token_hex(4)}"
    whole = urlsplit(url)._replace(path=f"/{name}").geturl()
    with pymongo.MongoClient(url, retryWrites=False) as client:
        try:
            joined = "&" if "?" in whole else "?"
            yield f"{whole}{joined}storage=gridfs", client[f"{name}_plain"]
        finally:
            for each in (name, f"{name}_plain"):
                client.drop_database(each)


def measure(label: str, size: int, store: flowblob.Store, plain: Plain) -> None:
    """Compare put and get of one size."""
    noise, numbers = os.urandom(size), itertools.count()
    number = max(1, min(30, 3_000_000 // size))

    def fresh() -> bytes:
        return next(numbers).to_bytes(8, "big") + noise[8:]

    def clear() -> None:
        for blob in store.versions("a")[1:]:
            store.delete(blob)
        store.gc(grace="1ms", dry_run=False, force=True)

    title = "pymongo, two commands and GridFS"
    peers = [Side(title, lambda: plain.put(fresh()), number=number, settle=plain.clear)]
    if size <= INLINE:
        peers.append(Side("pymongo, one bare insert", lambda: plain.insert(fresh()), number))
    ours = Side("flowblob", lambda: store.put("a", fresh()), number=number, settle=clear)
    compare(f"put of {label}", ours, *peers)
    compare(
        f"get of {label}, checked",
        Side("flowblob", lambda: store.get("a"), number=number),
        Side("pymongo, newest and GridFS", plain.get, number=number),
    )


def main() -> None:
    url = os.environ.get(VARIABLE)
    if not url:
        print(f'{VARIABLE} is not set; eval "$(tests/servers/servers.py up mongo)"')
        return
    for label, size in SIZES.items():
        with databases(url) as (ours, theirs), flowblob.Store(ours) as store:
            measure(label, size, store, Plain(theirs))


if __name__ == "__main__":
    main()
