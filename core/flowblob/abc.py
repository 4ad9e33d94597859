"""The three contracts: Storage keeps bytes, Catalog keeps records, Serializer makes bytes.

All compare-and-swap lives in the Catalog, so a Storage needs only atomic, idempotent writes of
names that are never used twice. The protocols that the two serve together stand in
`docs/design/0002-payload-lifecycle.md`; keep their order of steps.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol

from flowblob.drafts import (
    Acquired,
    Commit,
    Draft,
    Note,
    Part,
    Payload,
    Record,
    Spooled,
)
from flowblob.model import (
    EMPTY,
    Blob,
    CacheEntry,
    LookupStats,
    Ref,
    Reservation,
    Run,
    TagValue,
    Use,
)
from flowblob.portable import Kind, Page, Portable


class Storage(ABC):
    """Payload bytes under names that are never used twice.

    Every method may be called from any thread and process. A write is atomic (readers see nothing
    or everything), durable at return, and idempotent. A storage pickles by its place, without
    connections; one that cannot leave its process refuses with TypeError. `flowblob.testing` has a
    test for each rule.
    """

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the bytes are, with every secret masked."""

    @property
    def is_shared(self) -> bool:
        """Whether somebody other than this user could have written the bytes.

        Those of a pickle are then compared with their sha256 before it is loaded: the checksum of
        every read finds damage, and not an attacker.
        """
        return True

    def spool_folder(self) -> Path:
        """Return this process's folder for temporary files, from which `write` takes payloads."""
        return Path(tempfile.gettempdir())

    def sweep_spool(self) -> int:
        """Remove the temporary files of processes that died; returns how many."""
        return 0

    @abstractmethod
    def claim(self, store_id: str) -> None:
        """Bind this storage to a catalog, once; of several who come together exactly one wins.

        Raises:
            ConflictError: It belongs to another catalog.
        """

    @abstractmethod
    def write(self, name: str, spooled: Spooled, *, op: str) -> None:
        """Keep the spooled bytes under `name`, complete and durable at return.

        Args:
            name: Physical name from the catalog.
            spooled: The bytes; a temporary file stays the caller's, who may write it again.
            op: Uuid of the put, by which an ambiguous reply is settled.

        Raises:
            StorageUnavailableError: Not written, or unknown after all retries.
        """

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Return the stored length in bytes, None if there is nothing."""

    @abstractmethod
    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        """Return a range of the bytes, to the end if `length` is negative.

        Raises:
            PayloadMissingError: Nothing stands under this name.
        """

    def read_into(self, name: str, buffer: memoryview, offset: int = 0) -> int:
        """Fill a buffer with the bytes from `offset` on; return how many, less only at the end.

        Large payloads are read by this; a storage across a network fetches ranges side by side.

        Raises:
            PayloadMissingError: Nothing stands under this name.
        """
        found = self.read(name, offset, len(buffer))
        buffer[: len(found)] = found
        return len(found)

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove exactly this name; removing nothing is no error."""

    def set_aside(self, name: str) -> str:
        """Move damaged bytes to where no reader looks, and say where that is.

        A storage that cannot do so leaves them and returns nothing: their row says what they are.
        """
        del name
        return ""

    @abstractmethod
    def names(self) -> Iterator[tuple[str, int, datetime]]:
        """Yield (name, size, time of last change) of everything that looks like a payload."""

    def path(self, name: str) -> Path | None:
        """Return the local file that holds exactly these bytes, where there is one."""
        del name
        return None

    def close(self) -> None:
        """Give back connections; the storage may be used again."""


