"""where, completion, help: about this program rather than about blobs."""

from __future__ import annotations

from importlib import resources
from typing import Any

import click

from flowblob.cli import failures
from flowblob.cli.commands import Command
from flowblob.cli.session import Session, current_session
from flowblob.errors import NotFoundError
from flowblob.trust import Keyring
from flowblob.urls import did_you_mean, mask

_SHELLS = ("bash", "zsh", "fish")
_TOPICS = {
    "references": """\
key           the newest version of models/churn          models/churn
key@N         version N, counted from 0                   models/churn@3
key@ALIAS     what an alias points at                     models/churn@prod
key@sha256:…  the version of that key with this digest    models/churn@sha256:9f2c…
id:UUID       one version for ever, never reused          id:5c7b1a52-…
sha256:…      a version with this digest                  sha256:9f2c…""",
    "environment": """\
FLOWBLOB_URL            the store: a folder or a URL
FLOWBLOB_PROFILE        a [profiles.NAME] of flowblob.toml or ~/.config/flowblob/config.toml
FLOWBLOB_CACHE          on, off, refresh (recompute and store) or readonly
FLOWBLOB_INLINE_LIMIT   payloads up to this size live in the catalog (32KiB)
FLOWBLOB_NOTE_INTERVAL  how long hit counts may wait in memory (100ms)
FLOWBLOB_SIGNING_KEY    keys that sign and verify pickles on shared stores; or ..._FILE
FLOWBLOB_ALLOW_PICKLE   1 to load pickles that nobody signed from shared stores
FLOWBLOB_RUN_*          the run that commands belong to, such as FLOWBLOB_RUN_ID
NO_COLOR, CLICOLOR, CLICOLOR_FORCE   no colour, no colour if 0, colour even in pipes""",
    "filters": """\
--filter 'size>1GB'          sizes: 500, 64KiB, 1.5GB    also version, parts
--filter 'age<=30d'          s, m, h, d, w               created>2026-11-20 for dates
--filter 'key=models/*'      text with * and ?           also kind, media_type, serializer, filename
--tag team=risk --tag gpu    tag with this value; tag that is set at all
--by prefect --by RUN        what this system or run wrote
--sort size, --sort key:desc key, kind, size, version, created""",
}


@click.command(cls=Command)
@click.pass_context
def where(ctx: click.Context, /) -> None:
    """Say which store is used, what decided so, and what else is set."""
    session = current_session(ctx)
    settings = session.settings
    if session.json:
        session.document(
            url=mask(settings.url),
            source=settings.source,
            exists=session.is_made,
            settings=settings_record(session),
        )
    elif session.quiet:
        session.say(mask(settings.url))
    else:
        exists = "" if session.is_made else " (not made yet: the first put does)"
        pairs: list[tuple[str, object]] = [("store", mask(settings.url) + exists)]
        pairs += [("decided by", settings.source)]
        for name, told in settings_record(session).items():
            if name != "url" and told["source"] != "default":
                pairs.append((name, f"{told['value']} ({told['source']})"))
        session.fields(pairs)


def settings_record(session: Session) -> dict[str, dict[str, Any]]:
    """Return every setting with its value and what decided on it, secrets masked."""
    settings = session.settings
    values = {
        "url": mask(settings.url),
        "storage": mask(settings.storage) or "beside the catalog",
        "inline_limit": settings.inline_limit,
        "note_interval": f"{settings.note_interval.total_seconds() * 1000:g}ms",
        "cache": settings.cache,
        "allow_pickle": settings.allow_pickle,
    }
    told = {
        name: {"value": value, "source": settings.sources.get(name, "default")}
        for name, value in values.items()
    }
    keys = Keyring.from_environment()
    shown = ", ".join(keys.ids) or "none"
    told["signing_key"] = {"value": shown, "source": keys.source or "default"}
    return told


