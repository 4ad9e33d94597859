"""Copying a store into another one: its records as they are, its payloads verified on the way.

Payloads go through the put protocol: placed under pins, written, and then their versions are
absorbed in the transaction that drops the pins. So whenever it is killed, the target is sound, and
the next run goes on: it skips versions that are there without reading their payloads.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from flowblob import serializers
from flowblob.arrival import Arrival, Fetch, Sink
from flowblob.checks import new_id
from flowblob.drafts import Payload, PlacementLost, Spooled
from flowblob.errors import (
    CatalogUnavailableError,
    ConflictError,
    NotFoundError,
    SerializationError,
    StorageUnavailableError,
)
from flowblob.journal import best_effort
from flowblob.model import Ref
from flowblob.payload import BLOCK, Progress
from flowblob.portable import KINDS, Kind, Portable, payload_problem
from flowblob.reader import PayloadReader
from flowblob.trust import message
from flowblob.writing import Placement

if TYPE_CHECKING:
    from flowblob.objects import Objects

PAGE = 500
#: Versions of one transaction, and about how many bytes a kill may cost.
_BATCH = 200
_BATCH_BYTES = 256 << 20
#: Range read at once from a storage that has no local files.
_WINDOW = 8 << 20
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Moved:
    """What a copy or an import brought.

    Attributes:
        versions: Versions that are new here.
        records: Other records that brought something new: runs, tags, aliases, uses, entries.
        payloads: Payloads that were written; what was here already is shared.
        size: Their bytes.
        damaged: Versions whose payloads could not be had: (reference, why). They were left behind,
            and later versions of the same keys too.
        unsafe: Pickles that nothing vouches for, left behind in the same way.
        dropped: Versions that live over there and were dropped here, which they stay: whether they
            were brought back there, or dropped here alone, no record says.
    """

    versions: int
    records: int
    payloads: int
    size: int
    damaged: tuple[tuple[str, str], ...] = ()
    unsafe: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class Origin(Protocol):
    """Where records and payloads come from: a store, or a bundle."""

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else may have written there."""

    def pages(self, kind: Kind) -> Iterator[list[Portable]]:
        """Yield all records of one kind."""

    def payloads(self, record: Portable) -> Mapping[str, Fetch]:
        """Return how to fetch the payloads of a version, by digest.

        Raises:
            NotFoundError: It was dropped meanwhile.
        """

    def lives(self, record: Portable) -> bool:
        """Say whether a version is still there; a missing payload means no damage if it is not."""


class StoreOrigin:
    """Another store, or what belongs to some of its keys."""

    def __init__(self, objects: Objects, *, prefix: str = "", key: str = "") -> None:
        self._objects = objects
        self._scope = {"prefix": prefix, "key": key}
        self._is_whole = not prefix and not key

    @property
    def is_foreign(self) -> bool:
        return self._objects.catalog.is_shared or self._objects.storage.is_shared

    def pages(self, kind: Kind) -> Iterator[list[Portable]]:
        after, is_begun = "", False
        while after or not is_begun:
            page = self._objects.catalog.scan(kind, after=after, limit=PAGE, **self._scope)
            if page.records:
                yield page.records
            after, is_begun = page.after, True

    def payloads(self, record: Portable) -> Mapping[str, Fetch]:
        found = {item.digest: item for item in self._objects.catalog.payloads(record["id"])}
        if not {digest for _, digest, *_ in record["payloads"]} <= found.keys():
            raise NotFoundError(f"{ref_of(record)} was dropped meanwhile")
        return {digest: self._fetch(payload, record) for digest, payload in found.items()}

    def lives(self, record: Portable) -> bool:
        return self._objects.catalog.find(Ref(id=record["id"])) is not None

    def _fetch(self, payload: Payload, record: Portable) -> Fetch:
        storage = self._objects.storage

        def fetch(sink: Sink) -> None:
            if payload.data is not None:
                sink.write(payload.data)
            elif payload.encoding:
                reader = PayloadReader(
                    payload, storage, self._objects.verifier, what=ref_of(record)
                )
                with reader.open() as stream:
                    sink.copy(stream)
            else:
                # Straight from the storage: checked once, where it arrives.
                for start in range(0, payload.size, _WINDOW):
                    length = min(_WINDOW, payload.size - start)
                    window = memoryview(storage.read(payload.name, start, length))
                    # The spool counts what it has yet to hash in writes, not in bytes.
                    for at in range(0, len(window), BLOCK):
                        sink.write(window[at : at + BLOCK])

        return fetch


