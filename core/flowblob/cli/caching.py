"""cache: look at, pin, expire and remove the entries behind cached functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from flowblob.cli.commands import Group
from flowblob.cli.records import entry_record, written_by
from flowblob.cli.session import Session, current_session
from flowblob.cli.table import Column
from flowblob.cli.text import age, plural, stamp
from flowblob.cli.why import why
from flowblob.errors import NotFoundError
from flowblob.wording import duration, size

if TYPE_CHECKING:
    from flowblob.model import CacheEntry, LookupStats
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
    """Look at, pin, expire and remove cache entries; the versions they point at stay."""


cache.add_command(why)


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


@cache.command(name="show")
@click.argument("key", metavar="CACHE-KEY")
@click.pass_context
def show(ctx: click.Context, /, key: str) -> None:
    """Show everything known about an entry. The beginning of a key is enough."""
    session = current_session(ctx)
    store = session.store()
    entry = store.cache.entry(_entry(store, key).key)  # with its ingredients
    if session.json:
        session.document(entry=_full_record(entry))
    elif session.quiet:
        session.say(entry.key)
    else:
        session.fields(_fields(entry))


@cache.command(name="stats")
@click.option("--name", default="", help="Only this function.")
@click.option("--since", metavar="TIME", help="Only so far back: 24h, 7d.")
@click.option("--by-day", is_flag=True, help="By day and not by function.")
@click.pass_context
def stats(ctx: click.Context, /, name: str, since: str | None, *, by_day: bool) -> None:
    """Say how often the cache served, and what that saved."""
    session = current_session(ctx)
    found = session.store().cache.stats(since=since, name=name)
    rows = found.by_day if by_day else found.by_function
    looked = plural(found.hits + found.misses, "look-up")
    saved = f"{duration(found.seconds_saved)} and {size(found.bytes_saved)} saved"
    session.listing(
        "stats",
        [rows[group] for group in sorted(rows)],
        _by(lambda row: row.day, "day") if by_day else _by(lambda row: row.name, "function"),
        record=_stats_record,
        address=lambda row: row.day if by_day else row.name,
        total=f"{looked}, {found.hit_rate:.0%} served, {saved}",
        hits=found.hits,
        misses=found.misses,
        hit_rate=found.hit_rate,
        seconds_saved=found.seconds_saved,
        bytes_saved=found.bytes_saved,
    )


@cache.command(name="pin")
@click.argument("keys", nargs=-1, required=True, metavar="CACHE-KEY...")
@click.pass_context
def pin(ctx: click.Context, /, keys: tuple[str, ...]) -> None:
    """Keep entries, whatever the quota and the keep rules say."""
    _change(current_session(ctx), keys, lambda store, key: store.cache.pin(key))


@cache.command(name="unpin")
@click.argument("keys", nargs=-1, required=True, metavar="CACHE-KEY...")
@click.pass_context
def unpin(ctx: click.Context, /, keys: tuple[str, ...]) -> None:
    """Leave entries to the quota and the keep rules again."""
    _change(current_session(ctx), keys, lambda store, key: store.cache.unpin(key))


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


def _by(group: Callable[[LookupStats], str], title: str) -> tuple[Column, ...]:
    return (
        Column(title, group, priority=9, is_bold=True),
        Column("hits", lambda row: row.hits, priority=8, is_right=True),
        Column("misses", lambda row: row.misses, priority=8, is_right=True),
        Column(
            "rate", lambda row: f"{_rate(row):.0%}", lambda row: round(_rate(row), 4), is_right=True
        ),
        Column(
            "saved", lambda row: duration(row.seconds), lambda row: row.seconds, 6, is_right=True
        ),
        Column("bytes", lambda row: size(row.size), lambda row: row.size, 4, is_right=True),
    )


def _rate(row: LookupStats) -> float:
    return row.hits / max(row.hits + row.misses, 1)


def _stats_record(row: LookupStats) -> dict[str, Any]:
    return {
        "day": row.day,
        "name": row.name,
        "hits": row.hits,
        "misses": row.misses,
        "hit_rate": _rate(row),
        "seconds_saved": row.seconds,
        "bytes_saved": row.size,
    }


def _full_record(entry: CacheEntry) -> dict[str, Any]:
    return entry_record(entry) | {
        "rev": entry.rev,
        "pinned": entry.pinned,
        "outputs": dict(entry.outputs),
        "reads": [{"ref": read.ref, "id": read.blob_id} for read in entry.reads],
        "metadata": dict(entry.metadata),
        "ingredients": [
            {
                "name": found.name,
                "kind": found.kind,
                "digest": found.digest,
                "summary": found.summary,
            }
            for found in entry.ingredients
        ],
    }


def _fields(entry: CacheEntry) -> Iterator[tuple[str, object]]:
    yield "key", entry.key
    yield "name", entry.name
    yield "blob", f"{entry.blob.ref}  ({size(entry.blob.size)}, id:{entry.blob.id})"
    yield "computed by", entry.run
    yield "took", duration(entry.cost)
    yield "created", stamp(entry.created_at)
    yield "updated", stamp(entry.updated_at)
    yield "expires", stamp(entry.expires_at)
    yield "last served", stamp(entry.last_hit_at)
    yield "hits", f"{entry.hits}, {duration(entry.saved)} saved"
    yield "pinned", "yes" if entry.pinned else ""
    for name, blob_id in entry.outputs.items():
        yield "output", f"{name}  id:{blob_id}"
    for read in entry.reads:
        yield "read", f"{read.ref}  id:{read.blob_id}"
    for found in entry.ingredients:
        yield found.kind, f"{found.name}  {found.summary}  {found.digest}"
    for name, value in entry.metadata.items():
        yield "metadata", f"{name}  {value}"


def _change(session: Session, keys: tuple[str, ...], step: Callable[[Store, str], Any]) -> None:
    store = session.store()
    found = [_entry(store, key) for key in keys]
    for entry in found:
        step(store, entry.key)
    _list(session, found)


def _entry(store: Store, key: str) -> CacheEntry:
    """Return the entry of a key, or the only one whose key begins so."""
    if exact := store.cache.entries(key=key):
        return exact[0]
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