class Catalog(ABC):
    """Metadata of one store, and the only place where races are decided.

    Every method is one atomic step unless it says otherwise, may be called from any thread and
    process, and raises CatalogUnavailableError when the database does not answer in time. All text
    is data, compared by its code points; text that no database can hold (a lone surrogate) is
    refused with InvalidInputError. A catalog pickles as a storage does.
    """

    #: Largest payload the catalog may hold inline, in bytes.
    inline_limit: ClassVar[int] = 1 << 28

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the records are, with every secret masked."""

    @property
    @abstractmethod
    def store_id(self) -> str:
        """Uuid of the store, made with it."""

    @property
    def is_shared(self) -> bool:
        """Whether somebody other than this user could have written a record.

        From a shared catalog no pickle is loaded unless its signature verifies. Asked again for
        each pickle as long as it says yes.
        """
        return True

    @abstractmethod
    def now(self) -> datetime:
        """Return the catalog's wall clock, aware UTC: ages are never judged by a client's."""

    # payloads -------------------------------------------------------

    @abstractmethod
    def place(
        self, op: str, parts: Sequence[Spooled], *, ttl: timedelta, suspects: Iterable[str] = ()
    ) -> list[tuple[Payload, bool]]:
        """Pin a healthy copy of each payload, or give it a fresh generation to write (TXN-A).

        Asked again by the same put, it gives back the generation that the put was to write. What
        another put has placed and not committed is not relied on, nor is an inline copy.

        Args:
            op: Uuid of the put; its pins live until TXN-B, `unpin` or `ttl`.
            parts: What will be stored.
            ttl: How long the pins last on the catalog's clock, unless renewed.
            suspects: Generations whose bytes the caller found missing or short; not used again.

        Returns:
            For each part the payload, and whether its bytes must be written.
        """

    @abstractmethod
    def renew(self, op: str, ttl: timedelta) -> None:
        """Extend the pins of a put that is still writing."""

    @abstractmethod
    def unpin(self, op: str) -> None:
        """Drop the pins of a put that failed; idempotent."""

    @abstractmethod
    def commit(self, draft: Draft) -> Commit:
        """Append a version, or find it unchanged (TXN-B, the only commit point).

        Version, tags, parents, the output Use, the cache entry, payload states and pins change in
        one transaction. Exactly-once by `draft.op`: one that was committed is answered as it was
        then, before any condition is looked at. A new version gets the id, signature and
        signature key of the draft as they are. The newest version counts as changed, though its
        content is the same, if `draft.signers` is not empty and its signature key is not among
        them: nobody here could load it.

        Raises:
            PlacementLost: A payload was condemned meanwhile.
            NotFoundError: `expect_version` was given and the key does not live.
            VersionConflictError: `expect_version` is not the newest version.
            AlreadyExistsError: `create` was given and the key lives, or the entry stands.
            ReservationLostError: The draft's lease, or the entry's reservation or `rev`, is no
                longer the one held.
        """

    @abstractmethod
    def outcome(self, op: str) -> Blob | None:
        """Return what a put with this op has committed, None if nothing."""

    @abstractmethod
    def mark(self, generation: str, state: str) -> None:
        """Set a payload `suspect`, `damaged` or back to `ok`; `condemned` is final and stays."""

    # reading --------------------------------------------------------

    @abstractmethod
    def find(self, ref: Ref, *, payload: bool = False) -> Record | None:
        """Return the version a reference means now, None if there is none.

        Args:
            ref: Any form of reference.
            payload: Also fetch the main payload's row, and its bytes where they are inline.
        """

    @abstractmethod
    def payloads(self, blob_id: str) -> list[Payload]:
        """Return all payloads of a version, inline bytes included, the main one first."""

    @abstractmethod
    def versions(self, key: str, *, limit: int | None = None) -> list[Blob]:
        """Return the live versions of a key, newest first; no payload is read."""

    @abstractmethod
    def blobs(
        self,
        *,
        prefix: str = "",
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> list[Blob]:
        """Return the newest version of every live key, in order of the keys' code points.

        Args:
            prefix: Only keys that begin so; text and no pattern.
            limit: At most so many.
            filters: Equality on `kind`, `serializer`, `media_type`, `system`, `flow`, `task`,
                `run_id`, `task_run_id`, `alias`, and on each of some `tags` and `partitions`. Tag
                values of other types are not equal: 1, 1.0, True and "1" are four.

        Raises:
            InvalidInputError: A filter of another name.
        """

    # changing -------------------------------------------------------

    @abstractmethod
    def delete(self, ref: Ref, *, by: str = "") -> list[Blob]:
        """Tombstone one version, or a key with all its versions; return what was dropped.

        Payloads are given up and not yet gone: see `undelete` and `condemned`.

        Raises:
            NotFoundError: Nothing lives there.
            ConflictError: An alias points at the one version.
        """

    @abstractmethod
    def live(self, *, after: str = "", limit: int = 1000) -> list[Blob]:
        """Return the live versions of all keys in order of id, from beyond the id `after`."""

    @abstractmethod
    def drop(self, blob_ids: Sequence[str], *, by: str = "") -> list[Blob]:
        """Tombstone exactly those of these versions that live and are not protected.

        An alias protects a version, and so does a pinned cache entry that points at it or names it
        as an output. Any other entry does not: it is a miss from now on. A key that loses all
        versions stays, without one, and continues its numbers.

        Args:
            blob_ids: A few hundred ids at most, since all go in one transaction.
            by: Who drops them.

        Returns:
            What was dropped.
        """

    @abstractmethod
    def undelete(self, ref: Ref, *, by: str = "") -> list[Blob]:
        """Take tombstones away again, as long as the payloads are still there.

        The payloads of a dropped version stay its own until the collector condemns one of them.
        `key@n` and `id:` bring back one version, however it was dropped. A bare key that has ended
        comes back with the versions that went with it, as far as their payloads are there, and
        with the aliases on them; one that stands without a version gets back what was dropped last.

        Raises:
            NotFoundError: Nothing of that name was dropped, or its payload was collected.
            ConflictError: The name has begun another life.
        """

    @abstractmethod
    def weigh(self, blob_ids: Sequence[str]) -> tuple[int, int]:
        """Return number and stored bytes of the payloads that only these versions keep."""

    @abstractmethod
    def tag(self, blob_id: str, tags: Mapping[str, TagValue | None], *, by: str = "") -> Blob:
        """Merge tags into a blob, None removes one; the history keeps who and when."""

    @abstractmethod
    def tag_history(self, blob_id: str) -> list[dict[str, Any]]:
        """Return the changes of a blob's tags, newest first: `name`, `value`, `at`, `by`."""

    @abstractmethod
    def promote(
        self,
        blob: Blob,
        alias: str,
        *,
        expect: int | None = None,
        immutable: bool = False,
        by: str = "",
    ) -> Blob:
        """Move an alias to this version by compare-and-swap; return the blob as it is now.

        Raises:
            VersionConflictError: The alias is not at version `expect`.
            ConflictError: The alias is immutable and stands elsewhere.
        """

    @abstractmethod
    def unalias(self, key: str, alias: str, *, by: str = "") -> None:
        """Remove an alias."""

    @abstractmethod
    def alias_history(self, key: str, alias: str) -> list[dict[str, Any]]:
        """Return the moves of an alias, newest first: `version`, `at`, `by`."""

    @abstractmethod
    def set_value_digest(self, blob_id: str, value_digest: str) -> None:
        """Keep a value digest that was computed after the write; the first one stays."""

    # runs and lineage -----------------------------------------------

    @abstractmethod
    def record(self, notes: Sequence[Note]) -> None:
        """Write a batch of notes; uses are idempotent, hit counts add up."""

    @abstractmethod
    def runs(
        self, *, filters: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> list[Run]:
        """Return runs, newest first, filtered by equality on the fields of Run."""

    @abstractmethod
    def uses(
        self, *, blob_id: str = "", run: Mapping[str, Any] | None = None, role: str = ""
    ) -> list[Use]:
        """Return the edges of one blob or of the runs that match."""

    @abstractmethod
    def parents(self, blob_id: str) -> list[Blob]:
        """Return the explicit parents of a blob."""

    @abstractmethod
    def children(self, blob_id: str) -> list[Blob]:
        """Return the blobs that name this one as an explicit parent."""

    # the cache ------------------------------------------------------

    @abstractmethod
    def entry(self, key: str) -> tuple[CacheEntry, Payload | None] | None:
        """Return an entry with its blob and main payload in one look-up, expired or not.

        The ingredients are left out; `entries` has them.
        """

    def glance(self, key: str) -> tuple[CacheEntry, Payload | None] | None:
        """Return what `entry` does, to a caller who neither changes the records nor passes them on.

        This is the hot path of every hit: an engine may answer from memory as long as nobody, in
        any process, has committed anything since.
        """
        return self.entry(key)

    @abstractmethod
    def entries(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        idle_first: bool = False,
    ) -> list[CacheEntry]:
        """Return entries whose blob lives, last updated first.

        Args:
            filters: Equality on `key`, `name`, `blob_id`, `system`, `flow`, `task`, `run_id`,
                `task_run_id`, `pinned`, and on each of some `tags`; `pattern` for names, in which
                only `*` and `?` are special; `older_than` and `unused_for`, moments at or before
                which it was updated or used last; `min_size` and `max_size` in bytes.
            limit: At most so many.
            idle_first: Those used longest ago first instead.

        Raises:
            InvalidInputError: A filter of another name.
        """

    @abstractmethod
    def delete_entry(self, key: str) -> bool:
        """Remove an entry; the blob stays. Returns whether there was one."""

    @abstractmethod
    def expire_entry(self, key: str, at: datetime | None) -> bool:
        """Set when an entry stops being served; returns whether there was one."""

    @abstractmethod
    def touch_entry(self, key: str) -> bool:
        """Count an entry as used now; returns whether there was one."""

    @abstractmethod
    def pin_entry(self, key: str, *, is_pinned: bool) -> bool:
        """Keep an entry from eviction, or no longer; returns whether there was one."""

    @abstractmethod
    def cache_size(self) -> int:
        """Return the bytes of all blobs that entries point at, each counted once."""

    @abstractmethod
    def lookups(self, *, since: datetime | None = None, name: str = "") -> list[LookupStats]:
        """Return look-ups by day and function, oldest day first."""

    @abstractmethod
    def acquire(
        self, key: str, owner: str, *, ttl: timedelta, max_hold: timedelta, stale_rev: int = 0
    ) -> Acquired:
        """Take the reservation of a cache key, extend one's own, or say who holds it.

        Args:
            key: The cache key's digest.
            owner: Who asks; the same owner extends.
            ttl: How long the reservation lasts without a heartbeat, on the catalog's clock.
            max_hold: How long heartbeats may keep it at all.
            stale_rev: `rev` of the entry that the caller judged absent (expired, unreadable, to be
                refreshed); any other entry is returned instead of a reservation.
        """

    @abstractmethod
    def heartbeat(self, reservation: Reservation) -> Reservation:
        """Extend a reservation by its ttl.

        Raises:
            ReservationLostError: The token is no longer the one held, or max_hold is over.
        """

    @abstractmethod
    def release(self, reservation: Reservation) -> bool:
        """End a reservation; returns whether it was still held. Idempotent."""

    @abstractmethod
    def holder(self, key: str) -> tuple[str, timedelta] | None:
        """Say who holds a reservation, and for how long without a heartbeat; None for nobody."""

    # storage keys of hosts ------------------------------------------

    @abstractmethod
    def bind(self, space: str, name: str, *, blob_id: str, record: bytes = b"") -> None:
        """Point a host's opaque storage key at a blob, with the host's own small record."""

    @abstractmethod
    def bound(self, space: str, name: str) -> tuple[str, bytes] | None:
        """Return (blob id, record) of a host's storage key."""

    # upkeep ---------------------------------------------------------

    @abstractmethod
    def condemned(self, *, grace: timedelta, limit: int, dry_run: bool = False) -> list[Payload]:
        """Condemn what has no reference or live pin, and is old; return all condemned.

        A dropped version refers to its payloads until its tombstone is older than `grace`; the
        payload that is condemned then is its own no longer.

        Args:
            grace: How long nothing may have used a payload, on the catalog's wall clock.
            limit: At most so many.
            dry_run: Change nothing; also return what would be condemned.
        """

    @abstractmethod
    def forget(self, generation: str) -> None:
        """Drop the row of a condemned payload whose bytes are gone."""

    @abstractmethod
    def generations(self, *, after: str = "", limit: int = 10_000) -> list[Payload]:
        """Return payload rows in order of generation, without inline bytes."""

    @abstractmethod
    def copies(self, digest: str) -> list[Payload]:
        """Return every physical copy of some bytes, inline bytes included, in any state."""

    @abstractmethod
    def users(self, generation: str, *, limit: int = 100) -> list[Blob]:
        """Return live versions that use a payload, newest first."""

    @abstractmethod
    def repoint(self, generation: str, to: str) -> int:
        """Have all versions that use a damaged payload use another copy of the same bytes.

        The first is `damaged` from now on, whether anything used it or not.

        Returns:
            How many references moved.

        Raises:
            ConflictError: The other copy is not `ok` any more, or not of the same bytes.
        """

    # moving to another store ----------------------------------------

    @abstractmethod
    def scan(
        self, kind: Kind, *, after: str = "", limit: int = 1000, prefix: str = "", key: str = ""
    ) -> Page:
        """Return portable records of one kind, dropped versions and ended keys included.

        Each record is of one moment, a page need not be; nothing that stood before the first page
        was asked for is left out.

        Args:
            kind: One of `flowblob.portable.KINDS`, where the records are described.
            after: What the page before ended with.
            limit: At most so many.
            prefix: Only what belongs to keys that begin so: with runs those that wrote, used or
                computed any of it; no lookups.
            key: As `prefix`, for exactly this key.
        """

    @abstractmethod
    def known(self, blob_ids: Sequence[str]) -> set[str]:
        """Return which of these versions stand here, dropped or not; a few hundred at a time."""

    @abstractmethod
    def absorb(
        self,
        kind: Kind,
        records: Sequence[Portable],
        *,
        parts: Mapping[str, Part] = EMPTY,
        op: str = "",
    ) -> int:
        """Take in portable records of one kind, in one transaction where there are any; idempotent.

        What stands here stays; records only add to it. What a record refers to stands here first:
        one that refers to a version, run or incarnation that does not is left out, for a later
        call. Ids, numbers, times and signatures are those of the record. After every call versions
        are dense, `head` is the last of them, and each live one has its payloads.

        Args:
            kind: What the records are; the kinds come in the order of `flowblob.portable.KINDS`.
            records: As `scan` returned them; at most a thousand.
            parts: For versions, where each payload went, by digest: a generation that `place` gave
                to `op` and that was written, or the inline bytes.
            op: Whose pins end with this call.

        Returns:
            How many records brought something new.

        Raises:
            ConflictError: A record contradicts one that stands here: its key lives another life,
                its number or id is another version's, or its key was deleted here and lives on
                there. Nothing of that record was taken in, and nothing after it.
            PlacementLost: A payload was condemned meanwhile: place it again.
        """

    # health ---------------------------------------------------------

    @abstractmethod
    def check(self) -> list[str]:
        """Return what is wrong with the catalog itself; empty when sound."""

    def migrate(self, *, dry_run: bool = False) -> list[str]:
        """Bring the records of an older flowblob up to date, or make the store where it is absent.

        Nothing happens in part, and of several who come at once one does it. The other verbs raise
        SchemaVersionError as long as a step is missing, unless the engine migrates by itself.

        Args:
            dry_run: Change nothing.

        Returns:
            The steps that ran, or that would run.
        """
        del dry_run
        return []

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what `doctor` shows: `engine`, `engine_version`, `store_id`, `counts` and more.

        `counts` has at least `payload`, the number of payload rows.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections; the catalog may be used again."""


class Writer(Protocol):
    """Where a serializer writes."""

    def write(self, data: Any, /) -> int:
        """Take any bytes-like object without copying it."""

    def copy_file(self, path: Path) -> None:
        """Take a whole file in constant memory; the kernel copies it where it can."""

    def attach(self, path: Path) -> str:
        """Store a file as a payload of its own; returns its part name.

        The name is the digest of its bytes (`sha256:<hex>`), so that equal files are one part and
        a manifest that names its parts stands for their content. A file that changes while it is
        read is refused with InvalidInputError.
        """


class Reader(Protocol):
    """Where a serializer reads from: verified bytes only."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def is_mapped(self) -> bool:
        """Whether `view` costs no copy because it maps a file."""

    @property
    def is_foreign(self) -> bool:
        """Whether somebody else may have written the bytes.

        A format that libraries read in place, trusting what it says about itself, must be checked
        to its last byte then; the checksum has found damage already, and not an attacker.
        """

    def view(self) -> memoryview:
        """Return the whole payload, writable; a private mapping where the storage is local."""

    def data(self) -> bytes:
        """Return the whole payload as bytes."""

    def open(self) -> BinaryIO:
        """Return a seekable stream over the payload."""

    def part(self, name: str) -> Reader:
        """Return the reader of an attached payload."""

    def checkout(self, filename: str) -> Path:
        """Return a verified private copy of the payload as a file of this name."""

    def folder(self, name: str) -> Path:
        """Return the private folder of this name among the checkouts, made at first use."""

    @property
    def filename(self) -> str:
        """Original file name of the value, empty if there is none."""


class Serializer(ABC):
    """One format. The id is stored with every version and never taken from the bytes."""

    id: ClassVar[str]
    media_type: ClassVar[str]
    #: Whether loading can run code that the payload chose.
    is_pickle: ClassVar[bool] = False

    @abstractmethod
    def accepts(self, value: Any) -> bool:
        """Say whether this format gives this value back exactly. Must not import a library."""

    @abstractmethod
    def dump(self, value: Any, writer: Writer) -> None:
        """Write the value.

        Raises:
            SerializationError: It cannot be written; the put leaves nothing behind.
        """

    @abstractmethod
    def load(self, reader: Reader) -> Any:
        """Return the value.

        Raises:
            SerializationError: This process cannot build it.
        """

    def view(self, reader: Reader) -> Any:
        """Return the value over the mapped payload without copying, for `mmap=True`.

        Raises:
            NotSupportedError: The format has no such view.
        """
        return self.load(reader)

    def describe(self, value: Any) -> dict[str, Any]:
        """Return a small JSON-able picture of the value for previews (type, shape, columns)."""
        return {"type": f"{type(value).__module__}.{type(value).__qualname__}"}
