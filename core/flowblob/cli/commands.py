"""Commands that share their common options, and groups that load their commands late."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import click

from flowblob.cli.session import current_session
from flowblob.errors import MissingDependencyError
from flowblob.urls import did_you_mean

_NAMES = ("store", "profile", "json", "quiet", "color", "progress", "debug")


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        # None is "not given here": `flowblob --json ls` and `flowblob ls --json` both count.
        if value is not None:
            setattr(current_session(ctx), name, value)
            if name == "debug":
                _log_to_stderr()

    return callback


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(relativeCreated)6d ms %(name)s: %(message)s"))
    logging.getLogger("flowblob").addHandler(handler)
    logging.getLogger("flowblob").setLevel(logging.DEBUG)


def common_options() -> list[click.Option]:
    """Return the options that every command takes, before or after its name."""

    def option(*names: str, to: str, **rest: Any) -> click.Option:
        return click.Option(
            list(names), expose_value=False, default=None, callback=_keep(to), **rest
        )

    return [
        option("--store", to="url", metavar="URL", help="The store: a folder or a URL."),
        option(
            "--profile", to="profile", metavar="NAME", help="A [profiles.NAME] of flowblob.toml."
        ),
        option("--json", to="json", is_flag=True, help="Print JSON, errors included."),
        option("-q", "--quiet", to="quiet", is_flag=True, help="Print only addresses."),
        option(
            "--color",
            to="color",
            type=click.Choice(["auto", "always", "never"]),
            help="Colour; NO_COLOR, CLICOLOR and CLICOLOR_FORCE count too.",
        ),
        option("--progress/--no-progress", to="progress", help="Show progress of long transfers."),
        option("--debug", to="debug", is_flag=True, help="Show tracebacks and debug logs."),
    ]


def _own_and_common(
    command: click.Command, ctx: click.Context
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for param in command.get_params(ctx):
        # Arguments stand in the usage line; newer versions of click list them, without a word.
        if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
            (common if param.name in _NAMES else own).append(record)
    return own, common


def _write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    own, common = _own_and_common(command, ctx)
    if own:
        with formatter.section("Options"):
            formatter.write_dl(own)
    if common:
        names = " ".join(record[0].split(",")[0].split(" ")[0] for record in common)
        with formatter.section("Common options (see flowblob --help)"):
            formatter.write_text(names)


class Command(click.Command):
    """A command with the common options; its help lists them in one line.

    Args:
        examples: Command lines, and what each does, for its help.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        adopt(self)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line, about in self.examples:
                    formatter.write(f"  {line}\n" + (f"      {about}\n" if about else ""))
        _write_options(self, ctx, formatter)


class Group(click.Group):
    """A group whose commands take the common options."""

    command_class = Command
    group_class = type  # click's way to say: groups inside are of this class too

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        adopt(self)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            hint = did_you_mean(name, self.list_commands(ctx))
            raise click.UsageError(f"No command {name!r}. {hint}".rstrip(), ctx)
        return super().resolve_command(ctx, args)


def adopt(command: click.Command) -> None:
    """Give a command, and what is below it, the common options that it does not define itself."""
    taken = {name for param in command.params for name in param.opts}
    command.params += [option for option in common_options() if not taken & set(option.opts)]
    if isinstance(command, click.Group):
        for child in command.commands.values():
            if not isinstance(child, (Command, Group)):
                adopt(child)


@dataclass(frozen=True, slots=True)
class Late:
    """A command that is imported when it is used.

    Attributes:
        target: `module:attribute`.
        help: Its line in the list, known without importing it.
        section: Heading it stands under.
    """

    target: str
    help: str
    section: str


class LateGroup(Group):
    """The root: knows its commands by name, and imports one when it is used."""

    def __init__(self, *args: Any, late: Mapping[str, Late], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._late, *sorted(set(_plugins()) - self._late.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if late := self._late.get(cmd_name):
            module, _, attribute = late.target.partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        if cmd_name in _plugins():
            found = _load(_plugins()[cmd_name])
            if not isinstance(found, (Command, Group)):
                adopt(found)
            return found
        return None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own, common = _own_and_common(self, ctx)
        # Commands first: the options are the same everywhere and nobody begins with them.
        self.format_commands(ctx, formatter)
        with formatter.section("Common options, before or after the command"):
            formatter.write_dl([*common, *own])

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, late in self._late.items():
            sections.setdefault(late.section, []).append((name, late.help))
        for name, point in sorted(_plugins().items()):
            text = f"Commands for {name.capitalize()} ({point.module.partition('.')[0]})."
            sections.setdefault("Orchestrators", []).append((name, text))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _load(point: Any) -> click.Command:
    try:
        found: click.Command = point.load()
    except ImportError as error:
        raise MissingDependencyError(
            f"'flowblob {point.name}' cannot be loaded: {error}",
            hint=f"pip install 'flowblob[{point.name}]'",
        ) from error
    return found


@cache
def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="flowblob.cli")}
