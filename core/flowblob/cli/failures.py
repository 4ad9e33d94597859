"""What the command line says and returns when something goes wrong."""

from __future__ import annotations

import errno
import json
import signal
import sys
import traceback
from dataclasses import dataclass

import click

from flowblob import errors
from flowblob.cli.text import clean
from flowblob.urls import mask

OK, ERROR, USAGE, NOT_FOUND, AUTH, CONFLICT, DAMAGE, UNAVAILABLE, SCHEMA = range(9)
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE

MEANING = {
    OK: "done",
    ERROR: "an error that no other code names",
    USAGE: "the command line, a reference or another input is wrong",
    NOT_FOUND: "no such key, version, alias, run, cache entry or store",
    AUTH: "credentials are missing, wrong or not allowed to do this",
    CONFLICT: "somebody else was faster, or the thing exists already",
    DAMAGE: "a payload is missing or damaged, or the catalog is",
    UNAVAILABLE: "the catalog or the storage did not answer, or could not be checked",
    SCHEMA: "the store must be migrated, or was made by a newer flowblob",
    INTERRUPTED: "interrupted (Ctrl-C)",
    PIPE_CLOSED: "the reader of the output went away",
}

_EXIT: dict[type[BaseException], int] = {
    errors.NotFoundError: NOT_FOUND,
    errors.AuthError: AUTH,
    errors.ConflictError: CONFLICT,
    errors.AlreadyExistsError: CONFLICT,
    errors.PayloadUnsafeError: ERROR,
    errors.PayloadError: DAMAGE,
    errors.UnavailableError: UNAVAILABLE,
    errors.SchemaVersionError: SCHEMA,
    errors.InvalidInputError: USAGE,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is told: exit code, stable word, sentence, and what to do next."""

    exit: int
    code: str
    message: str
    hint: str = ""


def describe(error: BaseException) -> Failure:
    """Return how an exception is told to a user."""
    if isinstance(error, errors.FlowblobError):
        found = next((_EXIT[kind] for kind in type(error).__mro__ if kind in _EXIT), ERROR)
        found = DAMAGE if _is_damaged(error) else found
        return Failure(found, error.code, error.message, error.hint)
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "flowblob"
        return Failure(USAGE, "usage", error.format_message().rstrip("."), f"{command} --help")
    if isinstance(error, click.ClickException):
        return Failure(error.exit_code, "error", error.format_message())
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return Failure(INTERRUPTED, "interrupted", "Interrupted")
    if isinstance(error, OSError):
        return _describe_os_error(error)
    name = type(error).__name__
    return Failure(
        ERROR, "internal", f"Unexpected {name}: {error}", "Run it again with --debug and report it"
    )


def _is_damaged(error: errors.FlowblobError) -> bool:
    # The catalog's error class says "unavailable", also for a file that will never be readable
    # again; a monitor must tell that from a database that is busy.
    name = getattr(error.__cause__, "sqlite_errorname", "")
    return str(name).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _describe_os_error(error: OSError) -> Failure:
    where = f"{error.filename}: " if error.filename else ""
    text = f"{where}{error.strerror or error}"
    if error.errno == errno.ENOENT:
        return Failure(NOT_FOUND, "not_found", text)
    hint = "Free some space, then run it again" if error.errno == errno.ENOSPC else ""
    return Failure(ERROR, "os_error", text, hint)


def report(failure: Failure, *, as_json: bool, color: bool) -> None:
    """Print a failure: JSON on stdout for programs, otherwise two lines on stderr."""
    message, hint = mask(failure.message), failure.hint
    if as_json:
        told = {"code": failure.code, "message": message, "hint": hint, "exit": failure.exit}
        click.echo(json.dumps({"v": 1, "error": told}))
        return
    label = click.style("error:", fg="red", bold=True) if color else "error:"
    click.echo(f"{label} {clean(message)}", err=True, color=color)
    if hint:
        label = click.style("hint:", fg="cyan") if color else "hint:"
        click.echo(f"{label}  {clean(hint)}", err=True, color=color)


def show_traceback(error: BaseException) -> None:
    """Print the traceback, for `--debug`."""
    traceback.print_exception(error, file=sys.stderr)
