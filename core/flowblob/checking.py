"""Is everything there and intact: records, presence and length, and every byte.

Nothing is changed, so that a store that can only be read can be checked; `repairing` acts on what
is found.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from flowblob.auditing import wrong_records
from flowblob.errors import (
    InvalidInputError,
    PayloadCorruptError,
    PayloadError,
    PayloadMissingError,
    StorageUnavailableError,
    UnavailableError,
)
from flowblob.journal import best_effort
from flowblob.objects import own_payload

if TYPE_CHECKING:
    from flowblob.abc import Catalog, Storage
    from flowblob.drafts import Payload
    from flowblob.model import Blob

Level = Literal["catalog", "presence", "content"]
LEVELS: tuple[Level, ...] = get_args(Level)

_CURSOR = re.compile(r"[0-9a-f-]{32,36}\Z")
_WINDOW = 16 << 20
_PAGE = 1000
#: Payloads that are asked for at once: a storage across a network answers in milliseconds.
_AT_ONCE = 8
#: After so many in a row the storage is taken to be away: each of them may have cost a minute.
_PATIENCE = 8


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is damaged, or that could not be checked.

    Attributes:
        ref: A version that it hurts, or `catalog`.
        what: What is wrong.
        generation: The physical copy; empty for the catalog.
    """

    ref: str
    what: str
    generation: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification has seen, and what not.

    Attributes:
        level: `catalog`: the records; `presence`: also that every payload is there in its full
            length; `content`: also that every byte is as it was written.
        damaged: What is lost or wrong.
        unchecked: What could not be looked at.
        payloads: How many payloads were looked at.
        size: Their bytes.
        read: How many of them were read and hashed.
        read_size: Their bytes.
        cursor: Where to go on, for `resume`; empty once everything was looked at.
    """

    level: Level
    damaged: tuple[Problem, ...] = ()
    unchecked: tuple[Problem, ...] = ()
    payloads: int = 0
    size: int = 0
    read: int = 0
    read_size: int = 0
    cursor: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether everything was looked at as far as asked, and nothing is wrong."""
        return not (self.damaged or self.unchecked or self.cursor)

    @property
    def unread(self) -> int:
        """How many payloads were looked at and not read."""
        return self.payloads - self.read

    @property
    def unread_size(self) -> int:
        """Their bytes."""
        return self.size - self.read_size


@dataclass(slots=True)
class Checker:
    """One verification of a store.

    Args:
        catalog: What should be there.
        storage: What is there.
        level: How closely to look.
        sample: Share of the payloads to read, at the level `content`.
        tick: Called with numbers of bytes that were read or passed over.
    """

    catalog: Catalog
    storage: Storage
    level: Level = "presence"
    sample: float = 1.0
    tick: Callable[[int], None] = field(default=lambda _: None)
    damaged: list[Problem] = field(default_factory=list)
    unchecked: list[Problem] = field(default_factory=list)
    payloads: int = 0
    size: int = 0
    read: int = 0
    read_size: int = 0
    cursor: str = ""
    _is_done: bool = False

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise InvalidInputError(
                f"Unknown level {self.level!r}", hint=f"One of: {', '.join(LEVELS)}"
            )
        if not 0 < self.sample <= 1:
            raise InvalidInputError(
                f"Invalid sample {self.sample!r}", hint="A share: 0.1 reads every tenth payload"
            )

    def report(self) -> Report:
        """Return what was seen up to now; a verification that was broken off can go on there."""
        return Report(
            self.level, tuple(self.damaged), tuple(self.unchecked), self.payloads, self.size,
            self.read, self.read_size, self.cursor,
        )  # fmt: skip

    def check_store(self, *, resume: str = "", limit: int | None = None) -> Report:
        """Look at the records, then at every payload in order of its generation.

        Args:
            resume: Cursor of an earlier report; the records are then not looked at again.
            limit: Look at so many payloads at most.
        """
        if resume and not _CURSOR.match(resume):  # nothing would come after it, and all look clean
            raise InvalidInputError(
                f"Invalid cursor {resume!r}", hint="Give the one that an earlier report ended with"
            )
        if not resume:
            self.damaged += [Problem("catalog", text) for text in self.catalog.check()]
            self.damaged += [Problem(*wrong) for wrong in wrong_records(self.catalog)]
        if self.level == "catalog":
            return self.report()
        for payload, error in self.findings(resume=resume, limit=limit):
            if error is not None:
                self._note(payload, error)
        return self.report()

    def check_versions(self, blobs: Iterable[Blob]) -> Report:
        """Read all payloads of these versions; what several share is read once."""
        seen: set[str] = set()
        for blob in blobs:
            for payload in self.catalog.payloads(blob.id):
                if payload.generation in seen:
                    continue
                seen.add(payload.generation)
                error = self._examine(payload, is_read=True)
                if error is not None:
                    self._note(payload, error, blob.ref)
        return self.report()

    def check_one(self, blob: Blob) -> Report:
        """Read all payloads of one version, and raise what is wrong."""
        found = self.catalog.payloads(blob.id)
        if blob.digest and not blob.external:
            own_payload(blob, next((payload for payload in found if not payload.part), None))
        for payload in found:
            error = self._examine(payload, is_read=True)
            if isinstance(error, PayloadError):
                with best_effort("Marking a damaged payload"):
                    self.catalog.mark(payload.generation, "suspect")
            if error is not None:
                raise type(error)(f"{blob.ref}: {error.message}", hint=error.hint) from error
        return self.report()

    def findings(
        self, *, resume: str = "", limit: int | None = None
    ) -> Iterator[tuple[Payload, PayloadError | UnavailableError | None]]:
        """Yield what is not as it should be, or could not be looked at, each with its error.

        What was marked as damaged is always read, and yielded without an error if it is sound.
        """
        self.cursor, missed = resume, 0
        chance = random.Random()  # noqa: S311 - which payloads are read need not be a secret
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for chunk in _chunks(self._rows(limit), _AT_ONCE):
                for payload, error in zip(chunk, pool.map(self._look, chunk), strict=True):
                    is_chosen = self.level == "content" and chance.random() < self.sample
                    is_read = error is None and (is_chosen or payload.state != "ok")
                    found = self._examine(payload, is_read=is_read) or error
                    missed = missed + 1 if isinstance(found, UnavailableError) else 0
                    if found is not None or payload.state != "ok":
                        yield payload, found
                    if missed == _PATIENCE:
                        return
                    self.cursor = payload.generation
        if self._is_done:
            self.cursor = ""

    def _rows(self, limit: int | None) -> Iterator[Payload]:
        after, left = self.cursor, limit
        while page := self.catalog.generations(after=after, limit=min(_PAGE, left or _PAGE)):
            after = page[-1].generation
            # What is still uploading was never promised, what is condemned no longer is.
            yield from (p for p in page if p.state not in ("uploading", "condemned"))
            if left is not None and (left := left - len(page)) <= 0:
                return
        self._is_done = True

    # ------------------------------------------------------------ one payload

    def _look(self, payload: Payload) -> PayloadError | UnavailableError | None:
        """Compare the length; inline bytes stand beside their row, and `check` compares those."""
        if payload.is_inline:
            return None
        try:
            examine_length(self.storage, payload)
        except (PayloadError, UnavailableError) as error:
            return error
        return None

    def _examine(
        self, payload: Payload, *, is_read: bool
    ) -> PayloadError | UnavailableError | None:
        self.payloads += 1
        self.size += payload.size
        if not is_read:
            self.tick(payload.size)
            return None
        try:
            if payload.is_inline and payload.data is None:
                payload = find_copy(self.catalog, payload)
            examine(self.storage, payload, self.tick)
        except (PayloadError, UnavailableError) as error:
            return error
        self.read += 1
        self.read_size += payload.size
        return None

    def _note(
        self, payload: Payload, error: PayloadError | UnavailableError, ref: str = ""
    ) -> None:
        if isinstance(error, UnavailableError):
            problem = Problem(ref or payload.digest, error.message, payload.generation)
            self.unchecked.append(problem)
            return
        if not ref:
            users = self.catalog.users(payload.generation, limit=1)
            if not users:
                return  # no version needs it: it waits for the collector, or is gone by now
            ref = users[0].ref
        self.damaged.append(Problem(ref, error.message, payload.generation))


