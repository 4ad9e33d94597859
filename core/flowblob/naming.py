"""What the outputs of functions are called, and the templates that users give."""

from __future__ import annotations

import functools
import inspect
import string
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from flowblob.checks import quote_segment, validate_key
from flowblob.errors import InvalidInputError
from flowblob.objects import default_key

_OF_RUN = ("flow", "task", "run_id")

#: What the host calls the output of the function it runs now: (plain function, key).
announced: ContextVar[tuple[Any, str] | None] = ContextVar("flowblob_output", default=None)


@contextmanager
def announce(function: Any, key: str) -> Iterator[None]:
    """Name the output of the task's own function, `<flow>/<task>`, while the host runs it."""
    token = announced.set((function, key))
    try:
        yield
    finally:
        announced.reset(token)


def named(template: str, fields: Mapping[str, Any]) -> str:
    """Return the key that a `name=` template gives, with every value quoted as one segment.

    Raises:
        InvalidInputError: The template names something that is not there.

    Example:
        >>> named("features/{region}", {"region": "eu/west"})
        'features/eu%2Fwest'
    """
    try:
        return template.format_map({name: _Quoted(value) for name, value in fields.items()})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"name={template!r} does not fit the call: {error}",
            hint=f"It may use {', '.join('{' + name + '}' for name in fields)}",
        ) from error


class _Quoted:
    """An argument inside a name template: formatted, then made safe; no attributes."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __format__(self, spec: str) -> str:
        return quote_segment(format(self._value, spec))


def module_stem(function: Callable[..., Any]) -> str:
    """Return the stem of the function's file: the same for `__main__` and an import."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    stem = Path(code.co_filename).stem if code is not None else ""
    if stem and not stem.startswith("<"):
        return stem
    return str(getattr(function, "__module__", None) or "builtins").rpartition(".")[2]


def name_of(function: Callable[..., Any]) -> str:
    """Return the key of a function's outputs where nobody gave one: `<module>/<function>`."""
    named = _with_name(function)
    name = named.__qualname__.replace(".<locals>", "").removesuffix(".__call__")
    return default_key(module_stem(named), name)


def _with_name(function: Any) -> Any:
    """What a callable without a name is called by: a partial's function, an object's class."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__qualname__") else type(function).__call__


def check_template(template: str, function: Callable[..., Any]) -> None:
    """Refuse a `name=` template that can never give a key, before anything is computed.

    Args:
        template: It may use the function's parameters, and `flow`, `task` and `run_id`.
        function: The function whose outputs it names.

    Raises:
        InvalidInputError: It names something else, or its text cannot be part of a key.

    Example:
        >>> check_template("features/{region}", lambda region: region)
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InvalidInputError(f"name={template!r} is no template: {error}") from error
    fields = {field for _, field, _, _ in parts if field is not None}.difference(_OF_RUN)
    if fields:
        from flowblob.keys.signatures import signature_of  # not before a function needs it

        known = signature_of(function).parameters
        for field in sorted(fields - known.keys()):
            raise InvalidInputError(
                f"name={template!r} names {field!r}, which is no argument",
                hint=f"It may use {', '.join('{' + name + '}' for name in (*known, *_OF_RUN))}",
            )
    validate_key("".join(text + ("" if field is None else "x") for text, field, _, _ in parts))
