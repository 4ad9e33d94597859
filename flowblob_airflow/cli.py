"""`flowblob airflow`: what the command line knows of Airflow. Imports nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flowblob.cli import Command, Group, current_session, hosts
from flowblob.urls import mask

if TYPE_CHECKING:
    from flowblob.cli import Session
    from flowblob.cli.hosts import Change
    from flowblob.config import Settings


@click.group(cls=Group)
def group() -> None:
    """Use flowblob from Airflow."""


@group.command(
    "setup",
    cls=Command,
    examples=[
        ("flowblob airflow setup", "Print what Airflow needs, and change nothing."),
        ("flowblob airflow setup --apply", "Write it into airflow.cfg."),
        ("flowblob airflow setup --apply --store /srv/flowblob", "And add a connection."),
    ],
)
@click.option("--apply", "wish", flag_value="apply", help="Write it, instead of printing it.")
@click.option("--undo", "wish", flag_value="undo", help="Take back what --apply wrote.")
@click.pass_context
def setup(ctx: click.Context, /, wish: str | None) -> None:
    """Print, write or take back what Airflow needs to use flowblob.

    --apply sets the XCom backend in airflow.cfg. A store that workers would not find by themselves
    becomes the connection flowblob_default in Airflow's database. For containers, export the
    printed variables instead.
    """
    session = current_session(ctx)
    from flowblob_airflow import wiring as work

    settings = hosts.settings_of(session)
    if wish is None:
        _print(session, settings)
    elif wish == "apply":
        _tell(session, work.apply(settings), settings)
    else:
        _tell(session, work.undo(), settings)


def _print(session: Session, settings: Settings) -> None:
    from flowblob_airflow import wiring as work

    if session.json:
        session.document(variables=work.variables(settings), store=mask(settings.url))
        return
    session.note(f"the store is {mask(settings.url)} ({settings.source})")
    session.lines(work.exports(settings))
    session.note(f"'flowblob airflow setup --apply' writes this into {work.config_file()}")


def _tell(session: Session, changes: list[Change], settings: Settings) -> None:
    if session.json:
        session.document(changes=hosts.documents(changes), store=mask(settings.url))
        return
    for change in changes:
        session.say(f"{change.what}: {change.told} ({change.where})")
    if not changes:
        session.note("there is nothing to undo")
    elif any(change.is_new for change in changes):
        session.note("restart Airflow's processes: they have read their settings already")
