"""verify, gc: is everything there and intact, and what can be given back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from flowblob.cli import failures
from flowblob.cli.commands import Command
from flowblob.cli.progress import Transfer
from flowblob.cli.refs import complete_ref
from flowblob.cli.session import Session, current_session
from flowblob.cli.text import plural
from flowblob.errors import NotFoundError, PayloadError, UnavailableError
from flowblob.wording import size

if TYPE_CHECKING:
    from flowblob.abc import Catalog
    from flowblob.model import Blob
    from flowblob.store import Store


@dataclass
class _Found:
    """What a verification saw: problems as (reference, what is wrong)."""

    damaged: list[tuple[str, str]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    checked: int = 0
    size: int = 0

    @property
    def exit(self) -> int:
        if self.damaged:
            return failures.DAMAGE
        return failures.UNAVAILABLE if self.unread else failures.OK

    @property
    def problems(self) -> Iterator[tuple[str, str, str]]:
        yield from (("damaged", *problem) for problem in self.damaged)
        yield from (("unchecked", *problem) for problem in self.unread)


@click.command(
    cls=Command,
    examples=[
        ("flowblob verify", "records, and that every payload is there in full length"),
        ("flowblob verify --full", "read and hash every payload too"),
        ("flowblob verify models/churn@prod", "read and hash this version"),
    ],
)
@click.argument("refs", nargs=-1, metavar="[REF...]", shell_complete=complete_ref)
@click.option("--full", is_flag=True, help="Read and hash every payload.")
@click.pass_context
def verify(ctx: click.Context, /, refs: tuple[str, ...], *, full: bool) -> None:
    """Compare what the catalog knows with what is stored; a bare KEY means all its versions.

    Exits with 0 if all is well, 6 if something is damaged, 7 if something could not be checked.
    """
    session = current_session(ctx)
    store = session.store()
    found = _Found()
    if not refs:
        found.damaged += [("catalog", problem) for problem in store.catalog.check()]
        _check_presence(store, found)
    if refs or full:
        _check_content(session, store, list(_versions(store, refs)), found)
    is_read = bool(refs) or full
    if session.json:
        session.document(
            damaged=[{"ref": ref, "problem": problem} for ref, problem in found.damaged],
            unchecked=[{"ref": ref, "problem": problem} for ref, problem in found.unread],
            payloads=found.checked,
            size=found.size,
            is_content_read=is_read,
        )
    else:
        _tell(session, found, is_read=is_read)
    ctx.exit(found.exit)


def _check_presence(store: Store, found: _Found) -> None:
    for payload in _payloads(store.catalog):
        found.checked += 1
        found.size += payload.size
        if payload.is_inline or payload.state in ("uploading", "condemned"):
            continue
        try:
            stored = store.storage.size(payload.name)
        except UnavailableError as error:
            found.unread.append((payload.digest, error.message))
            continue
        if stored is None:
            found.damaged.append((payload.digest, f"its payload {payload.name} is gone"))
        elif stored != payload.stored_size:
            wrong = f"{payload.name} has {stored:,} bytes instead of {payload.stored_size:,}"
            found.damaged.append((payload.digest, wrong))


def _payloads(catalog: Catalog) -> Iterator[Any]:
    after = ""
    while batch := catalog.generations(after=after):
        yield from batch
        after = batch[-1].generation


def _versions(store: Store, refs: Iterable[str]) -> Iterator[Blob]:
    from flowblob.model import Ref

    for ref in refs:
        if Ref.parse(ref).is_bare:
            yield from store.versions(ref)
        else:
            yield store.resolve(ref)
    if not refs:
        for head in store.ls():
            yield from store.versions(head.key)


def _check_content(session: Session, store: Store, blobs: list[Blob], found: _Found) -> None:
    # Versions that share a payload share its verdict; reading it again would tell nothing new.
    once = list({blob.digest: blob for blob in blobs if blob.digest}.values())
    with Transfer(session, "verifying", sum(blob.size for blob in once) or None) as transfer:
        for blob in once:
            try:
                store.verify(blob)
            except PayloadError as error:
                found.damaged.append((blob.ref, error.message))
            except NotFoundError:
                continue  # deleted meanwhile
            except UnavailableError as error:
                found.unread.append((blob.ref, error.message))
            transfer(blob.size)
    found.checked = max(found.checked, len(once))
    found.size = max(found.size, sum(blob.size for blob in once))


def _tell(session: Session, found: _Found, *, is_read: bool) -> None:
    for word, ref, problem in found.problems:
        if session.quiet:
            session.say(session.style(ref))
        elif session.is_human:
            session.say(
                f"{session.style(word, fg='red')}  {session.style(ref)}: {session.style(problem)}"
            )
        else:
            session.say("\t".join(session.style(cell) for cell in (word, ref, problem)))
    if session.is_human:
        count = f"{plural(found.checked, 'payload')}, {size(found.size)}"
        how = "read and hashed" if is_read else "present in full length; not read (--full does)"
        verdict = "" if found.exit else session.style("ok  ", fg="green")
        session.say(f"{verdict}{session.style(f'{count} {how}', dim=True)}")


@click.command(cls=Command)
@click.option("-y", "--yes", is_flag=True, help="Free it; without this, only say what would go.")
@click.option("--grace", default="1h", show_default=True, help="Leave what changed more recently.")
@click.option("--force", is_flag=True, help="Even if it would take more than half of all payloads.")
@click.pass_context
def gc(ctx: click.Context, /, *, yes: bool, grace: str, force: bool) -> None:
    """Free payloads that no version needs any more; a dry run unless --yes.

    Safe beside puts and other collections.
    """
    session = current_session(ctx)
    done = session.store().gc(grace=grace, dry_run=not yes, force=force)
    if session.json:
        session.document(
            payloads=done.payloads, size=done.size, spools=done.spools, dry_run=done.is_dry_run
        )
    elif session.is_human:
        word = "would free" if done.is_dry_run else "freed"
        count = f"{plural(done.payloads, 'payload')}, {size(done.size)}"
        session.say(f"{session.style(word, bold=True)} {count}")
        if done.spools:
            session.say(session.style(f"  {plural(done.spools, 'folder')} of killed puts removed"))
        if done.is_dry_run and done.payloads:
            session.say(session.style("  flowblob gc --yes", dim=True))
    elif not session.quiet:
        session.say(f"{'would free' if done.is_dry_run else 'freed'}\t{done.payloads}\t{done.size}")
