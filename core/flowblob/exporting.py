"""Writing a bundle."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from flowblob.bundle import END, FORMAT, HEAD, MANIFEST, SECTOR, bare_digest, member_name, to_line
from flowblob.errors import (
    NotFoundError,
    PayloadCorruptError,
    PayloadError,
    PayloadMissingError,
)
from flowblob.movement import Origin, ref_of
from flowblob.payload import BLOCK, Progress, xxh3
from flowblob.portable import KINDS, Kind, Portable, payload_problem
from flowblob.reader import replacing


@dataclass(frozen=True, slots=True)
class Exported:
    """What a bundle holds.

    Attributes:
        versions: Versions, dropped ones included.
        records: Other records.
        payloads: Payloads, each once.
        damaged: Versions whose payloads could not be had: (reference, why). They were left out,
            and later versions of the same keys too.
    """

    versions: int
    records: int
    payloads: int
    damaged: tuple[tuple[str, str], ...] = ()


def write_bundle(
    origin: Origin, target: Path, *, about: Mapping[str, str], progress: Progress | None = None
) -> Exported:
    """Write everything of an origin into a file, complete or not at all.

    Args:
        origin: What is exported.
        target: The file; one that is there is replaced.
        about: What the head says beside the format.
        progress: Called with numbers of bytes.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(target) as out, tempfile.TemporaryFile(dir=target.parent) as manifest:
        export = _Export(origin, out, manifest, progress)
        export.add(HEAD, to_line({"format": FORMAT, **about}))
        done = export.run()
        out.flush()
        os.fsync(out.fileno())
    return done


def weigh(origin: Origin) -> int:
    """Return the bytes of all payloads that a bundle would hold."""
    sizes = {
        bare_digest(digest): size
        for page in origin.pages("version")
        for record in page
        for _, digest, size, _ in record["payloads"]
    }
    return sum(sizes.values())


class _Export:
    """One bundle on its way into a file."""

    def __init__(
        self, origin: Origin, out: BinaryIO, manifest: BinaryIO, progress: Progress | None
    ) -> None:
        self._origin = origin
        self._out = out
        self._manifest = manifest
        self._hasher = hashlib.sha256()
        self._progress = progress
        self._seen: set[bytes] = set()
        self._blocked: set[str] = set()
        self._damaged: list[tuple[str, str]] = []
        self._versions = self._records = 0

    def run(self) -> Exported:
        for kind in KINDS:
            for page in self._origin.pages(kind):
                for record in page:
                    if kind != "version" or self._take_version(record):
                        self._note(kind, record)
        size = self._manifest.tell()
        self._manifest.seek(0)
        self._begin(MANIFEST, size)
        while block := self._manifest.read(BLOCK):
            self._out.write(block)
        self._pad(size)
        end = {
            "records": self._versions + self._records,
            "payloads": len(self._seen),
            "sha256": self._hasher.hexdigest(),
        }
        self.add(END, to_line(end))
        self._out.write(bytes(2 * SECTOR))
        return Exported(self._versions, self._records, len(self._seen), tuple(self._damaged))

    def _take_version(self, record: Portable) -> bool:
        """Write the payloads of a version; says whether it can stand in the bundle."""
        if record["incarnation"] in self._blocked:
            return False
        start, seen = self._out.tell(), set(self._new(record))
        try:
            if problem := payload_problem(record):
                raise PayloadMissingError(problem)
            self._take_payloads(record)
        except (NotFoundError, PayloadError) as error:
            self._out.seek(start)
            self._out.truncate()
            self._seen -= seen
            # Later versions cannot stand after a gap in the numbers.
            self._blocked.add(record["incarnation"])
            if self._origin.lives(record):
                self._damaged.append((ref_of(record), error.message))
            return False
        return True

    def _new(self, record: Portable) -> Iterator[bytes]:
        for _, digest, *_ in record["payloads"]:
            if (bare := bare_digest(digest)) not in self._seen:
                yield bare

    def _take_payloads(self, record: Portable) -> None:
        fetches = self._origin.payloads(record) if any(self._new(record)) else {}
        for _, digest, size, checksum in record["payloads"]:
            if (bare := bare_digest(digest)) in self._seen:
                continue
            self._begin(member_name(digest), size)
            sink = _Member(self._out, self._progress)
            fetches[digest](sink)
            sink.check(digest, size, checksum)
            self._pad(size)
            self._seen.add(bare)

    def _note(self, kind: Kind, record: Portable) -> None:
        line = to_line({"kind": kind, "record": record})
        self._hasher.update(line)
        self._manifest.write(line)
        if kind == "version":
            self._versions += 1
        else:
            self._records += 1

    def add(self, name: str, data: bytes) -> None:
        """Write a small member."""
        self._begin(name, len(data))
        self._out.write(data)
        self._pad(len(data))

    def _begin(self, name: str, size: int) -> None:
        info = tarfile.TarInfo(name)  # nobody's, of no time: the same store gives the same bytes
        info.size = size
        # This form holds any size in the one header.
        self._out.write(info.tobuf(tarfile.GNU_FORMAT, "ascii", "strict"))

    def _pad(self, size: int) -> None:
        self._out.write(bytes(-size % SECTOR))


class _Member:
    """The bytes of one payload on their way into the file."""

    def __init__(self, out: BinaryIO, progress: Progress | None) -> None:
        self._out = out
        self._progress = progress
        self._sha256, self._xxh3 = hashlib.sha256(), xxh3()
        self._size = 0

    def write(self, data: Any, /) -> int:
        for hasher in (self._sha256, self._xxh3):
            hasher.update(data)
        self._out.write(data)
        self._size += len(data)
        if self._progress is not None:
            self._progress(len(data))
        return len(data)

    def copy(self, source: BinaryIO) -> None:
        while block := source.read(BLOCK):
            self.write(block)

    def check(self, digest: str, size: int, checksum: str) -> None:
        """Refuse what is not the payload that the record promises."""
        found = f"sha256:{self._sha256.hexdigest()}"
        if (found, self._size, self._xxh3.hexdigest()) != (digest, size, checksum):
            raise PayloadCorruptError(
                f"The payload {digest} is damaged: its bytes have {found}",
                hint="Repair it, then export again",
            )
