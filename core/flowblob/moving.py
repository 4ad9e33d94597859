"""The facade's verbs that bring records and payloads to another store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowblob.errors import InvalidInputError
from flowblob.movement import Moved, Mover, StoreOrigin
from flowblob.payload import Progress

if TYPE_CHECKING:
    from flowblob.objects import Objects


class Moving:
    """Copy, export and import of one store."""

    _objects: Objects

    def flush(self) -> None:
        """Write what waits in memory."""
        raise NotImplementedError

    def copy_to(
        self,
        other: Moving,
        *,
        prefix: str = "",
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> Moved:
        """Copy everything into another store, which may have other engines.

        Ids, versions, times, signatures, links and lineage stay as they are. What is there already
        is skipped without reading payloads, so running it again after a kill goes on, and later
        brings what is new. Every payload's sha256 is checked on the way. Safe beside writers of
        both stores: what appears meanwhile is left for the next run. Whatever happens, every
        version in the other store has its payload.

        Damaged payloads do not stop it: they, and later versions of their keys, are left behind
        and named in the answer.

        Args:
            other: The store that takes it; what it has of its own stays.
            prefix: Only keys that begin so, with what belongs to them.
            allow_pickle: Take pickles from a store where others can write into one of the user's
                own, where nothing asks any more who wrote them.
            progress: Called with numbers of bytes.

        Raises:
            ConflictError: Both stores wrote to the same key, or it was deleted in the other one.
                What was copied before stays.
            UnavailableError: An engine did not answer; run it again.

        Example:
            >>> from flowblob import Store
            >>> old, new = Store("memory://"), Store("memory://")
            >>> blob = old.put("models/churn", [0.1, 0.2], alias="prod")
            >>> old.copy_to(new).versions, old.copy_to(new).versions
            (1, 0)
            >>> new.resolve("models/churn@prod").id == blob.id
            True
        """
        source, target = self._objects, other._objects
        if source.catalog.store_id == target.catalog.store_id:
            raise InvalidInputError(
                f"{source.catalog.url} and {target.catalog.url} are the same store",
                hint="Name another one to copy to",
            )
        self.flush()
        origin = StoreOrigin(source, prefix=prefix)
        return Mover(origin, target, allow_pickle=allow_pickle, progress=progress).run()
