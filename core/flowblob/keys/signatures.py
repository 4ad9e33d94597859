"""What a function takes, and what its annotations say about the key."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

from flowblob.errors import InvalidInputError


class hash_with:
    """Say how an argument counts: `Annotated[T, hash_with(function)]`.

    Attributes:
        function: Takes the argument; what it returns counts in its place.

    Example:
        >>> from typing import Annotated
        >>> def area(shape: Annotated[object, hash_with(repr)]) -> float: ...
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[Any], object]) -> None:
        self.function = function

    def __repr__(self) -> str:
        return f"hash_with({getattr(self.function, '__qualname__', self.function)!s})"


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return a function's signature.

    Raises:
        InvalidInputError: It has none, as some functions written in C.
    """
    try:
        if sys.version_info >= (3, 14):
            # Names that exist for the type checker only must not end in a NameError.
            from annotationlib import Format

            return inspect.signature(function, annotation_format=Format.FORWARDREF)
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{function!r} has no signature to bind arguments by: {error}",
            hint="Wrap it in a function of your own",
        ) from error


def hashers_of(
    function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter]
) -> dict[str, hash_with]:
    """Return the `hash_with` of each parameter whose annotation holds one."""
    found = {}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    for name, parameter in parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            annotation = _evaluated(annotation, names)
        for item in getattr(annotation, "__metadata__", ()):
            if isinstance(item, hash_with):
                found[name] = item
    return found


def _evaluated(annotation: str, names: dict[str, Any]) -> object:
    """Evaluate a postponed annotation, as `typing.get_type_hints` would."""
    try:
        return typing.get_type_hints(_Holder(annotation), names, include_extras=True)["_"]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return None  # for the type checker only: nothing of ours can be in it


class _Holder:
    def __init__(self, annotation: str) -> None:
        self.__annotations__ = {"_": annotation}


def stand_in(name: str, inputs: Mapping[str, Any], version: str | None) -> Callable[..., Any]:
    """Return what stands for a function of which only the name and the inputs are known."""
    if version is None:
        raise InvalidInputError(
            f"Nothing is known of the code of {name!r}", hint="Give version=, or the function"
        )

    def named(**_: Any) -> None: ...

    try:
        keywords = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY) for n in inputs]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"The inputs of {name!r} need names: {error}") from error
    named.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return named
