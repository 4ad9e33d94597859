"""migrate: bring the tables of a store up to date with this program."""

from __future__ import annotations

from contextlib import closing

import click

from flowblob.cli.commands import Command
from flowblob.cli.session import current_session
from flowblob.errors import NotFoundError


@click.command(
    cls=Command,
    examples=[
        ("flowblob migrate --dry-run", "which steps are missing"),
        ("flowblob migrate", "run them, once everybody who uses the store is upgraded"),
    ],
)
@click.option("--dry-run", is_flag=True, help="Only say which steps are missing.")
@click.pass_context
def migrate(ctx: click.Context, /, *, dry_run: bool) -> None:
    """Bring the store's tables up to date with this flowblob.

    An embedded store does so by itself when it is opened, and keeps a copy of what was there. A
    shared one waits for this command, so that one upgraded worker does not surprise the others.
    """
    session = current_session(ctx)
    if not session.is_made:
        raise NotFoundError(f"No store at {session.settings.folder}", hint="See 'flowblob where'")
    with closing(session.catalog()) as catalog:
        steps = catalog.migrate(dry_run=dry_run)
    if session.json:
        session.document(steps=steps, dry_run=dry_run)
        return
    if session.quiet or not session.is_human:
        session.lines(steps)
        return
    done = "would run" if dry_run else "ran"
    session.say(f"{session.style(done, bold=True)} {', '.join(steps)}" if steps else "up to date")
