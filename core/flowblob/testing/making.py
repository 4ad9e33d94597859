"""Records with everything filled in that a test does not care about."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from flowblob.checks import new_id
from flowblob.drafts import Draft, EntryDraft, Part, Spooled
from flowblob.model import CacheKey, Ingredient, Reservation, Run
from flowblob.payload import xxh3


class Make:
    """Maker of drafts and of what goes into them.

    Example:
        >>> Make().draft("a", b"one").parts[0].size
        3
    """

    @staticmethod
    def digest(data: bytes) -> str:
        """Return the address of some bytes."""
        return "sha256:" + hashlib.sha256(data).hexdigest()

    @staticmethod
    def checksum(data: bytes) -> str:
        """Return what every read of some bytes is verified by."""
        return str(xxh3(data).hexdigest())

    def part(self, data: bytes, name: str = "", generation: str = "") -> Part:
        """Return a payload of a version to be, inline unless a generation holds its bytes."""
        inline = None if generation else data
        return Part(name, self.digest(data), len(data), self.checksum(data), generation, inline)

    def spooled(self, data: bytes, path: Path | None = None) -> Spooled:
        """Return hashed bytes in memory, or in a file that this writes."""
        if path is not None:
            path.write_bytes(data)
        kept = data if path is None else None
        return Spooled(self.digest(data), self.checksum(data), len(data), data=kept, path=path)

    def draft(self, key: str = "models/churn", data: bytes = b"one", **fields: Any) -> Draft:
        """Return the draft of an inline version; `fields` are those of Draft."""
        base: dict[str, Any] = {
            "op": new_id(),
            "key": key,
            "parts": (self.part(data),),
            "kind": "",
            "media_type": "application/octet-stream",
            "serializer": "bytes",
        }
        return Draft(**(base | fields))

    @staticmethod
    def run(task: str = "train", **fields: Any) -> Run:
        """Return a run of one task; `fields` are those of Run."""
        base: dict[str, Any] = {
            "system": "python",
            "flow": "nightly",
            "run_id": "r-1",
            "task": task,
            "task_run_id": f"r-1/{task}",
        }
        return Run(**(base | fields))

    @staticmethod
    def cache_key(name: str = "embed") -> CacheKey:
        """Return a cache key with two ingredients; its digest is `fb1:<name>`."""
        ingredients = (Ingredient("code", "code", "d1"), Ingredient("x", "argument", "d2", "41"))
        return CacheKey(f"fb1:{name}", name, ingredients, module="jobs")

    def entry(
        self, name: str = "embed", reservation: Reservation | None = None, **fields: Any
    ) -> EntryDraft:
        """Return the draft of a cache entry; `fields` are those of EntryDraft."""
        return EntryDraft(self.cache_key(name), reservation, **fields)
