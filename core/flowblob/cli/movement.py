"""copy, export, import: records and payloads from one store to another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flowblob.cli import failures
from flowblob.cli.commands import Command
from flowblob.cli.progress import Transfer
from flowblob.cli.refs import complete_key
from flowblob.cli.session import Session, current_session
from flowblob.cli.text import plural
from flowblob.errors import InvalidInputError
from flowblob.model import Ref
from flowblob.wording import duration, size

if TYPE_CHECKING:
    from flowblob.exporting import Exported
    from flowblob.movement import Moved

_allow_pickle = click.option(
    "--allow-pickle", is_flag=True, help="Take pickles that nobody signed: loading one runs code."
)


@click.command(
    cls=Command,
    examples=[
        ("flowblob copy ~/flow 'postgresql://db/flow?storage=s3://bucket/flow'", ""),
        ("flowblob copy OLD NEW --prefix models/", "only these keys, with what belongs to them"),
    ],
)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--prefix", default="", metavar="TEXT", help="Only keys that begin so.")
@_allow_pickle
@click.pass_context
def copy(
    ctx: click.Context, /, source: str, target: str, *, prefix: str, allow_pickle: bool
) -> None:
    """Copy a store into another one, between any engines: SRC and DST are folders or URLs.

    Ids, versions, times, links and lineage stay as they are; every payload is verified. Run it
    again to go on after an interruption, or to bring what is new.
    """
    session = current_session(ctx)
    if session.url or session.profile:
        raise InvalidInputError("copy takes its two stores as arguments", hint="Leave --store out")
    ends = [Session(url=url, json=session.json, quiet=session.quiet) for url in (source, target)]
    start = time.monotonic()
    try:
        old, new = ends[0].store(), ends[1].store(make=True)
        with Transfer(session, "copying", None) as transfer:
            if transfer.is_on:
                transfer.meter.total = old.copy_size(new, prefix=prefix)
            moved = old.copy_to(new, prefix=prefix, allow_pickle=allow_pickle, progress=transfer)
    finally:
        for end in ends:
            end.close()
    _tell_moved(session, "copied", moved, time.monotonic() - start)
    ctx.exit(_code(moved))


@click.command(
    cls=Command,
    name="export",
    examples=[
        ("flowblob export models/churn churn.tar", "one key with its history"),
        ("flowblob export --prefix models/ models.tar", ""),
    ],
)
@click.argument("names", nargs=-1, required=True, metavar="[KEY] FILE", shell_complete=complete_key)
@click.option("--prefix", default="", metavar="TEXT", help="All keys that begin so.")
@click.option("--all", "everything", is_flag=True, help="All keys.")
@click.pass_context
def export(ctx: click.Context, /, names: tuple[str, ...], *, prefix: str, everything: bool) -> None:
    """Write a key, or all keys that begin so, with all versions and links into one file.

    The file is a plain tar: payloads by digest, and a manifest.
    """
    session = current_session(ctx)
    key, file = _key_and_file(names, is_many=bool(prefix) or everything)
    store = session.store()
    start = time.monotonic()
    with Transfer(session, "exporting", None) as transfer:
        if transfer.is_on:
            transfer.meter.total = store.export_size(key=key, prefix=prefix)
        done = store.export_to(file, key=key, prefix=prefix, progress=transfer)
    _tell_exported(session, file, done, time.monotonic() - start)
    ctx.exit(failures.DAMAGE if done.damaged else failures.OK)


def _key_and_file(names: tuple[str, ...], *, is_many: bool) -> tuple[str, Path]:
    if len(names) != (1 if is_many else 2):
        raise InvalidInputError(
            "export takes a key and a file, or --prefix or --all and a file",
            hint="Write 'flowblob export KEY FILE'",
        )
    ref = Ref.parse(names[0]) if len(names) > 1 else Ref()
    if ref != Ref(ref.key):
        raise InvalidInputError(
            f"{names[0]!r} names one version, and a bundle holds whole keys",
            hint=f"Write 'flowblob export {ref.key or 'KEY'} {names[1]}', or use 'flowblob get'",
        )
    return ref.key, Path(names[-1])


@click.command(cls=Command, name="import", examples=[("flowblob import churn.tar", "")])
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@_allow_pickle
@click.pass_context
def import_(ctx: click.Context, /, file: str, *, allow_pickle: bool) -> None:
    """Take in what export wrote; what is here already is skipped.

    The whole file is checked before any of it becomes visible.
    """
    session = current_session(ctx)
    store = session.store(make=True)
    start = time.monotonic()
    # Read once to be checked, and once to be stored.
    with Transfer(session, "importing", 2 * Path(file).stat().st_size) as transfer:
        moved = store.import_from(file, allow_pickle=allow_pickle, progress=transfer)
    _tell_moved(session, "imported", moved, time.monotonic() - start)
    ctx.exit(_code(moved))


def _code(moved: Moved) -> int:
    if moved.damaged:
        return failures.DAMAGE
    return failures.ERROR if moved.unsafe else failures.OK


def _tell_moved(session: Session, word: str, moved: Moved, seconds: float) -> None:
    left = [("damaged", ref, problem) for ref, problem in moved.damaged]
    left += [("unsafe", ref, "a pickle that nothing vouches for") for ref in moved.unsafe]
    if session.json:
        session.document(
            versions=moved.versions,
            records=moved.records,
            payloads=moved.payloads,
            size=moved.size,
            damaged=_problems(moved.damaged),
            unsafe=list(moved.unsafe),
            dropped=list(moved.dropped),
            seconds=round(seconds, 3),
        )
        return
    _tell_left(session, left)
    if session.is_human:
        what = f"{plural(moved.versions, 'version')}, {plural(moved.payloads, 'payload')}"
        rest = f"{size(moved.size)}, {plural(moved.records, 'other record')}, {duration(seconds)}"
        session.say(f"{session.style(word, bold=True)}  {what}  {session.style(rest, dim=True)}")
        if moved.dropped:
            told = f"  {plural(len(moved.dropped), 'version')} of it deleted here before: left so"
            session.say(session.style(told, dim=True))
        if moved.unsafe:
            session.say(session.style("  --allow-pickle takes them, if you trust them", dim=True))
    elif not session.quiet:
        session.say(f"{word}\t{moved.versions}\t{moved.payloads}\t{moved.size}\t{moved.records}")


def _tell_exported(session: Session, file: Path, done: Exported, seconds: float) -> None:
    if session.json:
        session.document(
            file=str(file),
            versions=done.versions,
            records=done.records,
            payloads=done.payloads,
            size=file.stat().st_size,
            damaged=_problems(done.damaged),
            seconds=round(seconds, 3),
        )
        return
    _tell_left(session, [("damaged", ref, problem) for ref, problem in done.damaged])
    if session.quiet:
        return
    whole = file.stat().st_size
    if session.is_human:
        what = f"{plural(done.versions, 'version')}, {plural(done.payloads, 'payload')}"
        rest = f"{session.style(file)}, {size(whole)}, {duration(seconds)}"
        session.say(f"{session.style('exported', bold=True)}  {what}  {rest}")
    else:
        session.say(f"exported\t{done.versions}\t{done.payloads}\t{whole}\t{done.records}")


def _problems(damaged: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
    return [{"ref": ref, "problem": problem} for ref, problem in damaged]


def _tell_left(session: Session, left: list[tuple[str, str, str]]) -> None:
    for word, ref, problem in left:
        if session.quiet:
            session.say(session.style(ref))
        elif session.is_human:
            session.say(
                f"{session.style(word, fg='red')}  {session.style(ref)}: {session.style(problem)}"
            )
        else:
            session.say("\t".join(session.style(cell) for cell in (word, ref, problem)))
