"""verify, repair: is everything there and intact, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from flowblob.checking import LEVELS, Checker, Level, Problem, Report
from flowblob.cli import failures
from flowblob.cli.commands import Command
from flowblob.cli.progress import Transfer
from flowblob.cli.refs import complete_ref
from flowblob.cli.session import Session, current_session
from flowblob.cli.text import plural
from flowblob.wording import size

if TYPE_CHECKING:
    from flowblob.model import Blob
    from flowblob.repairing import Repair, Repaired
    from flowblob.store import Store


def _share(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read a share of everything: `10%` or `0.1`."""
    if value is None:
        return None
    try:
        share = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise click.BadParameter(f"{value!r} is no share: write 10% or 0.1", ctx, param)
    return share


@click.command(
    cls=Command,
    examples=[
        ("flowblob verify", "records, and that every payload is there in full length"),
        ("flowblob verify --full", "read and hash every payload too"),
        ("flowblob verify --sample 5%", "read and hash some, chosen by chance"),
        ("flowblob verify models/churn@prod", "read and hash this version"),
    ],
)
@click.argument("refs", nargs=-1, metavar="[REF...]", shell_complete=complete_ref)
@click.option("--level", type=click.Choice(LEVELS), default="presence", help="How closely to look.")
@click.option("--full", is_flag=True, help="Read and hash every payload: --level content.")
@click.option("--sample", callback=_share, metavar="SHARE", help="Read and hash only so many.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N payloads.")
@click.option("--resume", metavar="CURSOR", default="", help="Go on where another call ended.")
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    refs: tuple[str, ...],
    *,
    level: Level,
    full: bool,
    sample: float | None,
    **where: Any,
) -> None:
    """Compare what the catalog knows with what is stored; a bare KEY means all its versions.

    Exits with 0 if all is well, 6 if something is damaged, 7 if something could not be checked.
    """
    session = current_session(ctx)
    store = session.store()
    deep = full or sample is not None or bool(refs)
    checker = Checker(
        store.catalog, store.storage, "content" if deep else level, sample=sample or 1.0
    )
    if refs:
        report = _check_refs(session, store, checker, refs)
    else:
        report = _check_store(session, checker, **where)
    if session.json:
        session.document(**asdict(report), unread=report.unread, unread_size=report.unread_size)
    else:
        _tell(session, report)
    ctx.exit(_exit(report))


def _exit(report: Report) -> int:
    if report.damaged:
        return failures.DAMAGE
    return failures.UNAVAILABLE if report.unchecked else failures.OK


def _check_refs(session: Session, store: Store, checker: Checker, refs: tuple[str, ...]) -> Report:
    blobs = list(_versions(store, refs))
    with Transfer(session, "verifying", sum(blob.size for blob in blobs) or None) as transfer:
        checker.tick = transfer
        return checker.check_versions(blobs)


def _versions(store: Store, refs: Iterable[str]) -> Iterator[Blob]:
    from flowblob.model import Ref

    for ref in refs:
        if Ref.parse(ref).is_bare:
            yield from store.versions(ref)
        else:
            yield store.resolve(ref)


def _check_store(session: Session, checker: Checker, *, resume: str, limit: int | None) -> Report:
    with Transfer(session, "verifying", _total(checker, resume)) as transfer:
        checker.tick = transfer
        try:
            return checker.check_store(resume=resume, limit=limit)
        except KeyboardInterrupt:
            if checker.cursor:
                click.echo(f"flowblob: go on with --resume {checker.cursor}", err=True)
            raise


def _total(checker: Checker, after: str) -> int | None:
    """Return the bytes to come; only where reading them takes long enough to ask."""
    if checker.level != "content":
        return None
    total = 0
    while page := checker.catalog.generations(after=after):
        total += sum(payload.size for payload in page)
        after = page[-1].generation
    return total or None


