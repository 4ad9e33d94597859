"""trust: keys by which pickles on shared stores are signed."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from flowblob.cli.commands import Command, Group
from flowblob.cli.session import current_session
from flowblob.trust import SIGNING_KEY, new_key


@click.group(name="trust", cls=Group)
def trust() -> None:
    """Make keys that sign pickles on shared stores."""


@trust.command(
    name="new-key",
    cls=Command,
    examples=[(f"export {SIGNING_KEY}=$(flowblob trust new-key)", "for this shell")],
)
@click.argument("name", required=False, metavar="[ID]")
@click.pass_context
def make_key(ctx: click.Context, /, name: str | None) -> None:
    """Print a fresh signing key; it is kept nowhere.

    Without an ID, the key is called after today. Put it first in FLOWBLOB_SIGNING_KEY, before the
    keys that shall still verify.
    """
    session = current_session(ctx)
    key = new_key(name or datetime.now(UTC).strftime("%Y-%m-%d"))
    if session.json:
        session.document(key=key, id=key.partition(":")[0])
    else:
        session.say(key)
