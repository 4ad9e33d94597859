"""The facade's verbs that bring records and payloads to another store."""

from __future__ import annotations

import os
from pathlib import Path

from flowblob.bundle import Bundle
from flowblob.checks import validate_key
from flowblob.errors import InvalidInputError, NotFoundError, StorageUnavailableError
from flowblob.exporting import Exported, weigh, write_bundle
from flowblob.movement import Moved, Mover, StoreOrigin
from flowblob.payload import Progress
from flowblob.records import Records


class Moving(Records):
    """Copy, export and import of one store."""

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
        mover = self._mover(other, prefix, allow_pickle=allow_pickle, progress=progress)
        return mover.run()

    def copy_size(self, other: Moving, *, prefix: str = "") -> int:
        """Return how many bytes `copy_to` would bring; no payload is read."""
        return self._mover(other, prefix).weigh()

    def _mover(
        self,
        other: Moving,
        prefix: str,
        *,
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> Mover:
        source, target = self._objects, other._objects
        if source.catalog.store_id == target.catalog.store_id:
            raise InvalidInputError(
                f"{source.catalog.url} and {target.catalog.url} are the same store",
                hint="Name another one to copy to",
            )
        self.flush()
        origin = StoreOrigin(source, prefix=prefix)
        return Mover(origin, target, allow_pickle=allow_pickle, progress=progress)

    def export_to(
        self,
        file: str | os.PathLike[str],
        *,
        key: str = "",
        prefix: str = "",
        progress: Progress | None = None,
    ) -> Exported:
        """Write keys with all that belongs to them into one file, complete or not at all.

        The file is a plain tar: payloads by digest, and a manifest of the records. It holds
        versions, dropped ones too, runs, tags, aliases, uses, cache entries; a parent outside of it
        as its id. The same content gives the same bytes. Every payload's sha256 is checked; damaged
        ones, and later versions of their keys, are left out and named in the answer.

        Args:
            file: What to write; one that is there is replaced.
            key: Only this key.
            prefix: Only keys that begin so.
            progress: Called with numbers of bytes.

        Raises:
            NotFoundError: There is no such key.
            StorageUnavailableError: The file cannot be written.

        Example:
            >>> import tempfile
            >>> from flowblob import Store
            >>> file = tempfile.mkdtemp() + "/churn.tar"
            >>> store, other = Store("memory://"), Store("memory://")
            >>> _ = store.put("models/churn", [0.1, 0.2])
            >>> store.export_to(file, key="models/churn").versions
            1
            >>> other.import_from(file).versions, other.get("models/churn")
            (1, [0.1, 0.2])
        """
        origin = self._origin(key, prefix)
        about = {"store_id": self._objects.catalog.store_id, "key": key, "prefix": prefix}
        try:
            return write_bundle(origin, Path(file), about=about, progress=progress)
        except OSError as error:
            raise StorageUnavailableError(
                f"Cannot write {os.fspath(file)}: {error.strerror or error}",
                hint="Check the folder, space and permissions",
            ) from error

    def export_size(self, *, key: str = "", prefix: str = "") -> int:
        """Return how many bytes of payloads `export_to` would write; none is read."""
        return weigh(self._origin(key, prefix))

    def _origin(self, key: str, prefix: str) -> StoreOrigin:
        if key and prefix:
            raise InvalidInputError("An export takes a key or a prefix", hint="Leave one out")
        self.flush()
        origin = StoreOrigin(self._objects, key=validate_key(key) if key else "", prefix=prefix)
        if not any(origin.pages("incarnation")):
            what = f"No key {key!r}" if key else f"No key begins with {prefix!r}"
            raise NotFoundError(what, hint="'flowblob ls' lists the keys")
        return origin

    def import_from(
        self,
        file: str | os.PathLike[str],
        *,
        allow_pickle: bool = False,
        progress: Progress | None = None,
    ) -> Moved:
        """Take in what `export_to` wrote, with its ids, versions, times and links.

        The whole file is checked before any of it becomes visible; then everything goes as with
        `copy_to`: what is here already is skipped, so that importing twice changes nothing.

        Args:
            file: The bundle.
            allow_pickle: Take pickles that no key of this process has signed into a store where
                only the user writes and nothing asks any more who wrote them. Loading a pickle runs
                code of whoever wrote it.
            progress: Called with numbers of bytes, first of the check, then of the import.

        Raises:
            InvalidInputError: It is no bundle, of an unknown format, damaged, cut off or forged.
            ConflictError: The bundle contradicts what is here; what went before stays.
        """
        with Bundle(Path(file), progress=progress) as bundle:
            mover = Mover(bundle, self._objects, allow_pickle=allow_pickle, progress=progress)
            return mover.run()
