"""Every command answers in JSON, errors included, and ends with a documented exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from flowblob import Run, Store, cached, errors
from flowblob.cli import failures
from flowblob.cli.app import COMMANDS, root
from flowblob.cli.commands import common_options
from flowblob.cli.session import current_session

Cli = Callable[..., Any]

#: A call of every command that succeeds on `full_store`; a new command must be added here.
GOOD = {
    "put": ["put", "note.txt", "notes/a"],
    "get": ["get", "notes/first", "-o", "out.txt"],
    "cat": ["cat", "notes/first"],
    "ls": ["ls"],
    "log": ["log", "notes/first"],
    "show": ["show", "notes/first"],
    "tag": ["tag", "notes/first", "team=risk"],
    "promote": ["promote", "notes/first", "prod"],
    "rm": ["rm", "--dry-run", "notes/first"],
    "undelete": ["undelete", "notes/gone"],
    "runs": ["runs"],
    "why": ["why", "twice"],
    "cache ls": ["cache", "ls"],
    "cache show": ["cache", "show", "{entry}"],
    "cache stats": ["cache", "stats"],
    "cache pin": ["cache", "pin", "{entry}"],
    "cache unpin": ["cache", "unpin", "{entry}"],
    "cache why": ["cache", "why", "{entry}"],
    "cache rm": ["cache", "rm", "{entry}"],
    "cache expire": ["cache", "expire", "{entry}"],
    "verify": ["verify", "--full"],
    "repair": ["repair"],
    "gc": ["gc"],
    "sweep": ["sweep"],
    "copy": ["copy", "{store}", "elsewhere"],
    "export": ["export", "notes/first", "first.tar"],
    "import": ["import", "bundle.tar"],
    "lineage": ["lineage", "notes/first"],
    "where": ["where"],
    "migrate": ["migrate", "--dry-run"],
    "trust new-key": ["trust", "new-key"],
    "doctor": ["doctor"],
    "completion": ["completion", "bash"],
    "help": ["help", "exit-codes"],
}
#: A call of every command that must fail.
BAD = {
    "put": (["put", "absent.txt", "notes/a"], 2),
    "get": (["get", "absent"], 3),
    "cat": (["cat", "notes/first@9"], 3),
    "ls": (["ls", "--filter", "siez>1"], 2),
    "log": (["log", "absent"], 3),
    "show": (["show", "notes/first@nobody"], 3),
    "tag": (["tag", "notes/first"], 2),
    "promote": (["promote", "notes/first", "prod", "--expect", "5"], 5),
    "rm": (["rm", "notes/first"], 2),
    "undelete": (["undelete", "notes/first"], 3),
    "runs": (["runs", "nobody"], 3),
    "why": (["why", "notes/first"], 3),
    "cache ls": (["cache", "ls", "--limit", "0"], 2),
    "cache show": (["cache", "show", "fb1:00000000"], 3),
    "cache stats": (["cache", "stats", "--since", "soon"], 2),
    "cache pin": (["cache", "pin", "fb1:00000000"], 3),
    "cache unpin": (["cache", "unpin", "fb1:00000000"], 3),
    "cache why": (["cache", "why", "notes/first"], 3),
    "cache rm": (["cache", "rm", "fb1:00000000"], 3),
    "cache expire": (["cache", "expire", "fb1:00000000"], 3),
    "verify": (["verify", "absent"], 3),
    "repair": (["repair", "--level", "catalog"], 2),
    "gc": (["gc", "--grace", "soon"], 2),
    "sweep": (["sweep", "--min-age", "1m"], 2),
    "copy": (["copy", "absent", "elsewhere"], 3),
    "export": (["export", "absent", "out.tar"], 3),
    "import": (["import", "note.txt"], 2),
    "lineage": (["lineage", "absent"], 3),
    "where": (["where", "--profile", "nobody"], 3),
    "migrate": (["migrate", "--store", "/nowhere/at/all"], 3),
    "trust new-key": (["trust", "new-key", "no id"], 2),
    "doctor": (["doctor", "--no-such-option"], 2),
    "completion": (["completion", "tcsh"], 2),
    "help": (["help", "nonsense"], 3),
}


@pytest.fixture
def full_store(store: Store) -> Store:
    Path("note.txt").write_text("hello")

    @cached(store=store, name="twice", version="1")
    def twice(number: int) -> int:
        return number * 2

    store.put("notes/gone", b"gone")
    store.delete("notes/gone")
    store.put("notes/first", b"hello", run=Run(flow="f", run_id="r1", task="t"))
    assert twice(4) == 8
    store.export_to("bundle.tar", key="notes/first")
    return store


def leaves(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(group)
    # The hosts' groups are tested in their hosts' environments.
    for name in COMMANDS if group is root else group.list_commands(ctx):
        found = group.get_command(ctx, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from leaves(found, f"{prefix}{name} ")
        else:
            yield prefix + name, found


TREE = dict(leaves(root))


def test_every_command_of_the_tree_has_its_example_here() -> None:
    assert set(GOOD) == set(BAD) == set(TREE)


@pytest.mark.parametrize("name", TREE)
def test_a_command_answers_in_json(name: str, cli: Cli, full_store: Store) -> None:
    (entry,) = full_store.cache.entries()
    done = cli(
        *(arg.format(entry=entry.key, store=full_store.settings.folder) for arg in GOOD[name]),
        "--json",
    )
    assert done.code == 0, done.out + done.err
    assert done.json["v"] == 1
    assert "error" not in done.json
    assert done.out.count("\n") == 1
    assert done.err == ""


@pytest.mark.parametrize("name", TREE)
def test_a_failing_command_answers_in_json_too(name: str, cli: Cli, full_store: Store) -> None:
    args, code = BAD[name]
    done = cli("--json", *args)
    assert done.code == code, done.out + done.err
    assert set(done.json) == {"v", "error"}
    assert set(done.json["error"]) == {"code", "message", "hint", "exit"}
    assert done.json["error"]["exit"] == code
    assert done.json["error"]["message"]


@pytest.mark.parametrize("name", TREE)
def test_a_failure_is_one_sentence_and_a_hint_on_stderr(
    name: str, cli: Cli, full_store: Store
) -> None:
    args, code = BAD[name]
    done = cli(*args)
    assert (done.code, done.out) == (code, "")
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert [line for line in lines[1:] if not line.startswith("hint: ")] == []
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", TREE)
def test_a_command_takes_the_common_options(name: str) -> None:
    has = {option for param in TREE[name].params for option in param.opts}
    assert {opt for option in common_options() for opt in option.opts} <= has


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    assert command.name == name
    assert command.help


@pytest.mark.parametrize(
    "name", ["put", "ls", "log", "promote", "tag", "runs", "why", "cache ls", "lineage"]
)
def test_quiet_prints_one_address_in_a_line(name: str, cli: Cli, full_store: Store) -> None:
    done = cli(*GOOD[name], "-q")
    assert done.code == 0
    assert done.out
    assert all(len(line.split()) == 1 for line in done.out.splitlines())
    assert done.err == ""


def test_options_count_before_and_after_the_command(cli: Cli, full_store: Store) -> None:
    assert cli("--json", "ls").out == cli("ls", "--json").out


def test_every_error_of_ours_has_an_exit_code_that_is_documented() -> None:
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.FlowblobError):
            assert failures.describe(kind("m")).exit in failures.MEANING


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.FlowblobError, 1),
        (errors.InvalidInputError, 2),
        (errors.NotFoundError, 3),
        (errors.AuthError, 4),
        (errors.VersionConflictError, 5),
        (errors.AlreadyExistsError, 5),
        (errors.ReservationHeldError, 5),
        (errors.PayloadCorruptError, 6),
        (errors.PayloadMissingError, 6),
        (errors.PayloadUnsafeError, 1),
        (errors.CatalogUnavailableError, 7),
        (errors.StorageUnavailableError, 7),
        (errors.SchemaVersionError, 8),
        (KeyboardInterrupt, 130),
        (RuntimeError, 1),
    ],
)
def test_an_error_ends_with_its_exit_code(kind: type[BaseException], code: int) -> None:
    assert failures.describe(kind("m")).exit == code


def test_a_password_in_a_message_is_masked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    done = cli("ls", "--store", "mysql://ana:secret@db/flow?storage=/x")
    assert done.code == 1
    assert "secret" not in done.out + done.err
    assert "Available: " in done.err


def test_an_unexpected_error_shows_its_traceback_only_with_debug(
    cli: Cli, full_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "ls", lambda *_, **__: 1 / 0)
    assert "Traceback" not in cli("ls").err
    assert "ZeroDivisionError" in cli("ls").err
    assert cli("ls", "--json").json["error"]["code"] == "internal"
    assert "Traceback" in cli("ls", "--debug").err


def test_without_a_command_the_help_is_printed(cli: Cli) -> None:
    done = cli()
    assert done.code == 0
    assert "Store a file, a folder or standard input." in done.out


def test_help_in_json_is_the_tree_of_commands_with_their_options(cli: Cli) -> None:
    told = cli("help", "--json").json
    assert set(COMMANDS) <= set(told["commands"])
    options = [option for param in told["commands"]["put"]["params"] for option in param["options"]]
    assert "--expect-version" in options


def test_help_on_a_command_is_its_help(cli: Cli) -> None:
    assert cli("help", "put").out == cli("put", "--help").out


@pytest.mark.parametrize("topic", ["exit-codes", "references", "environment", "filters"])
def test_help_knows_the_topic(topic: str, cli: Cli) -> None:
    assert len(cli("help", topic).out.splitlines()) > 5


class Point:
    """An entry point of a host's package."""

    name = "host"
    module = "host_package.cli"

    def __init__(self, found: click.Command | None = None) -> None:
        self.found = found

    def load(self) -> click.Command:
        if self.found is None:
            raise ModuleNotFoundError("No module named 'host'", name="host")
        return self.found


def test_a_host_that_is_not_installed_is_named_with_its_extra(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowblob.cli.commands._plugins", lambda: {"host": Point()})
    done = cli("host", "setup")
    assert done.code == 1
    assert "pip install 'flowblob[host]'" in done.err
    assert "host" in cli("--help").out


def test_a_hosts_group_gets_the_common_options(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    @click.group()
    def host() -> None:
        """Commands of a host."""

    @host.command()
    def setup() -> None:
        session = current_session()
        session.document(done=True, url=session.settings.url)

    monkeypatch.setattr("flowblob.cli.commands._plugins", lambda: {"host": Point(host)})
    told = cli("host", "setup", "--json", "--store", "/elsewhere").json
    assert told == {"v": 1, "done": True, "url": "/elsewhere"}
    assert cli("host", "set", "--json").json["error"]["code"] == "usage"


def test_a_mistyped_command_is_named_with_the_one_that_was_meant(cli: Cli) -> None:
    done = cli("lgo")
    assert done.code == 2
    assert "Did you mean 'log'?" in done.err