@click.command(
    cls=Command,
    examples=[
        ("""echo 'eval "$(flowblob completion bash)"' >> ~/.bashrc""", ""),
        ("""echo 'eval "$(flowblob completion zsh)"' >> ~/.zshrc""", ""),
        ("flowblob completion fish > ~/.config/fish/completions/flowblob.fish", ""),
    ],
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the completion script of a shell; it completes keys, versions and aliases too."""
    session = current_session(ctx)
    script = _script(ctx, shell)
    if session.json:
        session.document(shell=shell, script=script)
    else:
        session.say(script)


def _script(ctx: click.Context, shell: str) -> str:
    if shell == "bash":
        # click's own breaks words at @ and :, which our references are full of.
        return (resources.files("flowblob.cli") / "complete.bash").read_text(encoding="utf-8")
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root = ctx.find_root().command
    return found(root, {}, "flowblob", "_FLOWBLOB_COMPLETE").source()


@click.command(name="help", cls=Command)
@click.argument("topic", nargs=-1, metavar="[COMMAND|TOPIC]")
@click.pass_context
def help_(ctx: click.Context, /, topic: tuple[str, ...]) -> None:
    """Help on a command, or on: exit-codes, references, environment, filters."""
    session = current_session(ctx)
    if not topic:
        tell_commands(ctx.find_root())
    elif topic[0] == "exit-codes":
        _tell_exit_codes(session)
    elif topic[0] in _TOPICS:
        text = _TOPICS[topic[0]]
        session.document(topic=topic[0], text=text) if session.json else session.say(text)
    else:
        _tell_command(ctx.find_root(), session, topic)


def _tell_exit_codes(session: Session) -> None:
    if session.json:
        session.document(exit_codes={str(code): text for code, text in failures.MEANING.items()})
    else:
        session.lines(f"{code:>3}  {text}" for code, text in failures.MEANING.items())


def _tell_command(root: click.Context, session: Session, names: tuple[str, ...]) -> None:
    ctx = root
    for name in names:
        group = ctx.command
        found = group.get_command(ctx, name) if isinstance(group, click.Group) else None
        if found is None:
            known = [*_TOPICS, "exit-codes"]
            known += group.list_commands(ctx) if isinstance(group, click.Group) else []
            hint = did_you_mean(name, known) or "flowblob --help"
            raise NotFoundError(f"No command or topic {name!r}", hint=hint)
        ctx = click.Context(found, info_name=name, parent=ctx)
    if session.json:
        session.document(command=_tree(ctx.command, ctx))
    else:
        session.say(ctx.get_help())


def tell_commands(root: click.Context) -> None:
    """Print the list of commands, or in JSON all of them with their options."""
    session = current_session(root)
    if not session.json:
        session.say(root.get_help())
        return
    assert isinstance(root.command, click.Group)
    commands = {}
    for name in root.command.list_commands(root):
        # A host's group would import its host; it tells about itself when it is asked for.
        if (late := root.command.get_command(root, name) if is_own(name) else None) is not None:
            commands[name] = _tree(late, root)
        else:
            commands[name] = {"help": f"flowblob help {name} --json"}
    session.document(commands=commands, topics=["exit-codes", *_TOPICS])


def is_own(name: str) -> bool:
    """Say whether a command is one of this package's own."""
    from flowblob.cli.app import COMMANDS

    return name in COMMANDS


def _tree(command: click.Command, ctx: click.Context) -> dict[str, Any]:
    told: dict[str, Any] = {
        "help": command.get_short_help_str(200),
        "params": [_param(param) for param in command.params if param.expose_value],
    }
    if isinstance(command, click.Group):
        told["commands"] = {
            name: _tree(found, ctx)
            for name in command.list_commands(ctx)
            if (found := command.get_command(ctx, name)) is not None
        }
    return told


def _param(param: click.Parameter) -> dict[str, Any]:
    return {
        "name": param.name,
        "options": [*param.opts, *param.secondary_opts] if isinstance(param, click.Option) else [],
        "required": param.required,
        "multiple": getattr(param, "multiple", False) or param.nargs != 1,
        "help": getattr(param, "help", None) or "",
    }
