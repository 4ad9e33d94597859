"""Versions, the runs that write and read them, and the edges between the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from flowblob.errors import InvalidInputError

TagValue = str | int | float | bool
EMPTY: Mapping[str, Any] = MappingProxyType({})


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
