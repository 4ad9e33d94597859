"""What counts of a class of the user: its syntax, and the values its attributes have now."""

from __future__ import annotations

import enum
import functools
import types
from typing import TYPE_CHECKING, Any

from flowblob.keys.hashes import hash_parts
from flowblob.keys.origin import is_user_function, names_around
from flowblob.keys.source import find_class
from flowblob.keys.syntax import Reads, canonical_text, reads_of

if TYPE_CHECKING:
    from flowblob.keys.walk import Walk

# Since Python 3.14 functions; the syntax tree holds what they say.
_ANNOTATIONS = frozenset({"__annotate__", "__annotate_func__"})
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)


def describe(walk: Walk, cls: type) -> list[str]:
    """Return the texts of one class.

    The syntax tree says what was declared; the attributes say what is there now, since they may
    have been set, patched or made by a decorator. Dunder names that hold no function are left out:
    they are Python's own notes, which differ between its versions.

    Args:
        walk: Follows what the class refers to.
        cls: A class of the user.
    """
    names = names_around(cls, walk.seen)
    found = find_class(cls, names)
    texts = sorted(canonical_text(item.node) for item in found)
    name = cls.__qualname__.replace("<locals>.", "")
    is_exact = bool(found) and all(item.is_exact for item in found)
    if not found and not _is_generated(cls):
        walk.warn(f"The class {name} has no source here and counts by its attributes")
    parts = ["class", *texts, *_bases(walk, cls), *_declared(cls)]
    walk.items.append(_item(name, parts))
    attributes = vars(cls)
    walk.guards.size(attributes)
    functions: list[types.FunctionType] = []
    for key in sorted(attributes):
        if _counts(key, attributes[key]):
            walk.guards.name(attributes, key, attributes[key])
            parts += _attribute(walk, cls, key, functions, is_exact=is_exact)
    cells = _closures(functions)
    for item in found:
        reads = reads_of(item.node)
        parts += walk.resolve(_without(reads), names, cells)
    return parts


def _item(name: str, parts: list[str]) -> Any:
    from flowblob.keys.walk import CodeItem

    return CodeItem(name, "class", hash_parts(*parts))


def _without(reads: Reads) -> Reads:
    # Closure cells named here hold the class itself, or are resolved with the methods.
    return Reads({k: v for k, v in reads.names.items() if k != "__class__"}, reads.imports)


def _bases(walk: Walk, cls: type) -> list[str]:
    kinds = [*cls.__bases__, *([type(cls)] if type(cls) is not type else [])]
    return [walk.refer(base, base.__name__) for base in kinds if base is not object]


def _declared(cls: type) -> list[str]:
    """The fields that the class has while it runs; its file may have been edited since."""
    for name in ("__dataclass_fields__", "__pydantic_fields__"):
        if isinstance(fields := vars(cls).get(name), dict):
            return ["fields", *fields]
    return []


def _is_generated(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields")


def _closures(functions: list[types.FunctionType]) -> dict[str, types.CellType]:
    """The closures of the methods together: one name means one cell there."""
    cells: dict[str, types.CellType] = {}
    for function in functions:
        free = function.__code__.co_freevars
        cells.update(zip(free, function.__closure__ or (), strict=True))
    cells.pop("__class__", None)
    return cells


def _attribute(
    walk: Walk, cls: type, key: str, functions: list[types.FunctionType], *, is_exact: bool
) -> list[str]:
    value = vars(cls)[key]
    inside = _functions_of(value)
    if isinstance(value, enum.Enum) and isinstance(value, cls):
        return [key, walk.value(value.value, f"{cls.__name__}.{key}", is_strict=True)]
    if inside:
        parts = [key, type(value).__qualname__]
        for function in inside:
            parts += _method(walk, cls, function, functions, is_exact=is_exact)
        return parts
    if isinstance(value, type | types.FunctionType):
        return [key, walk.refer(value, key)]
    return [key, walk.value(value, f"{cls.__name__}.{key}", is_strict=True)]


def _counts(key: str, value: Any) -> bool:
    inside = [] if key in _ANNOTATIONS else _functions_of(value)
    if _is_reserved(key):
        return any(map(_is_written_by_user, inside))
    return bool(inside) or not isinstance(value, _SLOTS)


def _is_reserved(key: str) -> bool:
    # Notes of Python, enum and abc, which differ between versions; unless the user wrote them.
    return (key.startswith("_") and key.endswith("_")) or key == "_abc_impl"


def _is_written_by_user(function: Any) -> bool:
    return (
        isinstance(function, types.FunctionType)
        and is_user_function(function)
        and not _is_generated_code(function)
    )


def _is_generated_code(function: types.FunctionType) -> bool:
    # dataclasses, namedtuple and attrs write functions from what counts already.
    return function.__code__.co_filename.startswith(("<string", "<attrs generated"))


def _functions_of(value: Any) -> list[Any]:
    if isinstance(value, types.FunctionType):
        return [value]
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [item for item in (value.fget, value.fset, value.fdel) if item is not None]
    if isinstance(value, functools.cached_property):
        return [value.func]
    return []


def _method(
    walk: Walk,
    cls: type,
    function: Any,
    functions: list[types.FunctionType],
    *,
    is_exact: bool,
) -> list[str]:
    if not isinstance(function, types.FunctionType):
        return [walk.refer(function, cls.__name__)]
    if _is_generated_code(function):
        return []
    is_own = function.__code__.co_qualname.startswith(cls.__qualname__ + ".")
    if not (is_exact and is_own):
        return [walk.refer(function, cls.__name__)]
    functions.append(function)
    walk.guards.function(function)
    return walk.bound_parts(function)