def _tell(session: Session, report: Report) -> None:
    _tell_problems(session, "damaged", report.damaged)
    _tell_problems(session, "unchecked", report.unchecked)
    if not session.is_human:
        return
    verdict = session.style("ok  ", fg="green") if report.is_clean else ""
    session.say(f"{verdict}{session.style(_summary(report), dim=True)}")
    if report.cursor:
        session.say(session.style(f"  not all: go on with --resume {report.cursor}", dim=True))


def _summary(report: Report) -> str:
    if report.level == "catalog":
        return "records only; no payload was looked at"
    seen = f"{plural(report.payloads, 'payload')}, {size(report.size)}"
    if not report.read:
        return f"{seen} looked at; not read (--full does)"
    if not report.unread:
        return f"{seen} read and hashed"
    read = f"{plural(report.read, 'payload')}, {size(report.read_size)} read and hashed"
    return f"{read}; not read: {plural(report.unread, 'payload')}, {size(report.unread_size)}"


def _tell_problems(session: Session, word: str, problems: Iterable[Problem]) -> None:
    for problem in problems:
        if session.quiet:
            session.say(session.style(problem.ref))
        elif session.is_human:
            label = session.style(word, fg="red")
            session.say(f"{label}  {session.style(problem.ref)}: {session.style(problem.what)}")
        else:
            session.say("\t".join(map(session.style, (word, problem.ref, problem.what))))


@click.command(
    cls=Command,
    examples=[
        ("flowblob repair", "say what is damaged and what would be done"),
        ("flowblob repair --yes", "do it"),
    ],
)
@click.option("-y", "--yes", is_flag=True, help="Do it; without this, only say what would be done.")
@click.option(
    "--level",
    type=click.Choice(LEVELS[1:]),
    default="content",
    show_default=True,
    help="How closely to look.",
)
@click.pass_context
def repair(ctx: click.Context, /, *, yes: bool, level: Level) -> None:
    """Have versions use another copy of what is damaged; a dry run unless --yes.

    What has no other copy is marked, so that its cache entries are misses and storing the value
    again heals it. Damaged bytes are moved aside. Nothing is deleted. Exits with 6 if something
    stays lost, 7 if something could not be checked.
    """
    session = current_session(ctx)
    store = session.store()
    checker = Checker(store.catalog, store.storage, level)
    with Transfer(session, "looking", _total(checker, "")) as transfer:
        done = store.repair(level=level, dry_run=not yes, tick=transfer)
    if session.json:
        session.document(**asdict(done))
    else:
        _tell_repairs(session, done)
    if done.catalog or done.lost:
        ctx.exit(failures.DAMAGE)
    ctx.exit(failures.UNAVAILABLE if done.unchecked else failures.OK)


def _tell_repairs(session: Session, done: Repaired) -> None:
    _tell_problems(session, "damaged", [Problem("catalog", text) for text in done.catalog])
    _tell_problems(session, "unchecked", done.unchecked)
    for item in done.repairs:
        _tell_repair(session, item, is_dry_run=done.is_dry_run)
    if not session.is_human:
        return
    seen = f"{plural(done.payloads, 'payload')} looked at, {plural(len(done.repairs), 'repair')}"
    session.say(session.style(seen, dim=True))
    if done.is_dry_run and done.repairs:
        session.say(session.style("  flowblob repair --yes", dim=True))


def _tell_repair(session: Session, item: Repair, *, is_dry_run: bool) -> None:
    cells = (item.cure, item.ref, item.problem, item.aside)
    if session.quiet:
        session.say(session.style(item.ref))
    elif session.is_human:
        word = session.style(f"{'would be ' if is_dry_run else ''}{item.cure}", bold=True)
        rest = "; ".join(text for text in (item.problem, item.aside) if text)
        session.say(f"{word}  {session.style(item.ref)}  {session.style(rest, dim=True)}")
    else:
        session.say("\t".join(map(session.style, cells)))
