"""Whether a pickle may be loaded: decided by who can write to the store, and by signatures.

Loading a pickle runs code that its writer chose. The decision is made before any of its bytes are
looked at, from the record alone; `docs/design/0007-trust.md` says against whom it helps.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from flowblob.abc import Catalog, Storage
from flowblob.errors import InvalidInputError, PayloadUnsafeError
from flowblob.urls import folder_of

if TYPE_CHECKING:
    from flowblob.drafts import Draft
    from flowblob.model import Blob

SIGNING_KEY = "FLOWBLOB_SIGNING_KEY"
SIGNING_KEY_FILE = "FLOWBLOB_SIGNING_KEY_FILE"
#: Shorter keys could be found by trying; RFC 2104 advises against less than the hash gives anyway.
MIN_KEY_BYTES = 16
_NEW_KEY_BYTES = 32
#: A file beyond this is no list of keys.
_MAX_FILE = 1 << 16
_DOMAIN = b"flowblob/pickle/1"
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def message(key: str, blob_id: str, digest: str, serializer: str) -> bytes:
    """Return the bytes that are signed for one version: no two versions share them.

    Every part stands behind its length, so that none can be continued into the next.
    """
    parts = [text.encode() for text in (key, blob_id, digest, serializer)]
    return _DOMAIN + b"".join(len(part).to_bytes(8, "big") + part for part in parts)


class Keyring:
    """The signing keys of this process: the first one signs, all of them verify.

    It shows ids only, and refuses to be pickled: a key must not end up in a payload or a log.

    Args:
        keys: Key bytes by id, the signing one first.
        source: Where they come from.

    Example:
        >>> ring = Keyring.parse("2026:" + "c2VjcmV0" * 6 + ",an older bare secret")
        >>> ring.ids[0], len(ring.ids)
        ('2026', 2)
    """

    def __init__(self, keys: Mapping[str, bytes] | None = None, *, source: str = "") -> None:
        self._keys = dict(keys or {})
        self.source = source

    @classmethod
    def parse(cls, text: str, *, source: str = SIGNING_KEY) -> Keyring:
        """Read keys, separated by commas or lines: `id:base64`, or a bare secret.

        A bare secret gets an id that is derived from it.

        Raises:
            InvalidInputError: There is none, or one is too short or unreadable; the message never
                holds it.
        """
        keys: dict[str, bytes] = {}
        for position, item in enumerate(filter(None, map(str.strip, re.split(r"[,\n]", text))), 1):
            key_id, key = _read_key(item, f"Key {position} in {source}")
            if key_id in keys:
                raise InvalidInputError(f"{source} holds two keys with the id {key_id!r}")
            keys[key_id] = key
        if not keys:
            raise InvalidInputError(f"{source} holds no signing key", hint=_HOW)
        return cls(keys, source=source)

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> Keyring:
        """Read the keys of FLOWBLOB_SIGNING_KEY, or of the file FLOWBLOB_SIGNING_KEY_FILE.

        Raises:
            InvalidInputError: Both are set, or what they say is no key.
        """
        environ = os.environ if env is None else env
        text, file = environ.get(SIGNING_KEY), environ.get(SIGNING_KEY_FILE)
        if text and file:
            raise InvalidInputError(f"Both {SIGNING_KEY} and {SIGNING_KEY_FILE} are set")
        if file:
            return cls._from_file(Path(file))
        return cls.parse(text) if text else cls()

    @classmethod
    def _from_file(cls, file: Path) -> Keyring:
        try:
            with file.open("rb") as source:
                return cls.parse(source.read(_MAX_FILE).decode(), source=str(file))
        except UnicodeDecodeError:
            # Not `from error`, which would show the bytes.
            raise InvalidInputError(f"{file} holds no text", hint=_HOW) from None
        except OSError as error:
            raise InvalidInputError(
                f"Cannot read {SIGNING_KEY_FILE}={file}: {error.strerror}"
            ) from error

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, the signing one first."""
        return tuple(self._keys)

    def sign(self, text: bytes) -> tuple[str, str]:
        """Return (key id, signature) by the first key."""
        key_id = next(iter(self._keys))
        return key_id, hmac.digest(self._keys[key_id], text, "sha256").hex()

    def verifies(self, text: bytes, key_id: str, signature: str) -> bool:
        """Say whether the key of this id made the signature; takes the same time for any."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        made = hmac.digest(key, text, "sha256").hex()
        return hmac.compare_digest(made.encode(), signature.encode())

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self._keys)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Signing keys do not leave their process")


_HOW = "'flowblob trust new-key' makes one"


def _read_key(item: str, what: str) -> tuple[str, bytes]:
    key_id, colon, text = item.partition(":")
    if colon:
        if not _KEY_ID.match(key_id):
            raise InvalidInputError(
                f"{what} has no valid id", hint="Write id:base64; letters, digits and ._- in the id"
            )
        key = _decoded(text, what)
    else:
        key = item.encode()
        key_id = "k" + hashlib.sha256(b"flowblob/key-id/1" + key).hexdigest()[:12]
    if len(key) < MIN_KEY_BYTES:
        raise InvalidInputError(
            f"{what} has {len(key)} bytes; at least {MIN_KEY_BYTES} are needed", hint=_HOW
        )
    return key_id, key


def _decoded(text: str, what: str) -> bytes:
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        # Not `from error`, which could show what it read.
        raise InvalidInputError(f"{what} is not base64", hint=_HOW) from None


def new_key(key_id: str) -> str:
    """Return a fresh key in the form that FLOWBLOB_SIGNING_KEY takes.

    Raises:
        InvalidInputError: The id is none.
    """
    text = f"{key_id}:{base64.b64encode(secrets.token_bytes(_NEW_KEY_BYTES)).decode()}"
    _read_key(text, f"A key with the id {key_id!r}")
    return text


class Trust:
    """What one store does about pickles.

    Args:
        catalog: Says whether others can write records.
        storage: Says whether others can write payloads.
        keyring: Signs what is written here and says whom to believe.
        allow_pickle: Load pickles of whoever can write to the store.
    """

    def __init__(
        self, catalog: Catalog, storage: Storage, *, keyring: Keyring, allow_pickle: bool
    ) -> None:
        self._catalog = catalog
        self._storage = storage
        self._keyring = keyring
        self._is_settled = allow_pickle

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to ask any more: the user allowed it, or nobody else can write.

        What was found private once counts as private as long as the store is open.
        """
        if not self._is_settled:
            self._is_settled = not (self._catalog.is_shared or self._storage.is_shared)
        return self._is_settled

    @property
    def keyring(self) -> Keyring:
        """The keys of this process."""
        return self._keyring

    @property
    def can_sign(self) -> bool:
        """Whether this process has a key to sign with."""
        return bool(self._keyring)

    def sign(self, draft: Draft, digest: str) -> Draft:
        """Return the draft of a pickle with its signature, where this process has a key.

        A store of one's own is signed too, so that a copy of it on a shared one can be loaded.

        Args:
            draft: The version to be.
            digest: `sha256:<hex>` of its main payload.
        """
        key_id, signature = self._keyring.sign(
            message(draft.key, draft.blob_id, digest, draft.serializer)
        )
        signers = self._keyring.ids if self._catalog.is_shared else ()
        return replace(draft, signature=signature, signature_key=key_id, signers=signers)

    def admit(self, blob: Blob) -> bool:
        """Let a pickle be loaded, or refuse it.

        Returns:
            Whether its bytes must first be compared with its sha256, because others can write where
            they are.

        Raises:
            PayloadUnsafeError: Others can write records, and no known key has signed this one.
        """
        if self.is_settled:
            return False
        if not self._catalog.is_shared:
            return True
        if problem := self._problem(blob):
            file = folder_of(self._catalog.url)
            close = f"Run 'chmod -R go-w {file.parent}', set" if file else "Set"
            raise PayloadUnsafeError(
                f"{blob.ref} is a pickle in {self._catalog.url}, where others can write, and "
                f"{problem}: loading it could run their code",
                hint=f"{close} {SIGNING_KEY} for writers and readers, or pass allow_pickle=True "
                "(FLOWBLOB_ALLOW_PICKLE=1) if you trust everybody who can write there",
            )
        return True

    def _problem(self, blob: Blob) -> str:
        """Say why nothing vouches for a version; empty if a key of ours does."""
        if not blob.signature:
            return "it is not signed"
        if not self._keyring:
            return "this process has no signing key to check it with"
        if blob.signature_key not in self._keyring.ids:
            known = ", ".join(self._keyring.ids)
            return f"its key {blob.signature_key[:64]!r} is not one of those known here ({known})"
        text = message(blob.key, blob.id, blob.digest, blob.serializer)
        if not self._keyring.verifies(text, blob.signature_key, blob.signature):
            return "it is not what was signed"
        return ""
