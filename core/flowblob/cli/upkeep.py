"""gc, sweep: what the keep rules let go, and what can be given back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from flowblob.cli.commands import Command
from flowblob.cli.progress import Counter
from flowblob.cli.session import Session, current_session
from flowblob.cli.text import plural
from flowblob.wording import duration, size

if TYPE_CHECKING:
    from flowblob.collecting import Collected, Expired


@click.command(
    cls=Command,
    examples=[
        ("flowblob gc", "say what the keep rules let go, and what would be freed"),
        ("flowblob gc --yes", "do it"),
    ],
)
@click.option("-y", "--yes", is_flag=True, help="Do it; without this, only say what would go.")
@click.option("--grace", metavar="TIME", help="Leave what changed more recently.  [default: 1d]")
@click.option("--force", is_flag=True, help="Even if it would take more than half of all payloads.")
@click.pass_context
def gc(ctx: click.Context, /, *, yes: bool, grace: str | None, force: bool) -> None:
    """Apply the keep rules, and free payloads that nothing needs; a dry run unless --yes.

    Safe beside puts and other collections. The rules stand under [retention] in the settings; with
    none, every version is kept. What they drop is freed after the grace period, and until then
    `flowblob undelete` brings it back.
    """
    session = current_session(ctx)
    store = session.store()
    with Counter(session, "collecting") as counter:
        done = store.gc(grace=grace, dry_run=not yes, force=force, tick=counter)
    if session.json:
        record = asdict(done)
        session.document(dry_run=record.pop("is_dry_run"), **record)
    elif session.is_human:
        _tell(session, done, grace or duration(store.settings.retention.grace))
    elif not session.quiet:
        word = "would" if done.is_dry_run else "did"
        for rule in done.expired:
            cells = (f"{word} drop", rule.versions, rule.entries, rule.payloads, rule.size)
            session.say("\t".join(map(session.style, (*cells, rule.rule))))
        session.say(f"{word} free\t{done.payloads}\t{done.size}")


def _tell(session: Session, done: Collected, grace: str) -> None:
    for rule in done.expired:
        _tell_rule(session, rule, grace, is_dry_run=done.is_dry_run)
    word = "would free" if done.is_dry_run else "freed"
    count = f"{plural(done.payloads, 'payload')}, {size(done.size)}"
    session.say(f"{session.style(word, bold=True)} {count}")
    if done.spools:
        session.say(session.style(f"  {plural(done.spools, 'file')} of killed puts removed"))
    if done.is_dry_run and (done.payloads or done.expired):
        session.say(session.style("  flowblob gc --yes", dim=True))


def _tell_rule(session: Session, rule: Expired, grace: str, *, is_dry_run: bool) -> None:
    what = [plural(rule.versions, "version")]
    if rule.entries:
        what.append(plural(rule.entries, "cache entry"))
    word = session.style("would drop" if is_dry_run else "dropped", bold=True)
    session.say(f"{word} {', '.join(what)}: {session.style(rule.rule)}")
    freed = f"{plural(rule.payloads, 'payload')}, {size(rule.size)}"
    later = "" if grace == "0" else f", after a grace of {grace}"
    session.say(session.style(f"  frees {freed}{later}", dim=True))


@click.command(
    cls=Command,
    examples=[("flowblob sweep", "list how much there is"), ("flowblob sweep --yes", "remove it")],
)
@click.option("-y", "--yes", is_flag=True, help="Remove them; without this, only count them.")
@click.option(
    "--min-age", default="7d", show_default=True, metavar="TIME", help="Leave what is younger."
)
@click.pass_context
def sweep(ctx: click.Context, /, *, yes: bool, min_age: str) -> None:
    """Remove payload files that no record knows; a dry run unless --yes.

    Killed puts leave some. After an older catalog was restored, the newest payloads look the same:
    keep the minimum age above the age of the backups that may be restored. Files whose names are
    not flowblob's are never touched.
    """
    session = current_session(ctx)
    with Counter(session, "looking") as counter:
        done = session.store().sweep(min_age=min_age, dry_run=not yes, tick=counter)
    if session.json:
        session.document(files=done.files, size=done.size, dry_run=done.is_dry_run)
    elif session.is_human:
        word = session.style("would remove" if done.is_dry_run else "removed", bold=True)
        session.say(f"{word} {plural(done.files, 'file')}, {size(done.size)}")
        if done.is_dry_run and done.files:
            session.say(session.style("  flowblob sweep --yes", dim=True))
    elif not session.quiet:
        session.say(f"{'would' if done.is_dry_run else 'did'} remove\t{done.files}\t{done.size}")
