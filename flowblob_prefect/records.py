"""What stands under Prefect's storage keys: a blob, and how to give its bytes back.

A storage key is opaque text in a table of its own. Where Prefect writes a value in its default
format, the value itself is stored, typed and versioned, and what Prefect reads is a record made
anew with a handle in it. Anything else comes back byte for byte.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import prefect
from prefect.serializers import PickleSerializer

from flowblob.keys import SCHEME
from flowblob_prefect.serializers import SERIALIZER_TYPE, PickledHandle, dump_handle

if TYPE_CHECKING:
    from uuid import UUID

    from flowblob.store import Store

SPACE = "prefect"
#: Begins the names of storage keys that no database could hold as they are.
_QUOTED = "quoted:"
_RECORD = b'{"metadata":'
_PICKLE = PickleSerializer().model_dump()
_METADATA = b'{"storage_key":'
_FIELDS = {"storage_key", "expiration", "serializer", "prefect_version", "storage_block_id"}


@dataclass(frozen=True, slots=True)
class Document:
    """A record that Prefect has written: metadata, and a value in the text of a serializer."""

    metadata: dict[str, Any]
    result: str

    @classmethod
    def parse(cls, path: str, content: bytes) -> Document | None:
        """Return the record in these bytes, None if they are something else."""
        if not content.startswith(_RECORD):
            return None
        try:
            told = json.loads(content)
            if told.keys() == {"metadata", "result"} and isinstance(told["result"], str):
                found = cls(told["metadata"], told["result"])
                return found if found.metadata["storage_key"] == path else None
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        return None

    @property
    def serializer(self) -> str:
        """Type of the serializer that made the text."""
        return str(self.metadata.get("serializer", {}).get("type", ""))

    @property
    def is_default(self) -> bool:
        """Whether Prefect's default serializer made the text, which nobody chose for its format."""
        return bool(self.metadata["serializer"] == _PICKLE)


@dataclass(frozen=True, slots=True)
class Binding:
    """What a storage key points at.

    Attributes:
        blob_id: The version.
        ref: Its readable reference when it was bound.
        is_native: The blob holds the value; otherwise the very bytes that Prefect wrote.
        is_pickled: Prefect wrote it with its default serializer, and expects to read it so.
        expiration: When Prefect must stop serving it, as Prefect wrote it.
        cost: Seconds that making it took, where a task made it.
        run: Who made it, for people.
    """

    blob_id: str
    ref: str = ""
    is_native: bool = True
    is_pickled: bool = False
    expiration: str | None = None
    cost: float = 0.0
    run: str = ""

    def bind(self, store: Store, path: str) -> None:
        """Point a storage key at the blob, whatever it pointed at before."""
        facts = {name: getattr(self, name) for name in _FACTS}
        store.catalog.bind(SPACE, _name(path), blob_id=self.blob_id, record=_dump(facts))

    @classmethod
    def find(cls, store: Store, path: str) -> Binding | None:
        """Return what a storage key points at; a key of the shared cache is one without binding."""
        bound = store.catalog.bound(SPACE, _name(path))
        if bound is not None:
            blob_id, record = bound
            facts = json.loads(record)
            return cls(blob_id, **{name: facts[name] for name in _FACTS if name in facts})
        if path.startswith(f"{SCHEME}:") and (found := store.catalog.entry(path)) is not None:
            return cls(found[0].blob.id, found[0].blob.ref)  # another host has computed it
        return None

    def document(
        self, store: Store, path: str, block_id: UUID | None, *, is_split: bool = False
    ) -> bytes:
        """Return the record that Prefect reads in the place of the value.

        Args:
            store: Where the value is.
            path: The storage key.
            block_id: The block that reads.
            is_split: The block is `key_storage` and `result_storage` at once, and is asked for
                metadata and value by the same key: what it says must read as both.
        """
        pickled = self.is_pickled and not is_split
        metadata = {
            "storage_key": path,
            "expiration": self.expiration,
            "serializer": _PICKLE if pickled else {"type": SERIALIZER_TYPE},
            "prefect_version": prefect.__version__,
            "storage_block_id": None if block_id is None else str(block_id),
        }
        if pickled:
            handle = PickleSerializer().dumps(PickledHandle(store.store_id, self.blob_id))
        else:
            handle = dump_handle(store.store_id, self.blob_id, self.ref)
        both = metadata if is_split else {}
        return _dump({**both, "metadata": metadata, "result": handle.decode()})


_FACTS = ("ref", "is_native", "is_pickled", "expiration", "cost", "run")


def is_metadata(path: str, content: bytes) -> bool:
    """Whether these bytes are metadata alone, which Prefect writes beside a value it split off."""
    try:
        told = json.loads(content) if content.startswith(_METADATA) else {}
        return bool(told and told.keys() == _FIELDS and told["storage_key"] == path)
    except ValueError:
        return False


def _dump(told: dict[str, Any]) -> bytes:
    return json.dumps(told, ensure_ascii=False).encode()


def _name(path: str) -> str:
    if path.startswith(_QUOTED) or not _is_text(path):
        return _QUOTED + quote(path, errors="surrogatepass")
    return path


def _is_text(path: str) -> bool:
    """Say whether databases can hold it: a lone surrogate or a NUL is text for Python only."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in path
