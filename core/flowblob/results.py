"""How results are kept and served, and what a hit is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from flowblob.model import Blob, CacheEntry, Run, TagValue
from flowblob.objects import PutRequest
from flowblob.wording import duration

if TYPE_CHECKING:
    from flowblob.drafts import EntryDraft

OnError = Literal["compute", "raise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """How results are kept and served; `cached` documents the fields."""

    ttl: timedelta | None = None
    kind: str = ""
    tags: Mapping[str, TagValue] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    serializer: str | None = None
    history: bool = True
    lazy: bool = False
    single_flight: bool = True
    on_error: OnError = "compute"
    lease: timedelta = timedelta(seconds=30)
    max_hold: timedelta = timedelta(days=1)

    def request(
        self, entry: EntryDraft, *, run: Run | None, value_digest: str, new_version: bool
    ) -> PutRequest:
        """Return the put of a new result."""
        return PutRequest(
            kind=self.kind,
            tags=self.tags,
            metadata=self.metadata,
            serializer=self.serializer,
            history=self.history,
            new_version=new_version,
            run=run,
            value_digest=value_digest,
            entry=entry,
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A result that came from the cache.

    Attributes:
        value: The value, or a Lazy where that was asked for.
        entry: The cache entry that served it.
    """

    value: Any
    entry: CacheEntry

    @property
    def blob(self) -> Blob:
        """The version that holds the value."""
        return self.entry.blob

    @property
    def run(self) -> Run | None:
        """The run that computed it."""
        return self.entry.run

    @property
    def saved(self) -> timedelta:
        """How long computing it took then."""
        return self.entry.cost

    def __str__(self) -> str:
        run = f" from {self.run}" if self.run else ""
        return f"hit {self.blob.ref}{run}, saved {duration(self.saved)}"

    def told(self, event: str, why: str) -> dict[str, dict[str, Any]]:
        """Return the fields of a log line, for handlers that write JSON.

        Args:
            event: `hit` or `miss`.
            why: Why it was computed.
        """
        return {
            "flowblob": {
                "event": event,
                "why": why,
                "function": self.entry.name,
                "key": self.entry.key,
                "ref": self.blob.ref,
                "size": self.blob.size,
                "run": str(self.run) if self.run else None,
                "seconds": self.saved.total_seconds(),
            }
        }
