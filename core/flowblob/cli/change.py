"""tag, promote, rm: what changes or ends a version."""

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


@click.command(cls=Command)
@click.argument("refs", nargs=-1, required=True, metavar="REF...", shell_complete=complete_ref)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before a whole key goes.")
@click.option("-n", "--dry-run", is_flag=True, help="Only print what would go.")
@click.pass_context
def rm(ctx: click.Context, /, refs: tuple[str, ...], *, yes: bool, dry_run: bool) -> None:
    """Delete versions; a bare KEY goes with its whole history.

    A version number is never given again; the payload is freed by the next collection unless
    another version shares it.
    """
    session = current_session(ctx)
    store = session.store()
    targets = {ref: _what_goes(store, ref) for ref in refs}
    going = list({blob.id: blob for blobs in targets.values() for blob in blobs}.values())
    whole = [ref for ref in refs if _is_whole(ref)]
    if dry_run:
        _tell_gone(session, going, "would delete")
        return
    if whole and not yes:
        _confirm(ctx, session, whole, going)
    gone: dict[str, Blob] = {}
    # Whole keys first: a version that was named beside its key is gone with it, and no error.
    for ref in sorted(targets, key=lambda ref: ref not in whole):
        if not all(blob.id in gone for blob in targets[ref]):
            gone |= {blob.id: blob for blob in store.delete(ref)}
    _tell_gone(session, list(gone.values()), "deleted")


def _is_whole(ref: str) -> bool:
    return Ref.parse(ref).is_bare


def _what_goes(store: Store, ref: str) -> list[Blob]:
    return store.versions(ref) if _is_whole(ref) else [store.resolve(ref)]


def _confirm(ctx: click.Context, session: Session, whole: list[str], going: list[Blob]) -> None:
    keys = ", ".join(whole)
    what = f"{plural(len(going), 'version')}, {size(sum(blob.size for blob in going))}"
    if session.json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise InvalidInputError(
            f"{keys} would be deleted with all history ({what})",
            hint=f"flowblob rm --yes {' '.join(whole)}, or look first: --dry-run",
        )
    for blob in going:
        aliases = "".join(f" @{alias}" for alias in blob.aliases)
        click.echo(f"  {session.style(blob.ref)}  {size(blob.size)}{aliases}", err=True)
    if not click.confirm(f"Delete {keys} with all history ({what})?", err=True):
        click.echo("Nothing was deleted.", err=True)
        ctx.exit(1)


def _tell_gone(session: Session, blobs: list[Blob], word: str) -> None:
    if session.json:
        session.document(blobs=[blob_record(blob) for blob in blobs], dry_run=word != "deleted")
    elif session.is_human:
        for blob in blobs:
            session.say(f"{session.style(word, fg='red')} {session.style(blob.ref, bold=True)}")
        session.say(
            session.style(
                f"{plural(len(blobs), 'version')}, {size(sum(blob.size for blob in blobs))}",
                dim=True,
            )
        )
    else:
        _list(session, blobs)
