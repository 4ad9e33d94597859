"""A value that is fetched when it is needed."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from flowblob.errors import NotFoundError
from flowblob.model import Blob


class Loader(Protocol):
    """What a lazy value needs of its store."""

    @property
    def store_id(self) -> str:
        """Uuid of the store."""

    def load(self, blob: Blob) -> Any:
        """Return the value of this version."""

    def value_digest(self, blob: Blob) -> str:
        """Return the cache-key hash of the value, computed once and kept on the blob."""

    def pinned(self, key: str, incarnation: str, version: int, digest: str) -> Blob:
        """Return exactly this version of this life of the key."""


_open: weakref.WeakValueDictionary[str, Loader] = weakref.WeakValueDictionary()


def register(loader: Loader) -> None:
    """Let lazy values of this store, also those from other processes, find it."""
    _open[loader.store_id] = loader


def find(store_id: str) -> Loader:
    """Return the store of this id, if it is open here or the default one.

    Raises:
        NotFoundError: Neither.
    """
    found = _open.get(store_id)
    if found is None:
        # A process that only unpickled the value has not loaded the store's module yet.
        import flowblob

        candidate = flowblob.default_store()
        found = candidate if candidate.store_id == store_id else None
    if found is None:
        raise NotFoundError(
            f"The store {store_id} is not open here",
            hint="Open it first, or set FLOWBLOB_URL to where it is",
        )
    return found


class Lazy:
    """A version whose value is loaded on demand.

    It pickles as the store's id and the exact version, never as a URL. As an argument of a cached
    function it counts by its value, so that a lazy and an eager caller meet on one key and a hit
    downloads nothing.

    Attributes:
        blob: The record of the version.

    Example:
        >>> from flowblob import Store
        >>> store = Store("memory://")
        >>> _ = store.put("numbers", [1, 2])
        >>> lazy = store.get("numbers", lazy=True)
        >>> lazy.blob.version, lazy.load()
        (0, [1, 2])
    """

    __flowblob_lazy__ = True
    __slots__ = ("_blob", "_loader", "_pin")

    def __init__(self, loader: Loader, blob: Blob) -> None:
        self._loader: Loader | None = loader
        self._blob: Blob | None = blob
        self._pin = (loader.store_id, blob.key, blob.incarnation, blob.version, blob.digest)

    @property
    def blob(self) -> Blob:
        if self._blob is None:
            self._blob = self._store().pinned(*self._pin[1:])
        return self._blob

    @property
    def digest(self) -> str:
        """Digest of the payload, known without asking the store."""
        return self._pin[4]

    def load(self) -> Any:
        """Return the value; records an input use of the current run.

        Raises:
            NotFoundError: The store is not open here, or the version was deleted.
            PayloadError: The payload is missing or damaged.
        """
        return self._store().load(self.blob)

    def value_digest(self) -> str:
        """Return the cache-key hash of the value, from the blob where it is kept."""
        return self.blob.value_digest or self._store().value_digest(self.blob)

    def _store(self) -> Loader:
        if self._loader is None:
            self._loader = find(self._pin[0])
        return self._loader

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, self._pin)

    def __repr__(self) -> str:
        _, key, _, version, digest = self._pin
        return f"<blob {key}@{version} {digest.removeprefix('sha256:')[:8]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lazy) and self._pin == other._pin

    def __hash__(self) -> int:
        return hash(self._pin)


def _restore(store_id: str, key: str, incarnation: str, version: int, digest: str) -> Lazy:
    lazy = Lazy.__new__(Lazy)
    lazy._loader, lazy._blob = None, None
    lazy._pin = (store_id, key, incarnation, version, digest)
    return lazy
