"""The facade's verbs for tags and aliases, which change in place and keep a history."""

from __future__ import annotations

import getpass
import socket

from flowblob import runs
from flowblob.checks import validate_alias, validate_key, validate_tags
from flowblob.model import Blob, Ref, TagValue
from flowblob.records import Records


class Labels(Records):
    """Tags and aliases of one store."""

    def tag(self, ref: str | Ref | Blob, /, **tags: TagValue | None) -> Blob:
        """Merge tags into a version, in place; the history keeps who and when.

        Args:
            ref: Any reference.
            **tags: Names and values to set; None takes a tag away.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("a", 1)
            >>> dict(store.tag("a", stage="production").tags)
            {'stage': 'production'}
        """
        kept = {name: value for name, value in tags.items() if value is not None}
        change: dict[str, TagValue | None] = {**tags, **validate_tags(kept)}
        return self.catalog.tag(self.resolve(ref).id, change, by=actor())

    def promote(
        self,
        ref: str | Ref | Blob,
        alias: str,
        *,
        expect: int | None = None,
        immutable: bool = False,
    ) -> Blob:
        """Move an alias to a version, by compare-and-swap.

        Args:
            ref: The version to point at.
            alias: A word such as `prod`.
            expect: Version at which the alias must stand now.
            immutable: Never move it again: a write-once label.

        Raises:
            VersionConflictError: The alias stands elsewhere than `expect`.
            ConflictError: It is immutable.

        Example:
            >>> from flowblob import Store
            >>> store = Store("memory://")
            >>> _ = store.put("a", 1), store.put("a", 2)
            >>> _ = store.promote("a@0", "prod")
            >>> store.promote("a@1", "prod", expect=0).aliases
            ('prod',)
        """
        return self.catalog.promote(
            self.resolve(ref),
            validate_alias(alias),
            expect=expect,
            immutable=immutable,
            by=actor(),
        )

    def unalias(self, key: str, alias: str) -> None:
        """Take an alias away.

        Raises:
            NotFoundError: There is no such alias.
        """
        self.catalog.unalias(validate_key(key), validate_alias(alias), by=actor())

    def aliases(self, key: str) -> dict[str, int]:
        """Return where the aliases of a key point: alias to version."""
        return {alias: blob.version for blob in self.versions(key) for alias in blob.aliases}


def actor() -> str:
    """Say who changes a name or label: the current run, else the user and host."""
    if (run := runs.recordable(runs.current())) is not None:
        return str(run)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no account for this uid, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
