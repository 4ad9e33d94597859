"""ls, log, runs: what is there, what was before, and who made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from flowblob.checks import validate_alias
from flowblob.cli import filters
from flowblob.cli.commands import Command
from flowblob.cli.records import blob_record, run_record, use_record, written_by
from flowblob.cli.refs import complete_key
from flowblob.cli.session import Session, current_session
from flowblob.cli.table import Column
from flowblob.cli.text import age, plural, stamp
from flowblob.errors import NotFoundError
from flowblob.model import Ref
from flowblob.wording import size

if TYPE_CHECKING:
    from flowblob.model import Blob, Run, Use
    from flowblob.store import Store

_SYSTEMS = click.Choice(["prefect", "airflow", "python"])

# The order is that of the fields in a pipe: scripts cut them by number, so append only.
BLOB_COLUMNS = (
    Column("key", lambda b: b.key, priority=9, is_bold=True),
    Column("version", lambda b: b.version, priority=9, is_right=True),
    Column("size", lambda b: size(b.size), lambda b: b.size, priority=9, is_right=True),
    Column("aliases", lambda b: ",".join(b.aliases), priority=8),
    Column("kind", lambda b: b.kind, priority=4, is_flexible=True),
    Column("written by", lambda b: written_by(b.run), priority=6, is_flexible=True),
    Column("when", lambda b: age(b.created_at), lambda b: stamp(b.created_at), priority=7),
    Column(
        "tags",
        lambda b: filters.tags_text(b.tags),
        lambda b: dict(b.tags),
        priority=2,
        is_flexible=True,
    ),
    Column("digest", lambda b: b.digest, priority=0),
    Column("id", lambda b: b.id, priority=0),
    Column("media_type", lambda b: b.media_type, priority=0),
    Column("run_id", lambda b: b.run.run_id if b.run else "", priority=0),
    Column("task_run_id", lambda b: b.run.task_run_id if b.run else "", priority=0),
)

_LONG = {"digest": 9, "id": 9, "media_type": 3}

RUN_COLUMNS = (
    Column("when", lambda r: age(r.started_at), lambda r: stamp(r.started_at), priority=8),
    Column("system", lambda r: r.system, priority=8),
    Column("flow", lambda r: r.flow, priority=9, is_bold=True),
    Column("task", lambda r: r.task, priority=9),
    Column("map", lambda r: r.map_index if r.map_index >= 0 else "", priority=4, is_right=True),
    Column("try", lambda r: r.attempt if r.attempt > 1 else "", lambda r: r.attempt, priority=3),
    Column("name", lambda r: r.name, priority=5, is_flexible=True),
    Column("run", lambda r: r.run_id, priority=9),
    Column("task run", lambda r: r.task_run_id, priority=0),
    Column("url", lambda r: r.url, priority=0),
)

_USE_COLUMNS = (
    Column("role", lambda u: u.role, priority=9),
    Column("blob", lambda u: u.blob.ref, priority=9, is_bold=True),
    Column("size", lambda u: size(u.blob.size), lambda u: u.blob.size, priority=9, is_right=True),
    Column("task", lambda u: u.run.task, priority=6),
    Column("when", lambda u: age(u.at), lambda u: stamp(u.at), priority=5),
    Column("id", lambda u: u.blob.id, priority=0),
    Column("task run", lambda u: u.run.task_run_id, priority=0),
)


@click.command(
    cls=Command,
    examples=[
        ("flowblob ls --flow daily-scoring --sort size", ""),
        ("flowblob ls models/ --tag team=risk --filter 'age<7d'", ""),
        ("flowblob ls --filter 'age>90d' -q | xargs flowblob rm --dry-run", ""),
    ],
)
@click.argument("prefix", default="", metavar="[PREFIX]", shell_complete=complete_key)
@click.option("--kind", help="Only this kind.")
@click.option("--flow", help="Only what this flow wrote.")
@click.option("--dag", help="Only what this Airflow DAG wrote.")
@click.option("--task", help="Only what this task wrote.")
@click.option("--run", metavar="ID", help="Only what this flow run or DAG run wrote.")
@click.option("--by", metavar="WHO", help="Only what this system or run (id, name) wrote.")
@click.option("--alias", help="Only versions that this alias points at.")
@click.option("--tag", "tags", multiple=True, metavar="K[=V]", help="Only with this tag.")
@click.option(
    "--filter", "conditions", multiple=True, metavar="COND", help="'size>1GB', 'age>30d', 'key=a/*'"
)
@click.option("--sort", default="key", metavar="FIELD[:asc|desc]", help="key, size, created, …")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@click.option("-l", "--long", "is_long", is_flag=True, help="Show digests and ids too.")
@click.pass_context
def ls(ctx: click.Context, /, prefix: str, **options: Any) -> None:
    """List the newest version of every key that begins with PREFIX.

    In a pipe: key, version, size, aliases, kind, writer, time, tags (JSON), digest, id, media type,
    run and task-run ids, separated by tabs.
    """
    session = current_session(ctx)
    tests = [filters.parse_filter(text) for text in options["conditions"]]
    tests += [filters.tag_test(text) for text in options["tags"]]
    tests += [filters.by_test(options["by"])] if options["by"] else []
    filters.parse_sort(options["sort"])
    in_catalog = filters.catalog_filters(options)
    limit, alias = options["limit"], options["alias"]
    store = session.store()
    if alias:
        found = _aliased(store, prefix, alias)
        tests.append(filters.field_test(in_catalog))
    else:
        is_plain = not tests and options["sort"] == "key"
        found = store.ls(prefix, limit=limit if is_plain else None, **in_catalog)
    blobs = [blob for blob in found if filters.passes(blob, tests)]
    blobs = filters.sort_blobs(blobs, options["sort"])[:limit]
    _tell_blobs(session, blobs, is_long=options["is_long"], limit=limit)


def _aliased(store: Store, prefix: str, alias: str) -> list[Blob]:
    """Return the versions that an alias points at, which are often not the newest of their keys."""
    validate_alias(alias)
    refs = (Ref(blob.key, alias=alias) for blob in store.ls(prefix))
    return [record.blob for ref in refs if (record := store.catalog.find(ref)) is not None]


def _tell_blobs(session: Session, blobs: list[Blob], *, is_long: bool, limit: int | None) -> None:
    total = f"{plural(len(blobs), 'blob')}, {size(sum(blob.size for blob in blobs))}"
    if limit == len(blobs):
        total += f" (the first {limit}; more with --limit)"
    if not blobs:
        session.note("no blobs match" if session.is_made else "no blobs yet")
    session.listing(
        "blobs",
        blobs,
        _widened(BLOB_COLUMNS) if is_long else BLOB_COLUMNS,
        record=blob_record,
        address=lambda blob: blob.ref,
        total=f"{total}. History: flowblob log KEY",
    )


def _widened(columns: Sequence[Column]) -> list[Column]:
    return [replace(c, priority=_LONG.get(c.title, c.priority)) for c in columns]


@click.command(cls=Command)
@click.argument("key", metavar="KEY", shell_complete=complete_key)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@click.option("--alias", help="The moves of this alias instead.")
@click.option("-l", "--long", "is_long", is_flag=True, help="Show digests and ids too.")
@click.pass_context
def log(
    ctx: click.Context, /, key: str, limit: int | None, alias: str | None, *, is_long: bool
) -> None:
    """List the versions of KEY, newest first; in a pipe with the fields of ls."""
    session = current_session(ctx)
    store = session.store()
    parsed = Ref.parse(key)
    name = parsed.key or store.resolve(parsed).key
    if alias:
        _tell_moves(session, store, name, alias)
        return
    versions = store.versions(name, limit=limit)
    columns = _widened(BLOB_COLUMNS) if is_long else BLOB_COLUMNS
    total = f"{plural(len(versions), 'version')} of {name}, {size(sum(b.size for b in versions))}"
    session.listing(
        "versions",
        versions,
        columns,
        record=blob_record,
        address=lambda blob: blob.ref,
        total=total + (" (more with --limit)" if limit == len(versions) else ""),
        key=name,
    )


def _tell_moves(session: Session, store: Store, key: str, alias: str) -> None:
    moves = store.catalog.alias_history(key, alias)
    if not moves:
        store.head(key)
        raise NotFoundError(f"{key} has no alias {alias!r}", hint=f"flowblob log {key}")
    columns = (
        Column("version", _version, priority=9, is_right=True),
        Column("when", lambda m: age(m["at"]), lambda m: stamp(m["at"]), priority=8),
        Column("by", lambda m: m.get("by", ""), priority=7),
    )
    session.listing(
        "moves",
        moves,
        columns,
        record=lambda m: {**m, "at": stamp(m["at"])},
        address=lambda m: f"{key}@{m['version']}",
        total=f"{plural(len(moves), 'move')} of {key}@{alias}, newest first",
        key=key,
        alias=alias,
    )


def _version(move: dict[str, Any]) -> object:
    return "removed" if move["version"] is None else move["version"]


@click.command(cls=Command)
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--flow", help="Only runs of this flow.")
@click.option("--dag", help="Only runs of this Airflow DAG.")
@click.option("--task", help="Only runs of this task.")
@click.option("--system", type=_SYSTEMS, help="Only this orchestrator, or plain Python.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True)
@click.pass_context
def runs(ctx: click.Context, /, run: str | None, limit: int, **options: Any) -> None:
    """List runs, newest first; with RUN (an id or a name), what it read and wrote.

    In a pipe: time, system, flow, task, map index, try, name, run id, task-run id, url.
    """
    session = current_session(ctx)
    store = session.store()
    if run:
        _tell_uses(session, run, uses_of(store, run))
        return
    found = store.runs(limit=limit, **filters.catalog_filters(options))
    if not found:
        session.note("no runs recorded")
    session.listing(
        "runs",
        found,
        RUN_COLUMNS,
        record=run_record,
        address=lambda one: one.task_run_id,
        total=plural(len(found), "run")
        + (f" (the newest {limit}; more with --limit)" if len(found) == limit else "")
        + ". What one did: flowblob runs RUN",
    )


def runs_named(store: Store, name: str) -> list[Run]:
    """Return the runs that an id, or what the host calls them, means.

    Raises:
        NotFoundError: Nobody knows such a run.
    """
    found = store.runs(run_id=name) or store.runs(task_run_id=name)
    # Names are for people and not indexed; a store keeps few enough runs to look through.
    found = found or [run for run in store.runs() if run.name == name]
    if not found:
        raise NotFoundError(
            f"No run has the id or name {name!r}",
            hint=f"Of a flow of that name: flowblob runs --flow {name}",
        )
    return found


def uses_of(store: Store, name: str) -> list[Use]:
    """Return what all runs that a name means read and wrote, oldest first."""
    for field in ("run_id", "task_run_id"):
        if found := store.catalog.uses(run={field: name}):
            return found
    found = []
    for run in runs_named(store, name):
        which = {"system": run.system, "task_run_id": run.task_run_id, "attempt": run.attempt}
        found += store.catalog.uses(run=which)
    return sorted(found, key=lambda use: use.at)


def _tell_uses(session: Session, name: str, uses: list[Use]) -> None:
    if not uses:
        session.note("this run read and wrote nothing")
    hits = sum(use.role == "cache_hit" for use in uses)
    written = sum(use.role == "output" for use in uses)
    read = len(uses) - hits - written
    session.listing(
        "uses",
        uses,
        _USE_COLUMNS,
        record=use_record,
        address=lambda use: use.blob.ref,
        total=f"{plural(written, 'output')}, {plural(read, 'input')}, {plural(hits, 'cache hit')}",
        run=name,
    )
