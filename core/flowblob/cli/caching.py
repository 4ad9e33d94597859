"""cache: list, expire and remove the entries behind cached functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from flowblob.cli.commands import Group
from flowblob.cli.records import entry_record, written_by
from flowblob.cli.session import Session, current_session
from flowblob.cli.table import Column
from flowblob.cli.text import age, plural, stamp
from flowblob.errors import NotFoundError
from flowblob.wording import duration

if TYPE_CHECKING:
    from flowblob.model import CacheEntry
    from flowblob.store import Store

_COLUMNS = (
    Column("key", lambda e: e.key[:16], lambda e: e.key, priority=9),
    Column("name", lambda e: e.name, priority=9, is_bold=True),
    Column("blob", lambda e: e.blob.ref, priority=8),
    Column("took", lambda e: duration(e.cost), lambda e: e.cost.total_seconds(), 6, is_right=True),
    Column("hits", lambda e: e.hits, priority=7, is_right=True),
    Column(
        "saved", lambda e: duration(e.saved), lambda e: e.saved.total_seconds(), 6, is_right=True
    ),
    Column("computed by", lambda e: written_by(e.run), priority=5, is_flexible=True),
    Column("when", lambda e: age(e.updated_at), lambda e: stamp(e.updated_at), priority=7),
    Column(
        "expires", lambda e: stamp(e.expires_at)[:16], lambda e: stamp(e.expires_at), priority=4
    ),
    Column("id", lambda e: e.blob.id, priority=0),
)


@click.group(name="cache", cls=Group)
def cache() -> None:
    """List, expire and remove cache entries; the versions they point at stay."""


@cache.command(name="ls")
@click.option("--name", help="Only this function.")
@click.option("--run", metavar="ID", help="Only what this flow run or DAG run computed.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", default=50, show_default=True)
@click.pass_context
def ls(ctx: click.Context, /, name: str | None, run: str | None, limit: int) -> None:
    """List cache entries, last computed first."""
    session = current_session(ctx)
    asked = {"name": name, "run_id": run}
    found = session.store().cache.entries(
        limit=limit, **{field: value for field, value in asked.items() if value}
    )
    _list(session, found)


@cache.command(name="rm")
@click.argument("keys", nargs=-1, required=True, metavar="CACHE-KEY...")
@click.pass_context
def rm(ctx: click.Context, /, keys: tuple[str, ...]) -> None:
    """Remove entries: the next call computes again. The beginning of a key is enough."""
    _change(current_session(ctx), keys, lambda store, key: store.cache.delete(key))


@cache.command(name="expire")
@click.argument("keys", nargs=-1, required=True, metavar="CACHE-KEY...")
@click.pass_context
def expire(ctx: click.Context, /, keys: tuple[str, ...]) -> None:
    """Stop serving entries: the next call computes again and `why` says so."""
    _change(current_session(ctx), keys, lambda store, key: store.cache.expire(key))


def _change(session: Session, keys: tuple[str, ...], step: Callable[[Store, str], Any]) -> None:
    store = session.store()
    found = [_entry(store, key) for key in keys]
    for entry in found:
        step(store, entry.key)
    _list(session, found)


def _entry(store: Store, key: str) -> CacheEntry:
    """Return the entry of a key, or the only one whose key begins so."""
    if len(key) >= 68:
        return store.cache.entry(key)
    found = [
        entry for entry in store.cache.entries() if len(key) >= 8 and entry.key.startswith(key)
    ]
    if len(found) != 1:
        what = f"{len(found)} cache entries begin" if found else "No cache entry begins"
        raise NotFoundError(f"{what} with {key!r}", hint="flowblob cache ls")
    return found[0]


def _list(session: Session, entries: list[CacheEntry]) -> None:
    hits = sum(entry.hits for entry in entries)
    saved = sum(entry.saved.total_seconds() for entry in entries)
    if not entries:
        session.note("no cache entries")
    session.listing(
        "entries",
        entries,
        _COLUMNS,
        record=entry_record,
        address=lambda entry: entry.key,
        total=f"{plural(len(entries), 'entry')}, {plural(hits, 'hit')}, {duration(saved)} saved",
    )