class Mover:
    """One copy or import into a store.

    Args:
        origin: Where everything comes from.
        target: The store that takes it.
        allow_pickle: Take pickles that nobody vouches for, although only the user's own are
            expected in the target.
        progress: Called with numbers of bytes.
    """

    def __init__(
        self,
        origin: Origin,
        target: Objects,
        *,
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self._origin = origin
        self._target = target
        self._catalog = target.catalog
        self._placement = Placement(target.catalog, target.storage, target.verifier)
        # In a store where others can write, every load asks for a signature anyway.
        is_checked = origin.is_foreign and not target.catalog.is_shared
        self._is_guarded = is_checked and not (allow_pickle or target.settings.allow_pickle)
        self._progress = progress or _ignore
        self._versions = self._records = self._payloads = self._size = 0
        self._damaged: list[tuple[str, str]] = []
        self._unsafe: list[str] = []
        self._dropped: list[str] = []
        #: By incarnation, the first version that stays behind, and all after it.
        self._blocked: dict[str, int] = {}

    def run(self) -> Moved:
        """Move everything that is not there yet.

        Raises:
            ConflictError: The two stores contradict each other; what went before is there.
            UnavailableError: One of them did not answer; run it again.
        """
        for kind in KINDS:
            if kind == "version":
                for page in self._origin.pages(kind):
                    self._take_versions(page)
            else:
                self._take_records(kind)
        return Moved(
            self._versions,
            self._records,
            self._payloads,
            self._size,
            tuple(self._damaged),
            tuple(self._unsafe),
            tuple(self._dropped),
        )

    def _take_records(self, kind: Kind) -> None:
        for page in self._origin.pages(kind):
            try:
                self._records += self._catalog.absorb(kind, self._believed(kind, page))
            except ConflictError:
                if kind != "incarnation":
                    raise
                # A key that was deleted and put again between two pages shows both of its lives as
                # living. Seen once more, the first one has ended.
                for again in self._origin.pages(kind):
                    self._records += self._catalog.absorb(kind, again)
                return

    def _believed(self, kind: Kind, page: list[Portable]) -> list[Portable]:
        """Leave out keys of hosts that might have them unpickle what is no pickle here.

        A host unpickles what its key leads to. What is stored as a pickle was vouched for when it
        came in; bytes of another format were not looked at.
        """
        if kind != "bound" or not self._is_guarded:
            return page
        found = [(record, self._catalog.find(Ref(id=record["id"]))) for record in page]
        return [
            record
            for record, version in found
            if version is not None and is_pickle(version.blob.serializer)
        ]

    def weigh(self) -> int:
        """Return how many bytes `progress` will be told of, at most."""
        total = 0
        for page in self._origin.pages("version"):
            known = self._catalog.known([record["id"] for record in page])
            total += sum(weight(record) for record in page if record["id"] not in known)
        return total

    # versions -------------------------------------------------------

    def _take_versions(self, page: list[Portable]) -> None:
        known = self._catalog.known([record["id"] for record in page])
        standing = [record for record in page if record["id"] in known]
        self._dropped += [
            ref_of(record)
            for record in standing
            if record["dropped"] is None and record["id"] in self._buried
        ]
        computed = [record for record in standing if record["value_digest"]]
        self._records += self._catalog.absorb("version", computed)
        for batch in _batches(record for record in page if record["id"] not in known):
            self._take_batch(self._admit(batch))

    @cached_property
    def _buried(self) -> set[str]:
        """Ids of the versions that were dropped here before; not asked for by a first copy."""
        found: set[str] = set()
        after, is_begun = "", False
        while after or not is_begun:
            page = self._catalog.scan("tombstone", after=after, limit=PAGE)
            found.update(record["id"] for record in page.records)
            after, is_begun = page.after, True
        return found

    def _admit(self, batch: list[Portable]) -> list[Portable]:
        """Leave out what must not come, and what would stand after it."""
        for record in batch:
            if self._is_guarded and not record["dropped"] and not self._is_vouched(record):
                if record["incarnation"] not in self._blocked:
                    self._unsafe.append(ref_of(record))
                self._block(record)
        return self._unblocked(batch)

    def _is_vouched(self, record: Portable) -> bool:
        if not is_pickle(record["serializer"]):
            return True
        text = message(record["key"], record["id"], record["digest"], record["serializer"])
        keyring = self._target.trust.keyring
        return keyring.verifies(text, record["signature_key"], record["signature"])

    def _block(self, record: Portable, problem: str = "") -> None:
        """Leave out a version and those after it: the numbers of a key have no gaps."""
        if problem and record["incarnation"] not in self._blocked:
            self._damaged.append((ref_of(record), problem))
        first = self._blocked.get(record["incarnation"], sys.maxsize)
        self._blocked[record["incarnation"]] = min(first, record["version"])

    def _unblocked(self, batch: list[Portable]) -> list[Portable]:
        return [
            record
            for record in batch
            if record["version"] < self._blocked.get(record["incarnation"], sys.maxsize)
        ]

    def _take_batch(self, batch: list[Portable]) -> None:
        op = new_id()
        try:
            for _ in range(_TRIES):
                arrival = Arrival(self._target, self._placement, op, self._progress)
                with self._placement.keep(op):
                    arrival.take(self._wanted(batch))
                for record in batch:
                    self._judge(record, arrival)
                batch = self._unblocked(batch)
                try:
                    self._versions += self._catalog.absorb(
                        "version", batch, parts=arrival.parts, op=op
                    )
                except PlacementLost:
                    continue  # a collector was quicker
                self._payloads += arrival.payloads
                self._size += arrival.size
                self._progress(max(sum(map(weight, batch)) - arrival.fetched, 0))
                return
        except CatalogUnavailableError:
            raise  # asked once more, it would take as long again; the pins run out by themselves
        except BaseException:
            with best_effort("Dropping the pins of a failed copy"):
                self._catalog.unpin(op)
            raise
        raise StorageUnavailableError(
            f"The copy met a collector {_TRIES} times in a row", hint="Run it again"
        )

    def _wanted(self, batch: Sequence[Portable]) -> Iterator[tuple[Spooled, Fetch]]:
        """Yield each payload once: what it must be, and how to fetch it."""
        seen: set[str] = set()
        for record in batch:
            if all(digest in seen for _, digest, *_ in record["payloads"]):
                continue
            try:
                fetches = self._origin.payloads(record)
            except NotFoundError:
                self._block(record)  # the next run finds it dropped
                continue
            for _, digest, size, checksum in record["payloads"]:
                if digest not in seen:
                    seen.add(digest)
                    yield Spooled(digest, checksum, size), fetches[digest]

    def _judge(self, record: Portable, arrival: Arrival) -> None:
        failed = [arrival.failures.get(digest) for _, digest, *_ in record["payloads"]]
        problems = [payload_problem(record), *(error.message for error in failed if error)]
        if problem := next(filter(None, problems), ""):
            self._block(record, problem if self._origin.lives(record) else "")


def is_pickle(serializer: str) -> bool:
    """Say whether a format may run code when it loads; one that is not known here may."""
    try:
        return serializers.by_id(serializer).is_pickle
    except SerializationError:
        return True


def weight(record: Portable) -> int:
    """Return the bytes of all payloads of a version."""
    return sum(size for _, _, size, _ in record["payloads"])


def _batches(records: Iterable[Portable]) -> Iterator[list[Portable]]:
    batch: list[Portable] = []
    size = 0
    for record in records:
        batch.append(record)
        size += weight(record)
        if len(batch) == _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def ref_of(record: Portable) -> str:
    """Return `key@version` of a version record."""
    return f"{record['key']}@{record['version']}"


def _ignore(_: int) -> None:
    """Show no progress."""
