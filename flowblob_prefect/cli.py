"""`flowblob prefect`: what the command line knows of Prefect. Imports nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flowblob.cli import Command, Group, current_session, hosts
from flowblob.errors import MissingDependencyError
from flowblob.urls import mask

if TYPE_CHECKING:
    from types import ModuleType

    from flowblob.cli import Session
    from flowblob.cli.hosts import Change

_MARKS = {True: "ok", False: "-", None: "would"}


@click.group(cls=Group)
def group() -> None:
    """Use flowblob from Prefect."""


@group.command(
    "setup",
    cls=Command,
    examples=[
        ("flowblob prefect setup", "Print what would be set up, and change nothing."),
        ("flowblob prefect setup --apply", "Do it: all flows of this profile keep their results."),
        ("flowblob prefect setup --apply --store /srv/flowblob", "In a store of your choice."),
        ("flowblob prefect setup --undo", "Take it back."),
    ],
)
@click.option("--apply", "wish", flag_value="apply", help="Do it, instead of printing it.")
@click.option("--undo", "wish", flag_value="undo", help="Take back what --apply did.")
@click.option("--block", default="default", show_default=True, help="Name of the block.")
@click.pass_context
def setup(ctx: click.Context, /, wish: str | None, block: str) -> None:
    """Print, do or take back what Prefect needs to keep results with flowblob.

    --apply registers the block type, saves the block flowblob-storage/default on Prefect's server,
    and makes it the default result storage of the active profile, with results kept by default.
    """
    session = current_session(ctx)
    work = _wiring()
    settings = hosts.settings_of(session)
    if wish == "undo":
        _tell(session, work.undo())
        return
    session.note(f"the store is {mask(settings.url)} ({settings.source})")
    changes = work.apply(settings, block) if wish == "apply" else work.plan(settings, block)
    _tell(session, changes)
    if wish is None:
        session.note("'flowblob prefect setup --apply' does this")
    else:
        session.note(
            "tasks keep their cache policies; results are reused across runs where a task says "
            "cache_policy=flowblob_prefect.FLOWBLOB. Undo: flowblob prefect setup --undo"
        )


def _wiring() -> ModuleType:
    try:
        from flowblob_prefect import wiring
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Prefect is not installed here: {error}", hint="pip install 'flowblob[prefect]'"
        ) from error
    return wiring


def _tell(session: Session, changes: list[Change]) -> None:
    if session.json:
        session.document(changes=hosts.documents(changes))
        return
    for change in changes:
        session.say(f"{_MARKS[change.is_new]:<6}{change.what}: {change.told} ({change.where})")
    if not changes:
        session.note("there is nothing to undo")
