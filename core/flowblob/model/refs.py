"""What names a version."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flowblob.checks import LATEST, validate_alias, validate_digest, validate_key
from flowblob.errors import InvalidInputError
from flowblob.model.blobs import Blob

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to one version.

    Its forms: `key`, `key@3`, `key@prod`, `key@sha256:…`, `id:<uuid>`, `sha256:…`.

    Attributes:
        key: The key, empty for the two forms that name none.
        version: The version number, if the reference has one.
        alias: The alias, if the reference has one; `latest` for the newest version.
        digest: `sha256:<hex>`, if the reference has one.
        id: The uuid of one Blob, if the reference has one.
    """

    key: str = ""
    version: int | None = None
    alias: str = ""
    digest: str = ""
    id: str = ""

    @classmethod
    def parse(cls, text: str | Ref | Blob) -> Ref:
        """Read a reference.

        Args:
            text: The reference; a Ref is returned as it is, a Blob names its own id.

        Raises:
            InvalidInputError: The text is no reference.

        Example:
            >>> Ref.parse("models/churn@3").version
            3
        """
        if isinstance(text, Ref):
            return text
        if isinstance(text, Blob):
            return cls(id=text.id)
        if not isinstance(text, str):
            raise InvalidInputError(
                f"A reference is text, not {type(text).__name__}", hint="Write 'key' or 'key@3'"
            )
        if text.startswith("id:"):
            if not _UUID.match(text[3:]):
                raise InvalidInputError(f"Invalid reference {text!r}: no uuid follows 'id:'")
            return cls(id=text[3:])
        if text.startswith("sha256:"):
            return cls(digest=validate_digest(text))
        return cls._of_key(text)

    @classmethod
    def _of_key(cls, text: str) -> Ref:
        key, at, rest = text.partition("@")
        validate_key(key)
        if not at:
            return cls(key)
        if rest.startswith("sha256:"):
            return cls(key, digest=validate_digest(rest))
        if rest.isascii() and rest.isdigit():
            if len(rest) > 18 or (rest != "0" and rest.startswith("0")):
                raise InvalidInputError(
                    f"Invalid version {rest!r} in {text[:80]!r}", hint="Write 'key@3'"
                )
            return cls(key, version=int(rest))
        # Kept apart from the bare key, which in a deletion means the key with all its versions.
        return cls(key, alias=rest if rest == LATEST else validate_alias(rest))

    @property
    def is_bare(self) -> bool:
        """Whether the reference is a key alone: its newest version, or all of it in a deletion."""
        return bool(self.key) and self.version is None and not self.alias and not self.digest

    def __str__(self) -> str:
        if self.id:
            return f"id:{self.id}"
        if not self.key:
            return self.digest
        rest = self.digest or self.alias or ("" if self.version is None else str(self.version))
        return f"{self.key}@{rest}" if rest else self.key
