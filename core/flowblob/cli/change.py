"""tag, promote, rm, undelete: what changes or ends a version, or brings it back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from flowblob.cli.commands import Command
from flowblob.cli.filters import parse_tag, tags_text
from flowblob.cli.listing import BLOB_COLUMNS
from flowblob.cli.records import blob_record
from flowblob.cli.refs import complete_ref
from flowblob.cli.session import Session, current_session
from flowblob.cli.text import plural
from flowblob.collecting import pinned
from flowblob.errors import InvalidInputError
from flowblob.model import Ref
from flowblob.wording import size

if TYPE_CHECKING:
    from flowblob.model import Blob
    from flowblob.store import Store


@click.command(
    cls=Command,
    examples=[
        ("flowblob tag models/churn@7 stage=production rows:=1204118", ""),
        ("flowblob tag models/churn@7 --remove stage", ""),
    ],
)
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.argument("tags", nargs=-1, metavar="K=V...")
@click.option("--remove", multiple=True, metavar="K", help="Take this tag away.")
@click.pass_context
def tag(ctx: click.Context, /, ref: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Set tags of a version, in place; the history keeps who and when.

    `k=v` is text, `k:=v` a number or a boolean.
    """
    session = current_session(ctx)
    change = dict(map(parse_tag, tags))
    if not change and not remove:
        raise click.UsageError("Nothing to change: give K=V or --remove K", ctx)
    blob = session.store().tag(ref, **{**dict.fromkeys(remove), **change})
    _tell(session, blob, f"tags: {tags_text(blob.tags) or 'none'}")


@click.command(cls=Command, examples=[("flowblob promote models/churn@7 prod --expect 6", "")])
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.argument("alias", metavar="ALIAS")
@click.option(
    "--expect", type=click.IntRange(min=0), metavar="N", help="Version the alias must be at now."
)
@click.option("--immutable", is_flag=True, help="Never move it again.")
@click.option("--remove", is_flag=True, help="Take the alias away from the key instead.")
@click.pass_context
def promote(ctx: click.Context, /, ref: str, alias: str, *, remove: bool, **options: Any) -> None:
    """Point ALIAS at a version, atomically; `flowblob log KEY --alias ALIAS` shows its moves."""
    session = current_session(ctx)
    store = session.store()
    if remove:
        blob = store.resolve(f"{Ref.parse(ref).key}@{alias}")
        store.unalias(blob.key, alias)
        _tell(session, store.resolve(blob), f"is no longer @{alias}")
        return
    blob = store.promote(ref, alias, **options)
    _tell(session, blob, f"is now @{alias}")


def _tell(session: Session, blob: Blob, what: str) -> None:
    if session.json:
        session.document(blob=blob_record(blob))
    elif session.is_human:
        session.say(f"{session.style(blob.ref, bold=True)}  {session.style(what)}")
    else:
        _list(session, [blob])


def _list(session: Session, blobs: list[Blob], total: str = "") -> None:
    session.listing(
        "blobs",
        blobs,
        BLOB_COLUMNS,
        record=blob_record,
        address=lambda blob: blob.ref,
        total=total,
    )


@click.command(
    cls=Command,
    examples=[
        ("flowblob rm raw/day@3", ""),
        ("flowblob rm --run 3f2c --dry-run", "what this run made and nothing keeps"),
    ],
)
@click.argument("refs", nargs=-1, metavar="[REF...]", shell_complete=complete_ref)
@click.option("--run", metavar="RUN", help="What this run made, by run id or task-run id.")
@click.option("--flow", metavar="NAME", help="What the runs of this flow or DAG made.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before many versions go.")
@click.option("-n", "--dry-run", is_flag=True, help="Only print what would go.")
@click.pass_context
def rm(
    ctx: click.Context,
    /,
    refs: tuple[str, ...],
    *,
    run: str | None,
    flow: str | None,
    yes: bool,
    dry_run: bool,
) -> None:
    """Delete versions; a bare KEY goes with its whole history.

    With --run or --flow, exactly what was made there goes, but nothing that an alias or a pinned
    cache entry keeps. A version number is never given again. Until a collection frees the payload,
    `flowblob undelete` brings it all back.
    """
    session = current_session(ctx)
    if bool(refs) == bool(run or flow):
        raise click.UsageError("Give REF..., or --run or --flow", ctx)
    store = session.store()
    if not refs:
        _rm_made(ctx, session, store, yes=yes, dry_run=dry_run, run=run, flow=flow)
        return
    targets = {ref: _what_goes(store, ref) for ref in refs}
    going = list({blob.id: blob for blobs in targets.values() for blob in blobs}.values())
    whole = [ref for ref in refs if _is_whole(ref)]
    if dry_run:
        _tell_gone(session, going, "would delete")
        return
    if whole and not yes:
        _confirm(ctx, session, f"{', '.join(whole)} with all history", going, whole)
    gone: dict[str, Blob] = {}
    # Whole keys first: a version that was named beside its key is gone with it, and no error.
    for ref in sorted(targets, key=lambda ref: ref not in whole):
        if not all(blob.id in gone for blob in targets[ref]):
            gone |= {blob.id: blob for blob in store.delete(ref)}
    _tell_gone(session, list(gone.values()), "deleted")


