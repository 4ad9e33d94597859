"""References as arguments of commands: reading and completing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click.shell_completion import CompletionItem

from flowblob.cli.session import current_session
from flowblob.cli.text import age
from flowblob.wording import size

if TYPE_CHECKING:
    import click

    from flowblob.model import Blob

_MOST = 200


def complete_key(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a key."""
    return _quietly(ctx, incomplete, with_versions=False)


def complete_ref(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a key, and after `@` its versions and aliases."""
    return _quietly(ctx, incomplete, with_versions=True)


def _quietly(ctx: click.Context, incomplete: str, *, with_versions: bool) -> list[CompletionItem]:
    session = current_session(ctx)
    try:
        if not session.is_made:
            return []
        # The catalog alone: a TAB must not wait for a storage.
        return [
            CompletionItem(value, help=text)
            for value, text in _candidates(
                session.catalog(), incomplete, with_versions=with_versions
            )
        ]
    except Exception:  # noqa: BLE001 - a traceback in the middle of a typed line helps nobody
        return []


def _candidates(catalog: Any, incomplete: str, *, with_versions: bool) -> list[tuple[str, str]]:
    key, at, rest = incomplete.partition("@")
    if not at or not with_versions:
        found = catalog.blobs(prefix=incomplete, limit=_MOST)
        return [(blob.key, _about(blob)) for blob in found]
    versions: list[Blob] = catalog.versions(key, limit=_MOST)
    items = [(f"{key}@{alias}", _about(blob)) for blob in versions for alias in blob.aliases]
    items += [(blob.ref, _about(blob)) for blob in versions]
    return [item for item in items if item[0].startswith(f"{key}@{rest}")]


def _about(blob: Blob) -> str:
    return f"{size(blob.size)}, {age(blob.created_at)}"
