"""One call of the command line: which store, and how to answer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from flowblob import config, engines
from flowblob.cli.text import clean
from flowblob.errors import NotFoundError

if TYPE_CHECKING:
    from flowblob.abc import Catalog
    from flowblob.cli.table import Column
    from flowblob.config import Settings
    from flowblob.store import Store

VERSION = 1


@dataclass
class Session:
    """The common options, and everything that depends on them.

    Attributes:
        url: The store that `--store` named.
        profile: What `--profile` named.
        json: Answer in JSON, errors too.
        quiet: Answer with addresses only.
        color: `auto`, `always` or `never`.
        progress: False for no progress on long transfers.
        debug: Show tracebacks and debug logs.
    """

    url: str | None = None
    profile: str | None = None
    json: bool = False
    quiet: bool = False
    color: str = "auto"
    progress: bool = True
    debug: bool = False
    _store: Store | None = field(default=None, init=False, repr=False)

    # -- the store

    @cached_property
    def settings(self) -> Settings:
        """Which store is meant."""
        return config.find(self.url, profile=self.profile)

    @property
    def is_made(self) -> bool:
        """Whether the store exists; True where only opening it can tell."""
        folder = self.settings.folder
        return folder is None or (folder / engines.CATALOG_FILE).exists()

    def store(self, *, make: bool = False) -> Store:
        """Open the store.

        Args:
            make: Make an embedded one that does not exist. A command that only reads must not
                leave an empty store behind at a mistyped path.

        Raises:
            NotFoundError: There is no store yet.
        """
        if self._store is None:
            is_new = not self.is_made
            if is_new and not make:
                raise NotFoundError(
                    f"No store at {self.settings.folder} (from {self.settings.source})",
                    hint="The first 'flowblob put FILE KEY' makes it; "
                    "another one: --store, or FLOWBLOB_URL",
                )
            from flowblob.store import Store

            self._store = Store.from_settings(self.settings)
            if is_new:
                where = f"{self.settings.folder} (SQLite and files)"
                self.note(f"new store at {where}. Move it with FLOWBLOB_URL or --store")
        return self._store

    def catalog(self) -> Catalog:
        """Open the catalog alone, for what must be quick."""
        return self._store.catalog if self._store else engines.open_catalog(self.settings.url)

    def close(self) -> None:
        """Write what waits and give the store back."""
        if self._store is not None:
            self._store.close()
            self._store = None

    # -- how to answer

    @cached_property
    def is_human(self) -> bool:
        """Whether a person reads stdout."""
        return not self.json and not self.quiet and sys.stdout.isatty()

    @cached_property
    def has_color(self) -> bool:
        """Whether stdout takes colour."""
        return wants_color(self.color, is_terminal=sys.stdout.isatty())

    def style(self, text: object, **style: Any) -> str:
        """Return safe text, in a style where stdout takes colour."""
        plain = clean(text)
        return click.style(plain, **style) if style and self.has_color else plain

    def say(self, line: str = "") -> None:
        """Print a line of data."""
        # False would strip what `--color always` asked for; None asks the terminal again.
        click.echo(line, color=self.has_color)

    def note(self, line: str) -> None:
        """Print a remark on stderr, unless a program or `-q` asked for silence."""
        if not self.json and not self.quiet:
            click.echo(f"flowblob: {clean(line)}", err=True)

    def document(self, **fields: Any) -> None:
        """Print the JSON answer: one line for programs, indented for people."""
        indent = 2 if sys.stdout.isatty() else None
        click.echo(json.dumps({"v": VERSION, **fields}, indent=indent, default=str))

    def listing(
        self,
        name: str,
        items: Sequence[Any],
        columns: Sequence[Column],
        *,
        record: Callable[[Any], Mapping[str, Any]],
        address: Callable[[Any], str],
        total: str = "",
        **fields: Any,
    ) -> None:
        """Print a list in the form that was asked for.

        Args:
            name: What the list is called in JSON.
            items: What to list.
            columns: How a table shows them; a pipe gets every column in full.
            record: Makes the JSON object of an item.
            address: Makes what `-q` prints of an item.
            total: Last line of the table.
            fields: More fields of the JSON answer.
        """
        from flowblob.cli import table

        if self.json:
            self.document(**{name: [record(item) for item in items]}, **fields)
        elif self.quiet:
            self.lines(address(item) for item in items)
        elif self.is_human:
            self.lines(table.render(items, columns, self))
            if total:
                self.say(self.style(total, dim=True))
        else:
            self.lines(table.tab_separated(item, columns) for item in items)

    def fields(self, pairs: Iterable[tuple[str, object]]) -> None:
        """Print names and values: aligned for people, tab-separated for programs."""
        shown = [(name, value) for name, value in pairs if value not in (None, "")]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            if self.is_human:
                self.say(f"{self.style(name.ljust(width), dim=True)}  {self.style(value)}")
            else:
                self.say(f"{name}\t{clean(value)}")

    def lines(self, lines: Iterable[str]) -> None:
        """Print lines."""
        for line in lines:
            self.say(line)


def wants_color(choice: str, *, is_terminal: bool) -> bool:
    """Say whether to colour: the option, then NO_COLOR, CLICOLOR_FORCE, CLICOLOR, the terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    if os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb":
        return False
    return is_terminal


def current_session(ctx: click.Context | None = None) -> Session:
    """Return the session of this call."""
    return (ctx or click.get_current_context()).ensure_object(Session)
