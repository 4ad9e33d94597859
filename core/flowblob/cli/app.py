"""The root command, and what happens around every call."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Sequence

import click

from flowblob.cli import failures
from flowblob.cli.commands import Late, LateGroup
from flowblob.cli.session import Session, wants_color

_DATA, _RUNS, _STORE = "Blobs", "Runs and the cache", "The store and this program"
COMMANDS = {
    "put": Late("flowblob.cli.transfer:put", "Store a file, a folder or standard input.", _DATA),
    "get": Late("flowblob.cli.transfer:get", "Write a version to a file or folder.", _DATA),
    "cat": Late("flowblob.cli.transfer:cat", "Write the bytes of a version to stdout.", _DATA),
    "ls": Late("flowblob.cli.listing:ls", "List blobs, filtered and sorted.", _DATA),
    "log": Late("flowblob.cli.listing:log", "List the versions of a key, newest first.", _DATA),
    "show": Late("flowblob.cli.describe:show", "Show everything known about a version.", _DATA),
    "tag": Late("flowblob.cli.change:tag", "Set or remove tags of a version.", _DATA),
    "promote": Late("flowblob.cli.change:promote", "Point an alias at a version.", _DATA),
    "rm": Late("flowblob.cli.change:rm", "Delete versions, keys, or what a run made.", _DATA),
    "undelete": Late("flowblob.cli.change:undelete", "Bring back what was deleted.", _DATA),
    "runs": Late("flowblob.cli.listing:runs", "List runs, or what one run read and wrote.", _RUNS),
    "lineage": Late(
        "flowblob.cli.describe:lineage", "Show what made a version, and what used it.", _RUNS
    ),
    "why": Late("flowblob.cli.why:why", "Explain a cache hit or miss.", _RUNS),
    "cache": Late("flowblob.cli.caching:cache", "List, pin, expire, remove cache entries.", _RUNS),
    "verify": Late("flowblob.cli.checking:verify", "Check that everything is there.", _STORE),
    "repair": Late("flowblob.cli.checking:repair", "Mend what is damaged; a dry run.", _STORE),
    "gc": Late("flowblob.cli.upkeep:gc", "Free what no version needs; a dry run.", _STORE),
    "sweep": Late("flowblob.cli.upkeep:sweep", "Remove files nobody knows; a dry run.", _STORE),
    "copy": Late("flowblob.cli.movement:copy", "Copy a store into another one.", _STORE),
    "export": Late("flowblob.cli.movement:export", "Write keys into a bundle file.", _STORE),
    "import": Late("flowblob.cli.movement:import_", "Take in a bundle file.", _STORE),
    "migrate": Late("flowblob.cli.migrating:migrate", "Bring the tables up to date.", _STORE),
    "where": Late("flowblob.cli.shell:where", "Say which store is used, and why.", _STORE),
    "trust": Late("flowblob.cli.trusting:trust", "Make keys that sign pickles.", _STORE),
    "doctor": Late("flowblob.cli.doctor:doctor", "Check the installation and the store.", _STORE),
    "completion": Late("flowblob.cli.shell:completion", "Print shell completion.", _STORE),
    "help": Late("flowblob.cli.shell:help_", "Help on a command or topic.", _STORE),
}


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"flowblob {version('flowblob')}")
        ctx.exit()


@click.group(
    cls=LateGroup,
    late=COMMANDS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: flowblob help exit-codes. References: flowblob help references.",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def root(ctx: click.Context, /) -> None:
    """Named, versioned, linked, verifiable objects for the outputs of workflow tasks."""
    if ctx.invoked_subcommand is None:
        from flowblob.cli.shell import tell_commands

        tell_commands(ctx)


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Args:
        args: The arguments after the program's name.
    """
    _prepare_streams()
    session = Session()
    try:
        code = _invoke(list(args), session)
        session.close()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _give_up_stdout()
        return failures.PIPE_CLOSED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the top level
        with contextlib.suppress(Exception):
            session.close()
        return _fail(error, session, args)


def _invoke(args: list[str], session: Session) -> int:
    # Not root.main(): it turns a closed pipe into exit code 1, which means an error here.
    if instruction := os.environ.get("_FLOWBLOB_COMPLETE"):
        from click.shell_completion import shell_complete

        logging.disable()  # a warning would land in the middle of the line that is typed
        return shell_complete(root, {"obj": session}, "flowblob", "_FLOWBLOB_COMPLETE", instruction)
    try:
        with root.make_context("flowblob", args, obj=session) as ctx:
            root.invoke(ctx)
    except click.exceptions.Exit as asked:
        return asked.exit_code
    return failures.OK


def _fail(error: BaseException, session: Session, args: Sequence[str]) -> int:
    failure = failures.describe(error)
    if session.debug or (failure.code == "usage" and "--debug" in args):
        failures.show_traceback(error)
    # A command line that could not be read may not have come as far as its --json.
    options = list(args[: args.index("--")] if "--" in args else args)
    try:
        failures.report(
            failure,
            as_json=session.json or "--json" in options,
            color=wants_color(session.color, is_terminal=sys.stderr.isatty()),
        )
        sys.stdout.flush()
    except OSError:  # a full disk, or nobody reads: what was to be said has been said on stderr
        _give_up_stdout()
    return failure.exit


def _give_up_stdout() -> None:
    # The interpreter flushes stdout once more at exit, and would end with a traceback.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _prepare_streams() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: `>&-`, some service managers
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - lasts as long as the process
    # Under PYTHONUNBUFFERED, as in most containers, stdout writes what the kernel takes at once and
    # drops the rest: a full disk or a closed pipe would cut the output with exit code 0.
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(sys.stdout.buffer),
            encoding=sys.stdout.encoding,
            line_buffering=sys.stdout.isatty(),
        )
    for stream in (sys.stdout, sys.stderr):
        # A key in a script that this terminal's encoding lacks is escaped, not a crash.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
