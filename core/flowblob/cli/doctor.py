"""doctor: what is installed, what is set, and whether the store works and is sound."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from flowblob.cli import failures, probes
from flowblob.cli.commands import Command
from flowblob.cli.probes import Check
from flowblob.cli.session import Session, current_session
from flowblob.cli.shell import settings_record
from flowblob.cli.text import plural
from flowblob.errors import FlowblobError
from flowblob.urls import mask
from flowblob.wording import size

if TYPE_CHECKING:
    from flowblob.store import Store

_COLORS = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "red"}
_INDENT = 29
#: The worst exit code wins: damage, then what could not be checked at all.
_WORST = (failures.DAMAGE, failures.SCHEMA, failures.AUTH, failures.UNAVAILABLE)


@click.command(cls=Command)
@click.option("--offline", is_flag=True, help="Look only at the installation, not at the store.")
@click.pass_context
def doctor(ctx: click.Context, /, *, offline: bool) -> None:
    """Check the installation, the settings and the store; writes and deletes one probe.

    Exits with 6 if something is damaged and with 7 if something could not be checked. A check says
    ok, note (worth knowing), warn (works, but should be changed) or fail. -q prints only warn and
    fail.
    """
    session = current_session(ctx)
    checks = []
    for check in _all_checks(session, offline=offline):
        checks.append(check)
        _tell(session, check)
    if session.json:
        session.document(
            ok=all(check.status != "fail" for check in checks),
            checks=[check.record() for check in checks],
            settings=_settings(session),
        )
    elif session.is_human:
        _tell_total(session, checks)
    codes = {check.exit for check in checks if check.status == "fail"}
    ctx.exit(next((code for code in _WORST if code in codes), failures.ERROR) if codes else 0)


def _all_checks(session: Session, *, offline: bool) -> Iterator[Check]:
    yield from probes.versions()
    yield from _settings_checks(session)
    if not offline:
        yield from _store_checks(session)
    yield from probes.hosts()


def _settings(session: Session) -> dict[str, Any]:
    try:
        return settings_record(session)
    except FlowblobError:
        return {}


def _settings_checks(session: Session) -> Iterator[Check]:
    try:
        told = settings_record(session)
    except FlowblobError as error:
        yield _failed("settings", error)
        return
    for name, setting in told.items():
        yield Check(f"setting {name}", "ok", f"{setting['value']}  ({setting['source']})")


def _store_checks(session: Session) -> Iterator[Check]:
    try:
        if not session.is_made:
            yield Check(
                "store", "note", f"none at {session.settings.folder} yet", "The first put makes it"
            )
            return
        store = session.store()
    except FlowblobError as error:
        yield _failed("store", error)
        return
    yield from _guarded("catalog", lambda: _catalog(store))
    yield from _guarded("payloads", lambda: probes.storage(store.storage))
    yield from _guarded("pickles", lambda: probes.trust(store))
    if folder := session.settings.folder:
        yield from _guarded("disk", lambda: probes.disk(folder))
        yield from _guarded("clock", lambda: probes.clock(folder))


def _catalog(store: Store) -> Iterator[Check]:
    facts = store.catalog.facts()
    counts = facts.get("counts", {})
    version = f"{facts.get('engine')} {facts.get('engine_version')}, schema {facts.get('schema')}"
    holds = ", ".join(
        plural(counts[table], word)
        for table, word in (("version", "version"), ("run", "run"), ("entry", "cache entry"))
        if table in counts
    )
    yield Check("catalog", "ok", f"{mask(store.url)}: {version}, {size(facts.get('size', 0))}")
    yield Check("catalog holds", "ok", holds, data=counts)
    if facts.get("engine") == "sqlite":
        yield from probes.sqlite(str(facts.get("engine_version")))
    yield from _durability(facts)
    problems = store.catalog.check()
    if not problems:
        yield Check("integrity", "ok", "records refer to each other as they should")
    for problem in problems[:20]:
        yield Check(
            "integrity",
            "fail",
            problem,
            "Restore the catalog from a backup",
            exit=failures.DAMAGE,
        )


def _durability(facts: dict[str, Any]) -> Iterator[Check]:
    if facts.get("engine") == "sqlite" and facts.get("synchronous") not in ("FULL", "EXTRA"):
        detail = f"synchronous={facts.get('synchronous')}: a power cut may lose"
        hint = "Do not change flowblob's pragmas"
    elif off := [name for name in ("fsync", "synchronous_commit") if facts.get(name) == "off"]:
        detail = f"{', '.join(off)} off: a crash of the server may lose"
        hint = "Turn it on in postgresql.conf, or for the role"
    else:
        return
    yield Check("durability", "warn", f"{detail} acknowledged versions", hint)


def _guarded(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield the checks; one that fails must not hide those after it."""
    try:
        yield from checks()
    except (FlowblobError, OSError) as error:
        yield _failed(name, error)


def _failed(name: str, error: Exception) -> Check:
    told = failures.describe(error)
    code = told.exit if told.exit in _WORST else failures.UNAVAILABLE
    return Check(name, "fail", mask(told.message), told.hint, exit=code)


def _tell(session: Session, check: Check) -> None:
    if session.json or (session.quiet and check.status in ("ok", "note")):
        return
    if session.is_human:
        status = session.style(check.status.ljust(4), fg=_COLORS[check.status])
        first, *more = _wrapped(check.detail)
        session.say(f"{status}  {session.style(check.name.ljust(21))}  {session.style(first)}")
        for line in [*more, *(_wrapped(check.hint) if check.hint else ())]:
            session.say(f"{'':{_INDENT}}{session.style(line, dim=line not in more)}")
    else:
        cells = (check.status, check.name, check.detail, check.hint)
        session.say("\t".join(session.style(cell) for cell in cells))


def _wrapped(text: str) -> list[str]:
    width = max(shutil.get_terminal_size().columns - _INDENT, 30)
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False) or [""]


def _tell_total(session: Session, checks: list[Check]) -> None:
    counts = {
        status: sum(check.status == status for check in checks) for status in ("fail", "warn")
    }
    found = [f"{count} {status}" for status, count in counts.items() if count]
    session.say(session.style(", ".join(found) or "everything works", bold=True))
