"""The words of flowblob as immutable records. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from flowblob.checks import LATEST, validate_alias, validate_digest, validate_key
from flowblob.errors import InvalidInputError

TagValue = str | int | float | bool
EMPTY: Mapping[str, Any] = MappingProxyType({})

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


_T = TypeVar("_T")


def maker(cls: type[_T]) -> Callable[..., _T]:
    """Return a function that makes a record of a frozen dataclass from all its values in order.

    A frozen dataclass sets each field through `object.__setattr__`, which took a sixth of the
    time of a cache hit. This fills an open twin of the same slots and changes its class. As
    `__post_init__` does not run, it is for values that were checked when they were first taken.

    Args:
        cls: A frozen dataclass with slots, without a base.
    """
    names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    twin = make_dataclass(f"_{cls.__name__}", names, slots=True, eq=False, repr=False)

    def make(*values: Any) -> _T:
        record: Any = twin(*values)
        record.__class__ = cls
        made: _T = record
        return made

    return make


# ------------------------------------------------------------------ references


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to one version.

    Its forms: `key`, `key@3`, `key@prod`, `key@sha256:…`, `id:<uuid>`, `sha256:…`.

    Attributes:
        key: The key, empty for the two forms that name none.
        version: The version number, if the reference has one.
        alias: The alias, if the reference has one; `latest` for the newest version.
        digest: `sha256:<hex>`, if the reference has one.
        id: The uuid of one Blob, if the reference has one.
    """

    key: str = ""
    version: int | None = None
    alias: str = ""
    digest: str = ""
    id: str = ""

    @classmethod
    def parse(cls, text: str | Ref | Blob) -> Ref:
        """Read a reference.

        Args:
            text: The reference; a Ref is returned as it is, a Blob names its own id.

        Raises:
            InvalidInputError: The text is no reference.

        Example:
            >>> Ref.parse("models/churn@3").version
            3
        """
        if isinstance(text, Ref):
            return text
        if isinstance(text, Blob):
            return cls(id=text.id)
        if not isinstance(text, str):
            raise InvalidInputError(
                f"A reference is text, not {type(text).__name__}", hint="Write 'key' or 'key@3'"
            )
        if text.startswith("id:"):
            if not _UUID.match(text[3:]):
                raise InvalidInputError(f"Invalid reference {text!r}: no uuid follows 'id:'")
            return cls(id=text[3:])
        if text.startswith("sha256:"):
            return cls(digest=validate_digest(text))
        return cls._of_key(text)

    @classmethod
    def _of_key(cls, text: str) -> Ref:
        key, at, rest = text.partition("@")
        validate_key(key)
        if not at:
            return cls(key)
        if rest.startswith("sha256:"):
            return cls(key, digest=validate_digest(rest))
        if rest.isascii() and rest.isdigit():
            if len(rest) > 18 or (rest != "0" and rest.startswith("0")):
                raise InvalidInputError(
                    f"Invalid version {rest!r} in {text[:80]!r}", hint="Write 'key@3'"
                )
            return cls(key, version=int(rest))
        # Kept apart from the bare key, which in a deletion means the key with all its versions.
        return cls(key, alias=rest if rest == LATEST else validate_alias(rest))

    @property
    def is_bare(self) -> bool:
        """Whether the reference is a key alone: its newest version, or all of it in a deletion."""
        return bool(self.key) and self.version is None and not self.alias and not self.digest

    def __str__(self) -> str:
        if self.id:
            return f"id:{self.id}"
        if not self.key:
            return self.digest
        rest = self.digest or self.alias or ("" if self.version is None else str(self.version))
        return f"{self.key}@{rest}" if rest else self.key


# ------------------------------------------------------------------ runs and blobs