def _rm_made(
    ctx: click.Context,
    session: Session,
    store: Store,
    *,
    yes: bool,
    dry_run: bool,
    run: str | None,
    flow: str | None,
) -> None:
    kept = pinned(store.cache)
    made = store.made_by(run=run, flow=flow)
    going = [blob for blob in made if not blob.aliases and blob.id not in kept]
    if dry_run or not going:
        _tell_gone(session, going, "would delete")
    else:
        if not yes:
            named = {"--run": run, "--flow": flow}
            again = [f"{option} {value}" for option, value in named.items() if value]
            _confirm(ctx, session, "what was made there", going, again)
        _tell_gone(session, store.delete(run=run, flow=flow), "deleted")
    if session.is_human and len(made) > len(going):
        left = plural(len(made) - len(going), "version")
        session.say(session.style(f"{left} kept by an alias or a pinned cache entry", dim=True))


def _is_whole(ref: str) -> bool:
    return Ref.parse(ref).is_bare


def _what_goes(store: Store, ref: str) -> list[Blob]:
    return store.versions(ref) if _is_whole(ref) else [store.resolve(ref)]


def _confirm(
    ctx: click.Context, session: Session, which: str, going: list[Blob], again: list[str]
) -> None:
    what = f"{plural(len(going), 'version')}, {size(sum(blob.size for blob in going))}"
    if session.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInputError(
            f"This would delete {which} ({what})",
            hint=f"flowblob rm --yes {' '.join(again)}, or look first: --dry-run",
        )
    for blob in going:
        aliases = "".join(f" @{alias}" for alias in blob.aliases)
        click.echo(f"  {session.style(blob.ref)}  {size(blob.size)}{aliases}", err=True)
    if not click.confirm(f"Delete {which} ({what})?", err=True):
        click.echo("Nothing was deleted.", err=True)
        ctx.exit(1)


@click.command(
    cls=Command,
    examples=[
        ("flowblob undelete raw/day", "the key with all that went with it"),
        ("flowblob undelete --run 3f2c", "what this run made"),
    ],
)
@click.argument("refs", nargs=-1, metavar="[REF...]")
@click.option("--run", metavar="RUN", help="What this run made, by run id or task-run id.")
@click.option("--flow", metavar="NAME", help="What the runs of this flow or DAG made.")
@click.pass_context
def undelete(
    ctx: click.Context, /, refs: tuple[str, ...], *, run: str | None, flow: str | None
) -> None:
    """Bring back deleted versions, as they were, until a collection has freed their payload.

    A bare KEY comes back with the versions and aliases that went with it.
    """
    session = current_session(ctx)
    if bool(refs) == bool(run or flow):
        raise click.UsageError("Give REF..., or --run or --flow", ctx)
    store = session.store()
    if refs:
        back = [blob for ref in refs for blob in store.undelete(ref)]
    else:
        back = store.undelete(run=run, flow=flow)
    _tell_gone(session, back, "restored")


def _tell_gone(session: Session, blobs: list[Blob], word: str) -> None:
    if session.json:
        is_dry = word.startswith("would")
        session.document(blobs=[blob_record(blob) for blob in blobs], dry_run=is_dry)
    elif session.is_human:
        color = "green" if word == "restored" else "red"
        for blob in blobs:
            session.say(f"{session.style(word, fg=color)} {session.style(blob.ref, bold=True)}")
        session.say(
            session.style(
                f"{plural(len(blobs), 'version')}, {size(sum(blob.size for blob in blobs))}",
                dim=True,
            )
        )
    else:
        _list(session, blobs)
