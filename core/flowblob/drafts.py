"""What passes between the put protocol and the engines: payloads, drafts, answers. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flowblob.checks import new_id, utc_now
from flowblob.model import (
    Blob,
    CacheEntry,
    CacheKey,
    Read,
    Reservation,
    Run,
    TagValue,
)


@dataclass(frozen=True, slots=True)
class Spooled:
    """Bytes that were hashed on their way into memory or a temporary file.

    Attributes:
        digest: `sha256:<hex>`.
        checksum: xxh3-128 in hex.
        size: Length in bytes.
        data: The bytes, where they stayed in memory.
        path: The temporary file otherwise, already synced to disk.
    """

    digest: str
    checksum: str
    size: int
    data: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """One physical copy of some bytes, as the catalog knows it.

    Attributes:
        part: Name within its version; empty for the main payload.
        digest: `sha256:<hex>` of the logical bytes.
        size: Logical length in bytes.
        checksum: xxh3-128 of the logical bytes in hex.
        generation: Fresh uuid of this copy, so that a physical name is never used twice.
        state: `uploading`, `ok`, `suspect`, `damaged` or `condemned` (final).
        data: The bytes, where they are inline in the catalog and were asked for.
        is_inline: Whether the bytes are in the catalog.
        stored_size: Bytes on the storage, after encoding.
        encoding: How the bytes are stored: empty for as they are.
        base: Generation of the payload this one is a patch against.
    """

    part: str
    digest: str
    size: int
    checksum: str
    generation: str
    state: str = "ok"
    data: bytes | None = None
    is_inline: bool = False
    stored_size: int = 0
    encoding: str = ""
    base: str = ""

    @property
    def name(self) -> str:
        """Physical name: two hex digits, the digest, the generation."""
        return physical_name(self.digest, self.generation)


def physical_name(digest: str, generation: str) -> str:
    """Return `<2 hex>/<digest hex>.<generation>`.

    One name per bare digest loses data when a collector that was paused deletes late, hence the
    generation.
    """
    bare = digest.removeprefix("sha256:")
    return f"{bare[:2]}/{bare}.{generation}"


@dataclass(frozen=True, slots=True)
class Record:
    """A blob together with its main payload, as one look-up returns them."""

    blob: Blob
    payload: Payload | None


@dataclass(frozen=True, slots=True)
class Part:
    """One payload of a version to be: where it went, or the inline bytes themselves."""

    name: str
    digest: str
    size: int
    checksum: str
    generation: str = ""
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """A cache entry to be committed together with the version that holds its value.

    Attributes:
        key: The cache key.
        reservation: The reservation computed under; None writes unfenced.
        cost: How long the computation took.
        expires_at: Aware UTC, None for never.
        reads: Reads of the store inside the function.
        metadata: What a host replays on a hit, and other JSON-able facts.
        outputs: Named outputs beside the main one: name to blob id.
        overwrite: False raises AlreadyExistsError where a servable entry stands.
        max_age: With `overwrite=False`, replace an entry that was last written longer ago.
    """

    key: CacheKey
    reservation: Reservation | None = None
    cost: timedelta = timedelta()
    expires_at: datetime | None = None
    reads: tuple[Read, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = True
    max_age: timedelta | None = None

    def made(self, blob: Blob, run: Run | None) -> CacheEntry:
        """Return the entry as it stands now that it was committed."""
        now = utc_now()
        return CacheEntry(
            self.key.digest,
            self.key.name,
            0,
            blob,
            now,
            now,
            cost=self.cost,
            run=run,
            reads=self.reads,
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything TXN-B writes in one transaction.

    Attributes:
        op: Uuid of this put, kept over all its retries.
        key: The checked key.
        parts: The payloads, the main one (named "") first.
        metadata: JSON text.
        parents: Ids of the blobs it was made from, beside those its run read.
        expect_version: Refuse unless this is the newest version.
        create: Refuse if the key lives.
        new_version: Append even if nothing changed.
        blob_id: Uuid of the version to be, which the signature covers. A put that finds nothing
            changed does not use it.
        signature: HMAC of the version, by the key `signature_key`; empty where none is made.
        signers: Ids of the keys whose signatures are believed here; unless empty, a newest version
            that none of them signed counts as changed.
        reservation: Refuse once somebody else holds this lease; it stays held.
        entry: The cache entry that goes with it.
    """

    op: str
    key: str
    parts: tuple[Part, ...]
    kind: str
    media_type: str
    serializer: str
    metadata: str = "{}"
    filename: str = ""
    tags: Mapping[str, TagValue] = field(default_factory=dict)
    partitions: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    run: Run | None = None
    value_digest: str = ""
    external: str = ""
    preview: str = ""
    blob_id: str = field(default_factory=new_id)
    signature: str = ""
    signature_key: str = ""
    signers: tuple[str, ...] = ()
    expect_version: int | None = None
    create: bool = False
    new_version: bool = False
    history: bool = True
    reservation: Reservation | None = None
    entry: EntryDraft | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """What TXN-B did: the blob, and whether it is a new version."""

    blob: Blob
    is_new: bool


class PlacementLost(Exception):  # a step of the put protocol, never seen by callers
    """TXN-B met a payload that a collector had condemned: place it again."""


@dataclass(frozen=True, slots=True)
class Acquired:
    """Answer of `Catalog.acquire`: exactly one of the three is set.

    Attributes:
        reservation: The lease is yours.
        entry: Somebody wrote an entry that the caller has not judged yet.
        holder: Another owner holds the lease, for `remaining`.
    """

    reservation: Reservation | None = None
    entry: CacheEntry | None = None
    holder: str = ""
    remaining: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Note:
    """Something nobody waits for: a use of a blob, a look-up in the cache.

    Attributes:
        at: When it happened, aware UTC.
        run: Whose use it was.
        blob_id: What was used.
        role: `input`, `cache_hit`, or `miss` for a look-up that was not served.
        entry: Key of the entry that was served.
        name: The function that was looked up.
        seconds: Computing time that the hit saved.
        size: Bytes that the hit gave back.
    """

    at: datetime
    run: Run | None = None
    blob_id: str = ""
    role: str = "input"
    entry: str = ""
    name: str = ""
    seconds: float = 0.0
    size: int = 0
