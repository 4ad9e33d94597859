"""Payloads on their way into a store: placed, fetched, compared with their records, written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from flowblob.drafts import Part, Payload, Spooled
from flowblob.errors import PayloadCorruptError, PayloadError
from flowblob.payload import MEMORY, Progress, Spool
from flowblob.writing import Placement

if TYPE_CHECKING:
    from flowblob.objects import Objects

#: Payloads on their way at the same time: small ones wait for the other side, not for bytes.
_THREADS = 4
#: What may wait in memory on its way into the catalog.
_INLINE_BYTES = 64 << 20


class Sink(Protocol):
    """What a payload is written into."""

    def write(self, data: Any, /) -> int:
        """Take any bytes-like object."""

    def copy(self, source: BinaryIO) -> None:
        """Take a stream to its end."""


#: Writes one payload into a sink, unverified: whoever gave the sink hashes what arrives.
Fetch = Callable[[Sink], None]


class Arrival:
    """The payloads of one batch on their way into the target."""

    def __init__(self, target: Objects, placement: Placement, op: str, progress: Progress) -> None:
        self._target = target
        self._placement = placement
        self._op = op
        self._progress = progress
        self._inline = 0
        self.parts: dict[str, Part] = {}
        self.failures: dict[str, PayloadError] = {}
        self.payloads = self.size = self.fetched = 0
        self._lock = threading.Lock()

    def take(self, wanted: Iterable[tuple[Spooled, Fetch]]) -> None:
        """Bring payloads in; which could not be had, `failures` says."""
        outside = []
        for promised, fetch in wanted:
            if self._goes_inline(promised.size):
                self._inline += promised.size
                self._take_one(promised, fetch, None)
            else:
                outside.append((promised, fetch))
        if not outside:
            return
        placed = self._placement.place(self._op, [promised for promised, _ in outside])
        work = []
        for (promised, fetch), (payload, is_new) in zip(outside, placed, strict=True):
            if is_new:
                work.append((promised, fetch, payload))
            else:
                self._keep(promised, payload.generation)
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="flowblob-copy") as pool:
            for done in [pool.submit(self._take_one, *item) for item in work]:
                done.result()

    def _goes_inline(self, size: int) -> bool:
        limit = self._target.settings.inline_limit
        return size <= limit and self._inline + size <= _INLINE_BYTES

    def _take_one(self, promised: Spooled, fetch: Fetch, payload: Payload | None) -> None:
        """Fetch a payload, compare it with its record, and write it where it was placed."""
        storage = self._target.storage
        memory = MEMORY if payload else max(MEMORY, promised.size)
        with Spool(storage, progress=self._progress, memory=memory) as spool:
            try:
                fetch(spool)
                spooled = spool.finish()
                _compare(spooled, promised)
            except PayloadError as error:
                self.failures[promised.digest] = error
                return
            if payload is None:
                self._keep(promised, data=spooled.data)
            else:
                storage.write(payload.name, spooled, op=self._op)
                self._keep(promised, payload.generation)
        with self._lock:
            self.payloads += 1
            self.size += promised.size
            self.fetched += promised.size

    def _keep(self, promised: Spooled, generation: str = "", data: bytes | None = None) -> None:
        self.parts[promised.digest] = Part(
            "", promised.digest, promised.size, promised.checksum, generation, data
        )


def _compare(spooled: Spooled, promised: Spooled) -> None:
    if (spooled.digest, spooled.size, spooled.checksum) != (
        promised.digest, promised.size, promised.checksum
    ):  # fmt: skip
        raise PayloadCorruptError(
            f"The payload {promised.digest} is damaged: its bytes have {spooled.digest}",
            hint="Repair it where it comes from, then run this again",
        )
