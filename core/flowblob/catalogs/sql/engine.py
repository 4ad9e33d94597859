"""What the statements need of an engine: a way to read, a way to write, clocks, and its dialect."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, TypeVar

from flowblob.abc import Catalog

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[Any, ...]


class Cursor(Protocol):
    """What `execute` returns."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement changed."""

    @property
    def lastrowid(self) -> Any:
        """The number of the row inserted last, where the driver knows it."""

    def fetchone(self) -> Any:
        """Return the next row or None."""

    def fetchall(self) -> list[Any]:
        """Return the remaining rows."""


class Connection(Protocol):
    """A driver's connection, or what makes one look like it: `?` stands for a value."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""


@dataclass(frozen=True, slots=True, eq=False)  # compared as an object: it is a key of caches
class Dialect:
    """The few texts in which SQL engines differ.

    Attributes:
        name: `sqlite` or `postgresql`.
        json_array: Expression for the text of a JSON array of what replaces `{}`.
        json_object: Aggregate that builds a JSON object from a name and a JSON text.
        text_list: Aggregate that joins texts with a slash.
        share: Ends a query on `payload p` that keeps its rows as they are until the commit.
        lock: Ends a query whose rows nobody else may change until the commit.
    """

    name: str
    json_array: str
    json_object: str
    text_list: str
    share: str = ""
    lock: str = ""


def repeatable(step: Callable[P, T]) -> Callable[P, T]:
    """Mark a step that may run twice, whatever others did between: it finds what it did before.

    An engine that may lose the reply to a commit must find out what became of any other step.
    """
    step.__dict__["is_repeatable"] = True
    return step


def is_repeatable(step: Callable[..., Any]) -> bool:
    """Say whether a step was marked so."""
    return bool(getattr(step, "is_repeatable", False))


class SqlEngine(Catalog):
    """Base of the mixins that hold the statements."""

    dialect: ClassVar[Dialect]

    @abstractmethod
    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Read in a snapshot of its own."""

    def _look_up(
        self, sql: str, parameters: tuple[Any, ...], decode: Callable[[Row], T]
    ) -> T | None:
        """Read the one row of an often repeated look-up, and return what it says.

        An engine may remember that, so callers must not change it. The text of the statement tells
        two look-ups apart: each text goes with one `decode`.
        """
        found = self._query(sql, parameters)
        return decode(found[0]) if found else None

    @abstractmethod
    def _read(self, step: Callable[[Connection], T]) -> T:
        """Run a step that only reads."""

    @abstractmethod
    def _write(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `step(connection, …)` in one durable transaction; an exception undoes all of it."""

    @abstractmethod
    def _write_relaxed(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `_write`, but a power cut may take the last moments: for what dies with the boot."""

    def _write_counts(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `_write_relaxed`, for counts that no look-up tells: what is remembered stays true."""
        return self._write_relaxed(step, *args, **kwargs)

    @abstractmethod
    def _insert(self, connection: Connection, sql: str, parameters: Sequence[Any]) -> int:
        """Insert one row into a table numbered by `seq`, and return its number."""

    @abstractmethod
    def _serialize(self, connection: Connection, *names: str) -> None:
        """Queue with other transactions that change the same keys or cache keys."""

    def _hold_payloads(self, connection: Connection, payloads: Sequence[int]) -> Sequence[int]:
        """Keep puts from using these payloads until the commit; returns those that none uses now.

        Nothing to do where a write transaction runs alone.
        """
        return payloads

    @abstractmethod
    def _now(self, connection: Connection) -> int:
        """Return microseconds UTC on the catalog's wall clock."""

    @abstractmethod
    def _ticks(self, connection: Connection) -> tuple[str, int]:
        """Return (boot, microseconds) on the clock that decides about leases and pins."""

    @staticmethod
    def _stamp() -> int:
        # Random, so that a deleted and rewritten entry never shows an old stamp again; 62 bits fit
        # a signed integer of every engine.
        return secrets.randbits(62) or 1
