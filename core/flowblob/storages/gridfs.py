"""Payloads in GridFS: chunks first, then the document that makes them a file.

The layout is that of the GridFS specification (`blobs.files`, `blobs.chunks`), so that MongoDB's
own tools read it: https://github.com/mongodb/specifications/blob/master/source/gridfs/gridfs-spec.md
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from flowblob.abc import Storage
from flowblob.drafts import Spooled
from flowblob.errors import ConflictError, PayloadMissingError, StorageUnavailableError
from flowblob.mongodb import Database, Document, Table, Taken
from flowblob.storages.spools import Spools, shared_root

_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.[0-9a-f-]{32,36}\Z")
_OWNER = "owner"
_DAMAGED = "damaged"

#: The driver's default of 255 KiB costs five times the client's time of this; a document holds 16.
CHUNK = 1 << 20
#: Chunks in one command, which must end in its time on a slow line as well.
_WINDOW = 8
_PAGE = 1000


class GridFSStorage(Storage):
    """Payload files in one database of a MongoDB server.

    Args:
        url: `gridfs+mongodb://` or `gridfs+mongodb+srv://`, with the name of a database.
    """

    def __init__(self, url: str) -> None:
        self._given = url
        self._database = Database(url.removeprefix("gridfs+"), unavailable=StorageUnavailableError)
        self._files = self._database.table("blobs.files")
        self._chunks = self._database.table("blobs.chunks")
        self._spools: Spools | None = None
        self._is_indexed = False

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self._given,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        return f"gridfs+{self._database.masked}"

    def spool_folder(self) -> Path:
        try:
            return self._spool().folder()
        except OSError as error:
            raise _no_spool(error) from error

    def sweep_spool(self) -> int:
        try:
            return self._spool().sweep()
        except OSError as error:
            raise _no_spool(error) from error

    def _spool(self) -> Spools:
        if self._spools is None:
            self._spools = Spools(shared_root())
        return self._spools

    def claim(self, store_id: str) -> None:
        owner = self._database.table("blobs.owner")
        owner.insert_absent({"_id": _OWNER, "store_id": store_id})
        found = owner.one({"_id": _OWNER})
        if found is None or found["store_id"] != store_id:
            raise ConflictError(
                f"The payloads in {self.url} are of store {found and found['store_id']}, "
                f"not of {store_id}",
                hint="Open the catalog with the storage it was made with",
            )

    def write(self, name: str, spooled: Spooled, *, op: str) -> None:
        _check(name)
        self._index()
        standing = self._files.one({"_id": name})
        if standing is not None:
            if standing["length"] == spooled.size and self._is_whole(standing):
                return  # the first of two sendings
            self.delete(name)  # this put's own name, with less than it has
        count = sum(self._write_chunks(name, spooled))
        # From here on there is a file: a writer that died before leaves chunks that nobody sees.
        self._files.put(
            {"_id": name},
            {
                "$setOnInsert": {
                    "length": spooled.size,
                    "chunkSize": CHUNK,
                    "filename": name,
                    "metadata": {"op": op},
                },
                "$currentDate": {"uploadDate": True},
            },
        )
        if self._chunks.matching({"files_id": name}) != count:
            raise StorageUnavailableError(
                f"{self.url} lost parts of {name} while they were written",
                hint="Nothing was stored; put again",
            )

    def _write_chunks(self, name: str, spooled: Spooled) -> Iterator[int]:
        """Write the chunks, some at a time; yields how many. A repeated write replaces them."""
        blocks = enumerate(_blocks(spooled))
        while batch := list(itertools.islice(blocks, _WINDOW)):
            for number, block in batch[:-1]:
                self._write_chunk(name, number, block)
            self._write_chunk(name, *batch[-1])
            yield len(batch)

    def _write_chunk(self, name: str, number: int, block: bytes) -> None:
        change = {"$set": {"data": block}, "$currentDate": {"at": True}}
        try:
            self._chunks.put({"files_id": name, "n": number}, change)
        except Taken:  # two sendings met; now it stands
            self._chunks.put({"files_id": name, "n": number}, change)

    def _is_whole(self, file: Document) -> bool:
        count = -(-file["length"] // file["chunkSize"])
        return bool(self._chunks.matching({"files_id": file["_id"]}) == count)

    def size(self, name: str) -> int | None:
        if not _NAME.match(name):
            return None
        found = self._files.one({"_id": name}, {"length": 1})
        return None if found is None else int(found["length"])

    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        blocks = [block for _, block in self._range(name, offset, length)]
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def read_into(self, name: str, buffer: memoryview, offset: int = 0) -> int:
        done = 0
        for done, block in self._range(name, offset, len(buffer)):
            buffer[done : done + len(block)] = block
            done += len(block)  # noqa: PLW2901 - what stands when the last one is in
        return done

    def _range(self, name: str, offset: int, length: int) -> Iterator[tuple[int, bytes]]:
        """Yield a range in pieces, each with its place in the range; only its chunks are fetched.

        Raises:
            PayloadMissingError: Nothing stands under this name, or not all of it.
        """
        _check(name)
        file = self._files.one({"_id": name})
        if file is None:
            raise self._missing(name)
        end = file["length"] if length < 0 else min(offset + length, file["length"])
        if offset >= end:
            return
        size = file["chunkSize"]
        for number, block in self._read_chunks(file, offset // size, (end - 1) // size + 1):
            start = number * size
            yield max(start - offset, 0), block[max(offset - start, 0) : end - start]

    def _read_chunks(self, file: Document, first: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes of some chunks, each as long as it must be.

        Raises:
            PayloadMissingError: One is missing or short.
        """
        size, whole = file["chunkSize"], file["length"]
        for start in range(first, stop, _WINDOW):
            numbers = range(start, min(start + _WINDOW, stop))
            found = self._chunks.many(
                {"files_id": file["_id"], "n": {"$gte": start, "$lt": numbers.stop}},
                {"data": 1},
                sort=[("n", 1)],
            )
            lengths = [min(size, whole - number * size) for number in numbers]
            if [len(chunk["data"]) for chunk in found] != lengths:
                raise self._missing(file["_id"])
            for number, chunk in zip(numbers, found, strict=True):
                yield number, bytes(chunk["data"])

    def delete(self, name: str) -> None:
        # The file first, so that nobody sees it without its chunks. Those also where it is gone:
        # a collector may have died between the two, or the writer before it made a file.
        self._files.delete({"_id": name})
        self._chunks.delete_all({"files_id": name})

    def set_aside(self, name: str) -> str:
        file = self._files.one({"_id": name})
        if file is None:
            return ""
        place = f"{_DAMAGED}/{name.partition('/')[2]}"
        # The new file first: killed anywhere here, the bytes belong to one that a tool can read.
        self._files.insert_absent({**file, "_id": place, "filename": place})
        self._chunks.update_all({"files_id": name}, {"$set": {"files_id": place}})
        self._files.delete({"_id": name})
        return f"{self.url}#{place}"

    def names(self) -> Iterator[tuple[str, int, datetime]]:
        for file in _pages(self._files, "_id", {}):
            if _NAME.match(file["_id"]):
                yield file["_id"], int(file["length"]), file["uploadDate"].astimezone(UTC)
        # What a dead writer left looks like a payload that nobody has a record of.
        for chunk in _pages(self._chunks, "files_id", {"n": 0}):
            name = chunk["files_id"]
            if _NAME.match(name) and self._files.one({"_id": name}, {"_id": 1}) is None:
                yield name, 0, chunk["at"].astimezone(UTC)

    def close(self) -> None:
        self._database.close()
        if self._spools is not None:
            self._spools.close()

    def _index(self) -> None:
        if not self._is_indexed:
            self._chunks.index([([("files_id", 1), ("n", 1)], {"unique": True})])
            self._is_indexed = True

    def _missing(self, name: str) -> PayloadMissingError:
        return PayloadMissingError(
            f"The payload {name} is gone from {self.url}", hint="Store the value again to heal it"
        )


def _no_spool(error: OSError) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"The temporary folder failed: {error.strerror or error}",
        hint="Check space and permissions, or set TMPDIR to another folder",
    )


def _pages(table: Table, field: str, where: Document) -> Iterator[Document]:
    """Yield all documents in order of a field, without their data."""
    after: Any = ""
    while page := table.many(
        {**where, field: {"$gt": after}}, {"data": 0}, sort=[(field, 1)], limit=_PAGE
    ):
        yield from page
        after = page[-1][field]


def _check(name: str) -> None:
    # Names come from the catalog, but a forged catalog must not reach other files.
    if not _NAME.match(name):
        raise PayloadMissingError(f"{name!r} is no name of a payload")


def _blocks(spooled: Spooled) -> Iterator[bytes]:
    if spooled.path is None:
        data = spooled.data or b""
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]
        return
    source: BinaryIO
    with spooled.path.open("rb") as source:
        while block := source.read(CHUNK):
            yield block
