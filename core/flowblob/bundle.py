"""A bundle: records and payloads in one plain tar file, as any tar program reads it.

```text
flowblob-bundle.json      {"format": 1, ...}: what this is; first, so that nobody reads on in vain
payloads/ab/ab12…         the bytes of each payload, named by their sha256
manifest.jsonl            one record per line, {"kind": ..., "record": {...}}, as flowblob.portable
                          describes them, in the order in which a store takes them
end.json                  how many there are, and the sha256 of the manifest: nothing is cut off
```

The same store gives the same bytes. The payloads come before the manifest because a version that is
dropped while its payload is read must not be promised.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from flowblob.errors import InvalidInputError, StorageUnavailableError
from flowblob.payload import BLOCK, Progress, xxh3
from flowblob.portable import KINDS, Kind, Portable
from flowblob.vetting import vet

if TYPE_CHECKING:
    from flowblob.arrival import Fetch, Sink

FORMAT = 1
HEAD, MANIFEST, END = "flowblob-bundle.json", "manifest.jsonl", "end.json"
SECTOR = 512
_PAYLOAD = re.compile(r"payloads/([0-9a-f]{2})/(\1[0-9a-f]{62})\Z")
#: Longest small member and longest line: a folder of 100,000 files is a line of 20 MB.
_SMALL = 1 << 16
_LINE = 1 << 27
_PAGE = 500
#: tar programs fill their last record with zeros.
_TRAILER = 1 << 20


def member_name(digest: str) -> str:
    """Return the name of a payload in a bundle."""
    bare = digest.removeprefix("sha256:")
    return f"payloads/{bare[:2]}/{bare}"


def bare_digest(digest: str) -> bytes:
    """Return the 32 bytes of a digest: an index of millions of them must fit into memory."""
    return bytes.fromhex(digest.removeprefix("sha256:"))


def to_line(data: Any) -> bytes:
    """Return a line of JSON, the same for the same data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a payload stands in the file, and what its bytes were found to be."""

    offset: int
    size: int
    checksum: str


class Bundle:
    """A bundle that was read and checked as a whole; an origin for `Mover`.

    Nothing in it is believed before all of it was seen: names, sizes, digests, every field of every
    record, and that they belong together. Nothing is ever unpacked to a path. What it needs of
    memory grows by some hundred bytes with each payload, whatever their size.

    Args:
        path: The file.
        progress: Called with numbers of bytes while it is checked.

    Raises:
        InvalidInputError: It is no bundle, of an unknown format, damaged, cut off or forged.
        StorageUnavailableError: Its disk failed.
    """

    is_foreign = True

    def __init__(self, path: Path, *, progress: Progress | None = None) -> None:
        self._path = path
        self._progress = progress
        self._payloads: dict[bytes, _Place] = {}
        self._manifest = range(0)
        self._starts: dict[str, int] = {}
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise InvalidInputError(f"Cannot read {path}: {error.strerror or error}") from error
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # as an origin ---------------------------------------------------

    def pages(self, kind: Kind) -> Iterator[list[Portable]]:
        """Yield all records of one kind."""
        page: list[Portable] = []
        for _, found, record in self._records(self._starts.get(kind, self._manifest.stop)):
            if found != kind:
                break
            page.append(record)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    def payloads(self, record: Portable) -> Mapping[str, Fetch]:
        """Return how to fetch the payloads of a version, by digest."""
        return {digest: self._fetch(bare_digest(digest)) for _, digest, *_ in record["payloads"]}

    def _fetch(self, bare: bytes) -> Fetch:
        place = self._payloads[bare]

        def fetch(sink: Sink) -> None:
            for block in self._blocks(place.offset, place.size):
                sink.write(block)

        return fetch

    def lives(self, record: Portable) -> bool:
        """Say whether a version is still there: a file does not change."""
        return True

    # checking -------------------------------------------------------

    def _check(self) -> None:
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode):
            self._refuse("it is no file")
        self._size = found.st_size
        members = self._members()
        self._check_head(*next(members, ("", 0, 0)))
        end = None
        for name, offset, size in members:
            if name == MANIFEST and not self._manifest:
                self._manifest = range(offset, offset + size)
            elif name == END and self._manifest and end is None:
                end = self._small(offset, size)
            elif (match := _PAYLOAD.match(name)) and not self._manifest:
                self._check_payload(bytes.fromhex(match[2]), offset, size)
            else:
                self._refuse(f"it holds {name[:80]!r}, or holds it in the wrong place")
        if type(end) is not dict:
            self._refuse("it is cut off")
        hasher = hashlib.sha256()
        for block in self._blocks(self._manifest.start, len(self._manifest)):
            hasher.update(block)
        if end.get("sha256") != hasher.hexdigest() or end.get("payloads") != len(self._payloads):
            self._refuse("its manifest is damaged")
        self._check_records()

    def _check_head(self, name: str, offset: int, size: int) -> None:
        head = self._small(offset, size) if name == HEAD else None
        if type(head) is not dict or "format" not in head:
            self._refuse(f"it does not begin with {HEAD}")
        if head["format"] != FORMAT:
            self._refuse(f"its format is {head['format']!r}, this flowblob knows {FORMAT}")

    def _check_payload(self, bare: bytes, offset: int, size: int) -> None:
        if bare in self._payloads:
            self._refuse(f"it holds the payload {bare.hex()} twice")
        sha256, checksum = hashlib.sha256(), xxh3()
        for block in self._blocks(offset, size):
            sha256.update(block)
            checksum.update(block)
            if self._progress is not None:
                self._progress(len(block))
        if sha256.digest() != bare:
            self._refuse(f"the payload {bare.hex()} is damaged")
        self._payloads[bare] = _Place(offset, size, checksum.hexdigest())

    def _check_records(self) -> None:
        keys: dict[str, str] = {}
        heads: dict[str, int] = {}
        used: set[bytes] = set()
        last = 0
        for offset, kind, record in self._records(self._manifest.start):
            if KINDS.index(kind) < last:
                self._refuse(f"a {kind} record stands in the wrong place")
            last = KINDS.index(kind)
            self._starts.setdefault(kind, offset)
            if kind == "incarnation":
                keys[record["id"]] = record["key"]
            elif kind == "version":
                life = record["incarnation"]
                number = heads.get(life, -1) + 1
                if keys.get(life) != record["key"] or record["version"] != number:
                    self._refuse(f"the version {record['id']} is not the next one of its key")
                heads[life] = number
                used.update(self._check_parts(record))
        if len(used) != len(self._payloads):
            self._refuse("it holds payloads that belong to nothing")

    def _check_parts(self, record: Portable) -> Iterator[bytes]:
        for _, digest, size, checksum in record["payloads"]:
            place = self._payloads.get(bare_digest(digest))
            if place is None or (place.size, place.checksum) != (size, checksum):
                self._refuse(f"it lacks the payload {digest}, or has another one under that name")
            yield bare_digest(digest)

    # reading --------------------------------------------------------

    def _members(self) -> Iterator[tuple[str, int, int]]:
        """Yield (name, offset, size); `tarfile` would read headers of any size into memory."""
        position = 0
        while any(header := self._read(SECTOR, position)):
            try:
                info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
            except (tarfile.HeaderError, ValueError):
                self._refuse("it is no plain tar file, or damaged")
            if info.type != tarfile.REGTYPE or info.linkname:
                self._refuse(f"{info.name[:80]!r} in it is no plain file")
            position += SECTOR
            if info.size < 0 or position + info.size > self._size:
                self._refuse("it is cut off")
            yield info.name, position, info.size
            position += info.size + -info.size % SECTOR
        rest = self._read(_TRAILER + 1, position)
        if len(rest) < 2 * SECTOR:
            self._refuse("it is cut off")
        if len(rest) > _TRAILER or any(rest):
            self._refuse("something stands behind its end")

    def _records(self, start: int) -> Iterator[tuple[int, Kind, Portable]]:
        """Yield (offset, kind, record) of each line of the manifest from an offset, checked."""
        for offset, line in self._lines(start):
            try:
                item = json.loads(line)
            except (ValueError, RecursionError):
                self._refuse("a line of its manifest is no JSON")
            if type(item) is not dict or item.keys() != {"kind", "record"}:
                self._refuse("a line of its manifest is no record")
            if item["kind"] not in KINDS:
                self._refuse(f"it holds records of the kind {item['kind']!r}")
            try:
                vet(item["kind"], item["record"])
            except InvalidInputError as error:
                self._refuse(error.message)
            yield offset, item["kind"], item["record"]

    def _lines(self, start: int) -> Iterator[tuple[int, bytes]]:
        pending = b""
        for block in self._blocks(start, self._manifest.stop - start):
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                yield start, line
                start += len(line) + 1
            if len(pending) > _LINE:
                self._refuse("a line of its manifest is too long")
        if pending:
            self._refuse("its manifest is cut off")

    def _blocks(self, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            block = self._read(min(BLOCK, end - offset), offset)
            if not block:
                self._refuse("it was cut off while it was read")
            yield block
            offset += len(block)

    def _read(self, size: int, offset: int) -> bytes:
        try:
            # At a place of its own: payloads are fetched by several threads.
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise StorageUnavailableError(
                f"Cannot read {self._path}: {error.strerror or error}",
                hint="Check its disk, then import again: what is here already is skipped",
            ) from error

    def _small(self, offset: int, size: int) -> Any:
        if size > _SMALL:
            self._refuse("it is none")
        try:
            return json.loads(b"".join(self._blocks(offset, size)))
        except (ValueError, RecursionError):
            self._refuse("it is none, or damaged")

    def _refuse(self, problem: str) -> NoReturn:
        raise InvalidInputError(
            f"{self._path} is no sound bundle: {problem}",
            hint="Nothing was imported. A bundle is what 'flowblob export' writes, not compressed",
        )