@dataclass(frozen=True, slots=True)
class Run:
    """One execution that writes and reads blobs: a task try in a host, or a block of plain Python.

    Attributes:
        system: `prefect`, `airflow` or `python`.
        flow: Name of the flow or DAG, or of the plain Python run.
        run_id: The flow-run or DAG-run id.
        task: Name of the task; empty outside tasks.
        task_run_id: Id of this try of the task (`ti.id` in Airflow); `run_id` outside tasks.
        attempt: The try number, 1 first.
        map_index: Index of a mapped Airflow task, -1 otherwise.
        url: Page of the run in its host.
        name: What the host calls this run (`brisk-otter`), for people.
        started_at: When the record was made, aware UTC.
        used: Small values the run read, JSON-able.
        generated: Small values the run made, JSON-able.
    """

    system: str = "python"
    flow: str = ""
    run_id: str = ""
    task: str = ""
    task_run_id: str = ""
    attempt: int = 1
    map_index: int = -1
    url: str = ""
    name: str = ""
    started_at: datetime | None = None
    used: Mapping[str, Any] = field(default_factory=dict)
    generated: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.system not in ("prefect", "airflow", "python"):
            raise InvalidInputError(
                f"Unknown system {self.system!r}", hint="Use 'prefect', 'airflow' or 'python'"
            )
        if not self.run_id:
            raise InvalidInputError("A Run needs a run_id")
        if not self.task_run_id:
            object.__setattr__(self, "task_run_id", self.run_id)

    @property
    def identity(self) -> tuple[str, str, int]:
        """What makes a run unique: (system, task_run_id, attempt)."""
        return (self.system, self.task_run_id, self.attempt)

    def __str__(self) -> str:
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        task = f"/{self.task}{mapped}" if self.task else ""
        return f"{self.system} {self.flow}{task} ({self.name or self.run_id})"


@dataclass(frozen=True, slots=True)
class Blob:
    """The immutable record of one version of a key.

    Attributes:
        id: Uuid of this version; `id:<uuid>` refers to it for ever.
        key: The name.
        version: 0 first, dense within one incarnation.
        incarnation: Uuid of this life of the key.
        digest: `sha256:<hex>` of the payload; empty for a version without payload.
        size: Payload length in bytes.
        checksum: xxh3-128 of the payload in hex, checked at every read.
        kind: Free category such as `ml_model`.
        media_type: IANA media type of the payload.
        serializer: Id of the serializer that wrote it.
        filename: Original file name where the value was a file.
        metadata: JSON-able facts given at put.
        tags: Labels that may change in place.
        partitions: Dataset partitions, text to text.
        aliases: Aliases that point here now.
        run: The run that wrote it, if one was current.
        created_at: Aware UTC.
        prev_version: The version before this one, None for the first.
        value_digest: Cache-key hash of the value in memory, where the writer knew it.
        parts: Number of further named payloads (files of a directory and the like).
        history: False when it was put with `history=False`.
        external: Where the payload lives outside the store, if it does.
        signature: HMAC over the record, where a signing key is set.
        signature_key: Id of the key that signed.
        preview: Small JSON picture of the value made at write time.
    """

    id: str
    key: str
    version: int
    incarnation: str
    digest: str
    size: int
    checksum: str
    kind: str
    media_type: str
    serializer: str
    created_at: datetime
    prev_version: int | None = None
    filename: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, TagValue] = field(default_factory=dict)
    partitions: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    run: Run | None = None
    value_digest: str = ""
    parts: int = 0
    history: bool = True
    external: str = ""
    signature: str = ""
    signature_key: str = ""
    preview: Any = None

    @property
    def ref(self) -> str:
        """`key@version`, the readable reference."""
        return f"{self.key}@{self.version}"

    @property
    def fingerprint(self) -> str:
        """One text that two versions share exactly if they hold the same content.

        It covers the payload's digest and the serializer, so that the bytes `b"1"` and the JSON
        number 1 differ. No payload is read.
        """
        return f"{self.serializer}:{self.digest}"

    def equals(self, other: Blob) -> bool:
        """Say whether two versions hold the same content, without reading a payload.

        Args:
            other: The blob to compare with.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> store.put("a", [1, 2]).equals(store.put("b", [1, 2]))
            True
        """
        return self.fingerprint == other.fingerprint

    def __str__(self) -> str:
        return self.ref


