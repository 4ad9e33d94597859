"""show: everything known about one version, without loading its value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from flowblob.cli.commands import Command
from flowblob.cli.filters import tags_text
from flowblob.cli.records import blob_record, entry_record, run_record, use_record
from flowblob.cli.refs import complete_ref
from flowblob.cli.session import Session, current_session
from flowblob.cli.text import age, plural, stamp
from flowblob.wording import duration, size

if TYPE_CHECKING:
    from flowblob.lineage import Lineage
    from flowblob.model import Blob, CacheEntry, Use

_MOST_CONSUMERS = 10


@click.command(cls=Command)
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.option(
    "--depth",
    type=click.IntRange(0, 20),
    metavar="N",
    default=3,
    show_default=True,
    help="Of lineage.",
)
@click.pass_context
def show(ctx: click.Context, /, ref: str, depth: int) -> None:
    """Show a version: its record, aliases, tags, run, users, lineage and preview."""
    session = current_session(ctx)
    store = session.store()
    blob = store.resolve(ref)
    graph = store.lineage(blob, depth=depth)
    uses = store.consumers(blob)
    entries = store.cache.entries(blob_id=blob.id)
    if session.json:
        session.document(
            blob=blob_record(blob) | {"preview": blob.preview},
            producer=run_record(blob.run) if blob.run else None,
            consumers=[use_record(use) for use in uses],
            cache=[entry_record(entry) for entry in entries],
            lineage=graph.to_dict(),
        )
    elif session.quiet:
        session.say(blob.ref)
    elif session.is_human:
        _show(session, blob, uses, entries, graph)
    else:
        session.fields(_facts(blob, entries, is_human=False))


@click.command(cls=Command)
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.option("--depth", type=click.IntRange(0, 20), metavar="N", default=3, show_default=True)
@click.option("--mermaid", is_flag=True, help="As a Mermaid flowchart.")
@click.pass_context
def lineage(ctx: click.Context, /, ref: str, depth: int, *, mermaid: bool) -> None:
    """Show what a version was made from and what became of it, across all orchestrators.

    In a pipe: role, source, target.
    """
    session = current_session(ctx)
    graph = session.store().lineage(ref, depth=depth)
    if session.json:
        session.document(lineage=graph.to_dict(), mermaid=graph.to_mermaid())
    elif session.quiet:
        session.lines(blob.ref for blob in graph.blobs.values())
    elif mermaid:
        session.say(graph.to_mermaid())
    elif session.is_human:
        session.lines(session.style(line) for line in graph.to_text().splitlines())
    else:
        for edge in graph.edges:
            cells = (edge.role, _node(graph, edge.source), _node(graph, edge.target))
            session.say("\t".join(session.style(cell) for cell in cells))


def _node(graph: Lineage, node: str) -> str:
    return graph.blobs[node].ref if node in graph.blobs else str(graph.runs[node])


def _facts(blob: Blob, entries: list[CacheEntry], *, is_human: bool) -> list[tuple[str, object]]:
    run = blob.run
    facts: list[tuple[str, object]] = [
        ("ref", blob.ref),
        ("kind", blob.kind),
        ("size", _size(blob) if is_human else blob.size),
        ("parts", blob.parts or ""),
        ("type", f"{blob.media_type}, {blob.serializer}" if is_human else blob.media_type),
        ("serializer", "" if is_human else blob.serializer),
        ("file", blob.filename),
        ("digest", blob.digest),
        ("id", blob.id),
        ("created", _when(blob) if is_human else stamp(blob.created_at)),
        ("aliases", ", ".join(blob.aliases)),
        ("tags", tags_text(blob.tags) if is_human else _json(blob.tags)),
        ("metadata", _json(blob.metadata)),
        ("partitions", _json(blob.partitions)),
        ("written by", str(run) if run else ""),
        ("task run", run.task_run_id if run else ""),
        ("url", run.url if run else ""),
    ]
    if is_human:
        facts += [("cached as", _cached(entry)) for entry in entries]
    return facts


def _size(blob: Blob) -> str:
    exact = f" ({blob.size:,} bytes)" if blob.size >= 1000 else ""
    return size(blob.size) + exact


def _when(blob: Blob) -> str:
    return f"{age(blob.created_at)} ({stamp(blob.created_at)[:19]}Z)"


def _json(value: Any) -> str:
    return json.dumps(dict(value), ensure_ascii=False) if value else ""


def _cached(entry: CacheEntry) -> str:
    served = (
        f", served {plural(entry.hits, 'time')}, {duration(entry.saved)} saved"
        if entry.hits
        else ""
    )
    return f"{entry.name}, took {duration(entry.cost)}{served}"


def _show(
    session: Session, blob: Blob, uses: list[Use], entries: list[CacheEntry], lineage: Lineage
) -> None:
    session.fields(_facts(blob, entries, is_human=True))
    if blob.preview is not None:
        _heading(session, "preview")
        session.lines(f"  {line}" for line in _preview(session, blob.preview))
    if uses:
        _heading(session, "used by")
        for use in uses[-_MOST_CONSUMERS:]:
            word = "served to" if use.role == "cache_hit" else "read by"
            session.say(
                f"  {word} {session.style(use.run)}  {session.style(age(use.at), dim=True)}"
            )
        if len(uses) > _MOST_CONSUMERS:
            session.say(f"  and {len(uses) - _MOST_CONSUMERS} earlier (--json shows all)")
    if lineage.edges:
        _heading(session, "lineage")
        session.lines(f"  {session.style(line)}" for line in lineage.to_text().splitlines())


def _heading(session: Session, title: str) -> None:
    session.say()
    session.say(session.style(title, bold=True))


def _preview(session: Session, preview: Any) -> list[str]:
    """Return a preview as lines; it was made when the value was written, nothing is loaded."""
    if isinstance(preview, dict):
        width = max((len(str(name)) for name in preview), default=0)
        return [
            f"{session.style(str(name).ljust(width), dim=True)}  {session.style(_short(value))}"
            for name, value in preview.items()
        ]
    text = preview if isinstance(preview, str) else _short(preview)
    return [session.style(line) for line in text.splitlines()[:20]]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."