def examine(storage: Storage, payload: Payload, tick: Callable[[int], None]) -> None:
    """Read a payload, inline or stored, and compare its length and sha256.

    Raises:
        PayloadMissingError: It is not there.
        PayloadCorruptError: It is not what was written.
        StorageUnavailableError: It could not be read.
    """
    if payload.is_inline:
        blocks: Iterator[bytes] = iter([payload.data or b""])
    else:
        examine_length(storage, payload)
        blocks = _blocks(storage, payload)
    hasher, size = hashlib.sha256(), 0
    for block in blocks:
        hasher.update(block)
        size += len(block)
        tick(len(block))
    if size != payload.size or "sha256:" + hasher.hexdigest() != payload.digest:
        raise PayloadCorruptError(
            f"{_name(payload)} does not hold what was written: its sha256 does not match",
            hint="'flowblob repair' looks for another copy; storing the value again heals it",
        )


def examine_length(storage: Storage, payload: Payload) -> None:
    """Compare what is stored under a payload's name with its length.

    Raises:
        PayloadMissingError: Nothing is there.
        PayloadCorruptError: It has another length.
        StorageUnavailableError: The storage did not answer.
    """
    stored = storage.size(payload.name)
    if stored is None:
        raise PayloadMissingError(
            f"{_name(payload)} is gone", hint="Storing the value again heals it"
        )
    if stored != payload.stored_size:
        raise PayloadCorruptError(
            f"{_name(payload)} has {stored:,} bytes instead of {payload.stored_size:,}",
            hint="Storing the value again heals it",
        )


def find_copy(catalog: Catalog, payload: Payload) -> Payload:
    """Return an inline payload with its bytes.

    Raises:
        PayloadMissingError: Its row is gone.
    """
    for copy in catalog.copies(payload.digest):
        if copy.generation == payload.generation:
            return copy
    raise PayloadMissingError(f"{_name(payload)} is gone")


def _name(payload: Payload) -> str:
    return f"Its inline payload {payload.digest}" if payload.is_inline else payload.name


def _blocks(storage: Storage, payload: Payload) -> Iterator[bytes]:
    """Yield the stored bytes in constant memory."""
    path = storage.path(payload.name)
    if path is None:
        for start in range(0, payload.stored_size, _WINDOW):
            yield storage.read(payload.name, start, min(_WINDOW, payload.stored_size - start))
        return
    try:
        with path.open("rb", buffering=0) as source:
            # Bytes that are still in memory would hide what the disk has done to its own.
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while block := source.read(1 << 20):
                yield block
    except FileNotFoundError as error:
        raise PayloadMissingError(f"{_name(payload)} is gone") from error
    except OSError as error:
        raise StorageUnavailableError(
            f"Cannot read {path}: {error.strerror or error}",
            hint="Check permissions and that the disk is mounted",
        ) from error


def _chunks(rows: Iterator[Payload], count: int) -> Iterator[list[Payload]]:
    chunk: list[Payload] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == count:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