@dataclass(frozen=True, slots=True)
class Use:
    """An edge between a run and a blob.

    Attributes:
        run: The run.
        blob: The version it used or made.
        role: `input`, `output` or `cache_hit`.
        at: When it was first recorded, aware UTC.
    """

    run: Run
    blob: Blob
    role: str
    at: datetime


# ------------------------------------------------------------------ the cache


@dataclass(frozen=True, slots=True)
class Ingredient:
    """One named part of a cache key, kept so that a miss can be explained.

    Attributes:
        name: `code`, an argument's name, `version`, `salt`, or what else counts.
        kind: `code`, `argument`, `blob`, `version`, `salt`, `package` or `extra`.
        digest: Hash of its value.
        summary: Short repr for people, at most 80 characters, never a secret's value.
    """

    name: str
    kind: str
    digest: str
    summary: str = ""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The digest of a call, with the ingredients it was made of.

    Attributes:
        digest: `fb1:<64 hex>`: key scheme and hash.
        name: The function's qualified name, or the `name=` that replaces it.
        ingredients: In a fixed order: code or version, arguments by name, extras.
        module: Where the function was defined; shown, never hashed.
        warnings: What the key could only take by name, or found unstable.
    """

    digest: str
    name: str
    ingredients: tuple[Ingredient, ...]
    module: str = ""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.digest


@dataclass(frozen=True, slots=True)
class Read:
    """A read of the store inside a cached function: what was asked for, and what it was then."""

    ref: str
    blob_id: str


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A finished computation: cache key to blob.

    Attributes:
        key: The cache key's digest.
        name: The function's name.
        rev: Bumped by every write of this entry; 0 means absent.
        blob: The version that holds the result.
        outputs: Named outputs beside the main one: name to blob id.
        run: The run that computed it; an unchanged result is an older run's blob.
        reads: Reads of the store to check again at lookup.
        ingredients: The ingredients of the key.
        created_at: First computation, aware UTC.
        updated_at: Last computation, aware UTC.
        expires_at: When it stops being served, aware UTC; None for never.
        cost: How long the computation took.
        hits: How often it was served.
        last_hit_at: Last time it was served, aware UTC.
        pinned: Whether eviction must leave it.
        metadata: Free JSON-able facts, among them what a host replays on a hit.
    """

    key: str
    name: str
    rev: int
    blob: Blob
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    cost: timedelta = timedelta()
    outputs: Mapping[str, str] = field(default_factory=dict)
    run: Run | None = None
    reads: tuple[Read, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    hits: int = 0
    last_hit_at: datetime | None = None
    pinned: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def saved(self) -> timedelta:
        """Computing time that hits saved so far."""
        return self.cost * self.hits

    def is_expired(self, now: datetime) -> bool:
        """Whether the entry's time to live is over at `now`."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class LookupStats:
    """Look-ups of one function on one day.

    Attributes:
        day: UTC, `2026-11-21`.
        name: The function.
        hits: Look-ups that were served.
        misses: Look-ups that were not.
        seconds: Computing time that the hits saved.
        size: Bytes that the hits gave back.
    """

    day: str
    name: str
    hits: int
    misses: int
    seconds: float
    size: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """A time-bound right to compute one cache key.

    Attributes:
        key: The cache key's digest.
        owner: Who holds it.
        token: Fencing token; grows with every new holder.
        entry_rev: The entry's `rev` when the reservation was given.
        ttl: How long it lasts without a heartbeat.
        expires_in: Time left when the catalog answered.
    """

    key: str
    owner: str
    token: int
    entry_rev: int
    ttl: timedelta
    expires_in: timedelta

    @property
    def heartbeat_interval(self) -> timedelta:
        """How often to extend it: a third of the ttl."""
        return self.ttl / 3
