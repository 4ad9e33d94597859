"""The part of a catalog's contract that is about versions, their payloads, names and links."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from flowblob.drafts import Commit, Draft, Note, Payload, Record, Spooled
from flowblob.model import Blob, Ref, Run, TagValue, Use


class Versions(ABC):
    """Puts and what comes of them; `Catalog` says what holds for every method."""

    # puts -----------------------------------------------------------

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

    # storage keys of hosts ------------------------------------------

    @abstractmethod
    def bind(self, space: str, name: str, *, blob_id: str, record: bytes = b"") -> None:
        """Point a host's opaque storage key at a blob, with the host's own small record."""

    @abstractmethod
    def bound(self, space: str, name: str) -> tuple[str, bytes] | None:
        """Return (blob id, record) of a host's storage key."""

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
