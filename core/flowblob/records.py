"""The facade's verbs that look versions up; no payload is read, and no use recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowblob.cache import reads
from flowblob.checks import validate_filters, validate_key, validate_limit
from flowblob.errors import NotFoundError
from flowblob.model import Blob, Read, Ref

if TYPE_CHECKING:
    from flowblob.abc import Catalog
    from flowblob.drafts import Record
    from flowblob.journal import Journal
    from flowblob.objects import Objects


class Records:
    """The records of one store, on which all its other verbs stand."""

    catalog: Catalog
    _journal: Journal
    _objects: Objects

    @property
    def url(self) -> str:
        """Where the store is, with every secret masked."""
        return self.catalog.url

    @property
    def store_id(self) -> str:
        """Uuid of the store, made with it."""
        return self.catalog.store_id

    def resolve(self, ref: str | Ref | Blob) -> Blob:
        """Return the record that a reference means now; no payload is read, no use recorded.

        Raises:
            NotFoundError: It names the part that does not exist.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("a", 1, alias="prod")
            >>> store.resolve("a@prod").ref
            'a@0'
        """
        return self._resolve(Ref.parse(ref)).blob

    def head(self, key: str) -> Blob:
        """Return the record of the newest version of a key.

        Raises:
            NotFoundError: The key does not live.
        """
        return self._resolve(Ref(validate_key(key))).blob

    def exists(self, ref: str | Ref | Blob) -> bool:
        """Say whether a reference means anything now."""
        parsed = Ref.parse(ref)
        found = self.catalog.find(parsed)
        self._track(parsed, found.blob if found else None)
        return found is not None

    def versions(self, key: str, *, limit: int | None = None) -> list[Blob]:
        """Return the versions of a key, newest first; no payload is read.

        Raises:
            NotFoundError: The key does not live.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> for number in range(3):
            ...     _ = store.put("n", number)
            >>> [blob.version for blob in store.versions("n")]
            [2, 1, 0]
        """
        key, limit = validate_key(key), validate_limit(limit)
        while not (found := self.catalog.versions(key, limit=limit)):
            self.head(key)
            if limit == 0:
                return []
        self._track(Ref(key), found[0])
        return found

    def ls(self, prefix: str = "", *, limit: int | None = None, **filters: Any) -> list[Blob]:
        """Return the newest version of every key, by key.

        Args:
            prefix: Only keys that begin so.
            limit: At most so many.
            **filters: Equality on `kind`, `system`, `flow`, `task`, `run_id`, `alias`, and `tags`.
        """
        return self.catalog.blobs(
            prefix=prefix, limit=validate_limit(limit), filters=validate_filters(filters)
        )

    def pinned(self, key: str, incarnation: str, version: int, digest: str) -> Blob:
        """Return exactly this version of this life of the key.

        Raises:
            NotFoundError: It was deleted; a later version of the same number is another one.
        """
        found = self.catalog.find(Ref(key, version=version))
        if found is None or (found.blob.incarnation, found.blob.digest) != (incarnation, digest):
            raise NotFoundError(f"{key}@{version} as it was when this reference was made is gone")
        return found.blob

    def _resolve(self, ref: Ref, *, payload: bool = False) -> Record:
        """Return what a reference means now."""
        try:
            found = self._objects.resolve(ref, payload=payload)
        except NotFoundError:
            self._track(ref, None)
            raise
        self._track(ref, found.blob)
        return found

    def _track(self, ref: Ref, blob: Blob | None) -> None:
        """Tell the cached function that runs now what it saw, if the reference can mean another."""
        if (tracked := reads.get()) is None or ref.id:
            return
        if blob is None or ref.version is None:
            tracked.append(Read(str(ref), blob.id if blob else ""))

    def flush(self) -> None:
        """Write the input uses and hit counts that still wait in memory."""
        self._journal.flush()
