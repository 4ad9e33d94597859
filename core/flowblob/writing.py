"""The put protocol: spool, place, write, commit. Keep the order of steps.

`docs/design/0002-payload-lifecycle.md` says what each step prevents. TXN-A and TXN-B are the
catalog's `place` and `commit`; only TXN-B makes anything visible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from flowblob.abc import Catalog, Storage
from flowblob.drafts import Commit, Draft, Part, Payload, PlacementLost, Spooled
from flowblob.errors import (
    CatalogUnavailableError,
    InvalidInputError,
    StorageUnavailableError,
)
from flowblob.heartbeat import Heartbeat
from flowblob.journal import best_effort
from flowblob.payload import MEMORY, Progress, Spool, Verifier
from flowblob.reader import PayloadReader

PIN_TTL = timedelta(minutes=2)
#: Attached files up to here may wait in memory, all together.
_MEMORY_OF_PARTS = 64 << 20
#: Writing less than this is over long before a pin could expire.
_QUICK = 8 << 20
_TRIES = 10


@dataclass(frozen=True, slots=True)
class _Taken:
    name: str
    spooled: Spooled


class Intake:
    """What a serializer writes into: the main payload and the files attached to it."""

    def __init__(
        self,
        storage: Storage,
        stack: ExitStack,
        *,
        inline: bool | None,
        inline_limit: int,
        progress: Progress | None,
    ) -> None:
        self._storage = storage
        self._stack = stack
        self._inline = inline
        # What is to go inline must stay in memory, whatever the usual limit.
        self._part_memory = max(MEMORY, inline_limit) if inline else inline_limit
        self._progress = progress
        self._main = stack.enter_context(
            Spool(storage, progress=progress, memory=max(MEMORY, inline_limit))
        )
        self._parts: dict[str, _Taken] = {}
        self._in_memory = 0
        self.write: Callable[[Any], int] = self._main.write
        self.copy_file = self._main.copy_file
        self.copy = self._main.copy

    def attach(self, path: Path) -> str:
        """Store a file as a payload of its own, named by its digest; equal files are one part."""
        memory = self._part_memory if self._in_memory < _MEMORY_OF_PARTS or self._inline else 0
        spool = self._stack.enter_context(
            Spool(self._storage, progress=self._progress, memory=memory)
        )
        spool.copy_file(path)
        taken = spool.finish()
        # Named by content: a manifest of positions would be the same bytes for two folders.
        if taken.digest not in self._parts:
            self._in_memory += len(taken.data or b"")
            self._parts[taken.digest] = _Taken(taken.digest, taken)
        return taken.digest

    def finish(self) -> list[_Taken]:
        """Return all payloads, the main one first."""
        return [_Taken("", self._main.finish()), *self._parts.values()]


class Placement:
    """Room for payloads in one store: what is there is shared, the rest gets a generation.

    Args:
        catalog: Decides everything.
        storage: Where the bytes are.
        verifier: What this process has verified already.
    """

    def __init__(self, catalog: Catalog, storage: Storage, verifier: Verifier) -> None:
        self._catalog = catalog
        self._storage = storage
        self._verifier = verifier

    def place(self, op: str, spooled: Sequence[Spooled]) -> list[tuple[Payload, bool]]:
        """Return for each the pinned payload, and whether its bytes must be written.

        What has lost its bytes gets a new generation.
        """
        suspects: set[str] = set()
        while True:
            placed = self._catalog.place(op, spooled, ttl=PIN_TTL, suspects=suspects)
            missing = {
                payload.generation
                for payload, is_new in placed
                if not is_new and not payload.is_inline and not self._is_sound(payload)
            }
            if not missing:
                return placed
            suspects |= missing

    def _is_sound(self, payload: Payload) -> bool:
        """Say whether bytes that are stored already may stand for those of this put.

        Size alone would acknowledge a version over flipped bytes. Reading them back costs a few
        percent of hashing the value, once per process and file.
        """
        reader = PayloadReader(payload, self._storage, self._verifier, what=payload.digest)
        return reader.is_sound()

    def keep(self, op: str) -> Heartbeat:
        """Return a heartbeat that renews the pins while the bytes are written."""
        return Heartbeat(PIN_TTL / 3, lambda: self._renew(op))

    def _renew(self, op: str) -> bool:
        # TXN-B finds out about a pin that could not be renewed, and asks for the bytes again.
        with best_effort("Renewing the pins of a put"):
            self._catalog.renew(op, PIN_TTL)
        return True


class Put:
    """One put: from spooled bytes to the committed version.

    Args:
        catalog: Decides everything.
        storage: Takes what does not go inline.
        verifier: What this process has verified already.
        inline: True or False to override the limit, None to follow it.
        inline_limit: Largest payload in bytes that goes into the catalog.
    """

    def __init__(
        self,
        catalog: Catalog,
        storage: Storage,
        verifier: Verifier,
        *,
        inline: bool | None,
        inline_limit: int,
    ) -> None:
        self._catalog = catalog
        self._storage = storage
        self._placement = Placement(catalog, storage, verifier)
        self._inline = inline
        self._limit = inline_limit

    def run(self, draft: Draft, payloads: list[_Taken]) -> Commit:
        """Store the payloads and commit the draft.

        Raises:
            Whatever `Catalog.commit` and `Storage.write` raise; nothing is visible then.
        """
        inline = [self._inline_part(taken) for taken in payloads if self._is_inline(taken.spooled)]
        outside = [taken for taken in payloads if not self._is_inline(taken.spooled)]
        order = {taken.name: position for position, taken in enumerate(payloads)}
        if not outside:
            return self._catalog.commit(replace(draft, parts=tuple(inline)))
        try:
            for _ in range(_TRIES):
                parts = sorted(
                    [*inline, *self._store(draft.op, outside)], key=lambda part: order[part.name]
                )
                try:
                    return self._catalog.commit(replace(draft, parts=tuple(parts)))
                except PlacementLost:
                    continue  # a collector was quicker; the spooled bytes are still here
        except CatalogUnavailableError:
            raise  # asked once more, it would take as long again; the pins run out by themselves
        except BaseException:
            with best_effort("Dropping the pins of a failed put"):
                self._catalog.unpin(draft.op)
            raise
        raise StorageUnavailableError(
            f"Storing {draft.key!r} met a collector {_TRIES} times in a row", hint="Try again"
        )

    def _store(self, op: str, outside: list[_Taken]) -> list[Part]:
        """Place, then write what is not there."""
        placed = self._placement.place(op, [taken.spooled for taken in outside])
        writes = [
            (payload.name, taken.spooled)
            for (payload, is_new), taken in zip(placed, outside, strict=True)
            if is_new
        ]
        self._write(op, writes)
        return [
            Part(
                taken.name,
                payload.digest,
                payload.size,
                payload.checksum,
                generation=payload.generation,
            )
            for (payload, _), taken in zip(placed, outside, strict=True)
        ]

    def _write(self, op: str, writes: list[tuple[str, Spooled]]) -> None:
        with ExitStack() as stack:
            if sum(spooled.size for _, spooled in writes) > _QUICK:
                stack.enter_context(self._placement.keep(op))
            for name, spooled in writes:
                self._storage.write(name, spooled, op=op)

    def _is_inline(self, spooled: Spooled) -> bool:
        if self._inline is None:
            return spooled.data is not None and spooled.size <= self._limit
        if self._inline and (spooled.data is None or spooled.size > self._catalog.inline_limit):
            raise InvalidInputError(
                f"A payload of {spooled.size:,} bytes is too large for inline=True on this catalog",
                hint=f"At most {min(self._catalog.inline_limit, MEMORY):,} bytes; leave inline out",
            )
        return self._inline

    def _inline_part(self, taken: _Taken) -> Part:
        spooled = taken.spooled
        return Part(taken.name, spooled.digest, spooled.size, spooled.checksum, data=spooled.data)
