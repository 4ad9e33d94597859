"""The facade's verbs that read payloads; each read is linked to the current run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from flowblob import transfer
from flowblob.drafts import Record
from flowblob.journal import best_effort
from flowblob.lazy import Lazy
from flowblob.links import Links
from flowblob.model import Blob, Ref
from flowblob.payload import Progress


class Reading(Links):
    """Values, streams and files of one store."""

    def get(self, ref: str | Ref | Blob, *, lazy: bool = False, mmap: bool = False) -> Any:
        """Return the value of a version; the read is linked to the current run.

        Args:
            ref: `key`, `key@3`, `key@prod`, `key@sha256:…`, `id:<uuid>`, `sha256:…`, or a Blob.
            lazy: Return a `Lazy` that loads when it is asked.
            mmap: Return the value over the mapped file without any copy: a memoryview for bytes.

        Raises:
            NotFoundError: The reference names nothing.
            PayloadError: Missing or damaged; damaged bytes are never returned.
            SerializationError: This process cannot build the value.
            NotSupportedError: `mmap` was asked of a format that has no such view.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> blob = store.put("numbers", [1, 2])
            >>> store.get("numbers@0") == store.get(blob) == store.get("numbers", lazy=True).load()
            True
        """
        parsed = Ref.parse(ref)
        record = self._resolve(parsed, payload=not lazy)
        if lazy:
            return Lazy(self, record.blob)
        self._note(record.blob)
        return self._objects.load(record, mmap=mmap)

    def open(self, ref: str | Ref | Blob) -> BinaryIO:
        """Return a seekable stream over the payload, verified before its first byte.

        Args:
            ref: Any reference.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("text", b"abc")
            >>> with store.open("text") as stream:
            ...     stream.read()
            b'abc'
        """
        return self._objects.reader(self._find(ref)).open()

    def download(
        self,
        ref: str | Ref | Blob,
        target: str | os.PathLike[str],
        *,
        progress: Progress | None = None,
    ) -> Path:
        """Write the payload of a version to a file or folder, complete or not at all.

        Args:
            ref: Any reference.
            target: A file name, or a folder into which the file goes under its own name. A stored
                folder is restored at `target` itself, which must be absent or empty.
            progress: Called with numbers of bytes.

        Returns:
            What was written.

        Raises:
            InvalidInputError: The target cannot take it.

        Example:
            >>> import tempfile
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("text", b"abc", filename="a.txt")
            >>> store.download("text", tempfile.mkdtemp()).read_bytes()
            b'abc'
        """
        record = self._find(ref)
        return transfer.download(record.blob, self._objects.reader(record), Path(target), progress)

    def _find(self, ref: str | Ref | Blob) -> Record:
        record = self._resolve(Ref.parse(ref), payload=True)
        self._note(record.blob)
        return record

    def load(self, blob: Blob) -> Any:
        """Return the value of a version that was resolved before; the read is linked."""
        return self.get(Ref(id=blob.id))

    def value_digest(self, blob: Blob) -> str:
        """Return the cache-key hash of a version's value, computed once and kept on the blob."""
        from flowblob.keys import value_digest

        known = self.resolve(Ref(id=blob.id)).value_digest
        if known:
            return known
        digest = value_digest(
            self._objects.load(self._objects.resolve(Ref(id=blob.id), payload=True))
        )
        with best_effort("Keeping a value digest"):
            self.catalog.set_value_digest(blob.id, digest)
        return digest
