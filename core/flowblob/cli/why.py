"""why: explain a cache hit or a miss by the ingredients of its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flowblob.cli.commands import Command
from flowblob.cli.listing import runs_named
from flowblob.cli.records import entry_record, run_record
from flowblob.cli.refs import complete_ref
from flowblob.cli.session import Session, current_session
from flowblob.cli.text import age, plural, stamp
from flowblob.errors import NotFoundError
from flowblob.wording import duration

if TYPE_CHECKING:
    from flowblob.explaining import Difference, PastCall
    from flowblob.model import Run
    from flowblob.store import Store

_MARKS = {"same": "=", "changed": "~", "new": "+", "gone": "-"}
_COLORS = {"same": None, "changed": "yellow", "new": "green", "gone": "red"}
_MOST = 10


@click.command(
    cls=Command,
    examples=[
        ("flowblob why scores/daily@7", "why was this version computed?"),
        ("flowblob why --task-run 6f1c2d9a-…", "was this task served, and why?"),
        ("flowblob why --dag etl --run manual__2026-11-20 --task score", ""),
    ],
)
@click.argument("what", required=False, metavar="[REF|CACHE-KEY]", shell_complete=complete_ref)
@click.option(
    "--task-run", metavar="ID", help="A Prefect task-run id or Airflow ti id (or a name)."
)
@click.option("--dag", help="Airflow DAG; with --run and --task.")
@click.option("--flow", help="Prefect flow; with --run and --task.")
@click.option("--run", "run_id", metavar="ID", help="Flow-run or DAG-run id.")
@click.option("--task", help="Name of the task.")
@click.pass_context
def why(ctx: click.Context, /, what: str | None, **options: str | None) -> None:
    """Explain why a task's output was computed, or served from the cache.

    Each ingredient of the cache key is compared with the nearest earlier call: = same, ~ changed,
    + new, - gone. In a pipe: verdict, ref, change, kind, name, before, now.
    """
    session = current_session(ctx)
    is_run = bool(options["task_run"] or options["run_id"] or options["task"])
    if bool(what) == is_run:
        raise click.UsageError("Give a REF or cache key, or --task-run, or --run with --task", ctx)
    store = session.store()
    if what is not None:
        answers = _of_key(store, what) if what.startswith("fb1:") else _of_ref(store, what)
    else:
        answers = [found for run in _runs(store, options) for found in store.cache.explain_run(run)]
        if not answers:
            raise NotFoundError(
                "This run computed nothing under a cache key and was served nothing",
                hint="flowblob runs RUN shows what it read and wrote",
            )
    _tell(session, answers[:_MOST])


def _runs(store: Store, options: dict[str, str | None]) -> list[Run]:
    if name := options["task_run"]:
        return runs_named(store, name)
    wanted: dict[str, Any] = {
        name: value for name in ("run_id", "task") if (value := options[name])
    }
    flow = options["dag"] or options["flow"]
    wanted |= {"flow": flow} if flow else {}
    wanted |= {"system": "airflow"} if options["dag"] else {}
    if not (found := store.runs(**wanted)):
        asked = ", ".join(f"{name} {value}" for name, value in wanted.items())
        raise NotFoundError(f"No run with {asked}", hint="flowblob runs")
    return found


def _of_key(store: Store, key: str) -> list[PastCall]:
    return [store.cache.explain_entry(store.cache.entry(key))]


def _of_ref(store: Store, ref: str) -> list[PastCall]:
    blob = store.resolve(ref)
    entries = store.cache.entries(blob_id=blob.id)
    if not entries:
        by = f" by {blob.run}" if blob.run else ""
        raise NotFoundError(
            f"{blob.ref} was put{by}, not computed under a cache key",
            hint=f"flowblob show {blob.ref}",
        )
    return [store.cache.explain_entry(entry) for entry in entries]


def _tell(session: Session, answers: list[PastCall]) -> None:
    if session.json:
        session.document(answers=[_record(answer) for answer in answers])
    elif session.quiet:
        session.lines(answer.entry.blob.ref for answer in answers)
    elif session.is_human:
        for position, answer in enumerate(answers):
            if position:
                session.say()
            _show(session, answer)
    else:
        for answer in answers:
            for found in answer.explanation.differences:
                session.say("\t".join(_row(session, answer, found)))


def _record(answer: PastCall) -> dict[str, Any]:
    is_hit = answer.run is not None and answer.verdict == "hit"
    return answer.to_dict() | {
        "entry": entry_record(answer.entry),
        "served": run_record(answer.run) if answer.run and is_hit else None,
        "at": stamp(answer.at),
    }


def _row(session: Session, answer: PastCall, found: Difference) -> list[str]:
    before, now = _values(found)
    cells = (
        answer.verdict,
        answer.entry.blob.ref,
        found.change,
        found.kind,
        found.name,
        before,
        now,
    )
    return [session.style(cell) for cell in cells]


def _show(session: Session, answer: PastCall) -> None:
    entry, is_hit = answer.entry, answer.verdict == "hit"
    verdict = session.style(answer.verdict, fg="green" if is_hit else "yellow", bold=True)
    ref, because = session.style(entry.blob.ref, bold=True), session.style(answer.because)
    session.say(f"{verdict} {ref} because {because}")
    for found in answer.explanation.differences:
        session.say(_ingredient_line(session, found))
    who = f"{answer.run}, " if answer.run else ""
    if is_hit:
        made = f"; it was made {age(entry.updated_at)} and saved {duration(entry.cost)}"
        _dim(session, f"served to {who}{age(answer.at)}{made}")
    else:
        _dim(session, f"computed by {who}{age(answer.at)}, took {duration(entry.cost)}")
        if nearest := answer.explanation.nearest:
            _dim(session, f"compared with {nearest.blob.ref}, {age(nearest.updated_at)}")
    if entry.hits:
        saved = f"{duration(entry.saved)} of computing saved"
        _dim(session, f"since then: {plural(entry.hits, 'hit')}, {saved}")


def _ingredient_line(session: Session, found: Difference) -> str:
    change = found.change
    mark = session.style(_MARKS[change], fg=_COLORS[change])
    before, now = _values(found)
    values = f"{before} -> {now}" if change == "changed" else now or before
    name = found.name if found.name == found.kind else f"{found.kind} {found.name}"
    shown = session.style(values, dim=True)
    return f"  {mark} {session.style(change.ljust(7))}  {session.style(name)}  {shown}"


def _values(found: Difference) -> tuple[str, str]:
    """Return both values as people read them; equal or missing summaries give way to digests."""
    before, now = found.before, found.now
    if found.change == "changed" and before == now:
        return _short(found.before_digest), _short(found.now_digest)
    return before or _short(found.before_digest), now or _short(found.now_digest)


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:8]


def _dim(session: Session, text: str) -> None:
    session.say(session.style(f"  {text}", dim=True))
