"""What a code digest relied on, and a cheap check that it is still so.

A function's globals, closure and defaults may be rebound at any time. The digest of its code is
computed once; each call then checks, at C speed, that every name still means the same object, and
hashes again only the objects that can change in place.
"""

from __future__ import annotations

import datetime as dt
import enum
import operator
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

from flowblob.keys.origin import is_user_class

_is = operator.is_
_contents = operator.attrgetter("cell_contents")

_IMMUTABLE = frozenset(
    {
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        range,
        type(...),
        dt.date,
        dt.timedelta,
        re.Pattern,
        types.BuiltinFunctionType,
    }
)
# Without loading their modules.
_IMMUTABLE_NAMED = frozenset({"decimal.Decimal", "uuid.UUID", "fractions.Fraction"})


def is_immutable(value: object) -> bool:
    """Say whether an object can never come to mean another value."""
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return all(map(is_immutable, value))  # type: ignore[call-overload]
    if kind is dt.datetime:
        return value.tzinfo is None or type(value.tzinfo) is dt.timezone  # type: ignore[attr-defined]
    if isinstance(value, enum.Enum):
        return not is_user_class(kind)
    return kind in _IMMUTABLE or f"{kind.__module__}.{kind.__qualname__}" in _IMMUTABLE_NAMED


class Guards:
    """The objects that a code digest was made of.

    Attributes:
        changing: Objects that may change in place, each with the digest it had.
    """

    def __init__(self) -> None:
        self.changing: list[tuple[object, str]] = []
        self._names: dict[int, tuple[Mapping[str, Any], dict[str, Any], set[str]]] = {}
        self._cells: list[types.CellType] = []
        self._held: list[tuple[types.FunctionType, Any, Any, Any]] = []
        self._contents: list[Any] = []
        self._kinds: list[tuple[Callable[[], object], type]] = []
        self._sizes: list[tuple[Mapping[str, Any], int]] = []
        self._checks: list[tuple[Mapping[str, Any], Callable[[Any], Any], list[Any]]] = []
        self._absent: list[tuple[Mapping[str, Any], set[str]]] = []

    def name(self, names: Mapping[str, Any], name: str, value: object) -> None:
        """Rely on a name to mean this very object."""
        self._entry(names)[1][name] = value

    def absence(self, names: Mapping[str, Any], name: str) -> None:
        """Rely on a name not to be there."""
        self._entry(names)[2].add(name)

    def size(self, names: Mapping[str, Any]) -> None:
        """Rely on the number of names."""
        self._sizes.append((names, len(names)))

    def _entry(
        self, names: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], dict[str, Any], set[str]]:
        return self._names.setdefault(id(names), (names, {}, set()))

    def function(self, function: types.FunctionType) -> None:
        """Rely on the code and defaults of a function; reloaders replace them in place."""
        held = (function, function.__code__, function.__defaults__, function.__kwdefaults__)
        self._held.append(held)
        if function.__kwdefaults__:
            for name, value in function.__kwdefaults__.items():
                self.name(function.__kwdefaults__, name, value)

    def cell(self, cell: types.CellType, value: object) -> None:
        """Rely on the content of a closure's cell."""
        self._cells.append(cell)
        self._contents.append(value)

    def kind(self, read: Callable[[], object], value: object) -> None:
        """Rely on a name to mean an object of this type, whatever it holds."""
        self._kinds.append((read, type(value)))

    def holds(self, value: object) -> bool:
        """Say whether a cell holds this object, which would keep itself alive through us."""
        return any(item is value for item in self._contents)

    def seal(self) -> None:
        """Prepare the checks."""
        for names, values, absent in self._names.values():
            if values:
                listed = list(values)
                # A getter of one name gives no tuple.
                listed += listed if len(listed) == 1 else []
                objects = [values[name] for name in listed]
                self._checks.append((names, operator.itemgetter(*listed), objects))
            if absent:
                self._absent.append((names, absent))
        self._names = {}

    def is_intact(self) -> bool:
        """Say whether every name still means the same object; in-place changes apart."""
        try:
            for names, read, values in self._checks:
                if not all(map(_is, read(names), values)):
                    return False
            if self._cells and not all(map(_is, map(_contents, self._cells), self._contents)):
                return False
        except (KeyError, ValueError):  # a name was deleted, a cell emptied
            return False
        if not self._objects_intact():
            return False
        for names, absent in self._absent:
            if not absent.isdisjoint(names):
                return False
        for names, size in self._sizes:  # noqa: SIM110 - a generator costs more than the check
            if len(names) != size:
                return False
        return True

    def _objects_intact(self) -> bool:
        for read, kind in self._kinds:
            if type(read()) is not kind:
                return False
        for function, code, defaults, by_name in self._held:
            if (
                function.__code__ is not code
                or function.__defaults__ is not defaults
                or function.__kwdefaults__ is not by_name
            ):
                return False
        return True
