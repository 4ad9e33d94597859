"""Which parts of an object count: exact rules for known types, the pickled state for the rest.

A rule returns a tuple that begins with a tag. Its parts are builtins or further objects; the
stream of `flowblob.keys.canonical` writes them in turn. A rule is chosen once for each type.
"""

from __future__ import annotations

import copyreg
import functools
import io
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from flowblob.keys import arrays, files, frames, standard
from flowblob.keys.canonical import Hashing, unstable
from flowblob.keys.kinds import is_found
from flowblob.keys.origin import is_user_class
from flowblob.model import Blob, Ref

Parts = tuple[object, ...]

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{4,}")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a type is written.

    Attributes:
        parts: Gives the tagged parts of an object.
        is_heavy: Whether an object inside of another value counts by its own digest.
    """

    parts: Callable[[Any, Hashing], Parts]
    is_heavy: bool = False


_rules: weakref.WeakKeyDictionary[type, Rule] = weakref.WeakKeyDictionary()


def rule_for(kind: type) -> Rule:
    """Return the rule of a type."""
    rule = _rules.get(kind)
    if rule is None:
        rule = _rules[kind] = _choose(kind)
    return rule


def _choose(kind: type) -> Rule:
    if getattr(kind, "__flowblob_lazy__", False):
        return Rule(lambda value, hashing: ("digest", hashing.lazy_digest(value)))
    if callable(getattr(kind, "__flowblob_key__", None)):
        return Rule(_own_key)
    if issubclass(kind, Blob):
        return Rule(lambda value, _: ("blob", value.id))
    if issubclass(kind, Ref):
        return Rule(lambda value, _: ("ref", str(value)))
    if (heavy := arrays.parts_of(kind) or frames.parts_of(kind)) is not None:
        return Rule(heavy, is_heavy=True)
    for find in (arrays.scalar_parts_of, files.parts_of, standard.parts_of, _structured):
        if (parts := find(kind)) is not None:
            return Rule(parts)
    return Rule(_reduced)


def _own_key(value: Any, hashing: Hashing) -> Parts:
    key = value.__flowblob_key__()
    if isinstance(key, str) and _ADDRESS.search(key):
        raise unstable(value, f"its __flowblob_key__ is a memory address, {key[:60]!r}")
    return ("own key", hashing.class_id(type(value)), key)


def refuse_address(text: object, of: object) -> None:
    """Refuse a text that holds a memory address, which the next process will not repeat.

    Args:
        text: What was given as an identity.
        of: The value it was made from.

    Raises:
        InvalidInputError: There is an address in it.
    """
    if isinstance(text, str) and _ADDRESS.search(text):
        raise unstable(of, f"{text[:60]!r} holds a memory address")


def _structured(kind: type) -> Callable[[Any, Hashing], Parts] | None:
    """Rules for classes that say what their fields are."""
    if hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_fields"):
        return _pydantic
    if isinstance(found := getattr(kind, "__attrs_attrs__", None), tuple):
        return _by_fields("attrs", found)
    base = next((base for base in _PLAIN_COPY if issubclass(kind, base)), None)
    if base is not None:
        return functools.partial(_subclass, base) if _reduces_as(kind, base) else None
    is_slotted = getattr(kind.__getstate__, "__module__", None) == "dataclasses"
    if not _reduces_as(kind, object) and not is_slotted:
        return None
    if is_dataclass(kind):
        return _by_fields("dataclass", fields(kind))
    return _instance if is_user_class(kind) else None


def _reduces_as(kind: type, base: type) -> bool:
    names = ("__reduce__", "__reduce_ex__", "__getstate__")
    plain = all(getattr(kind, name) is getattr(base, name) for name in names)
    return plain and kind not in copyreg.dispatch_table


_cached: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()


def _cached_names(kind: type) -> frozenset[str]:
    # What functools.cached_property left behind is no state: it is there or not by accident.
    names = _cached.get(kind)
    if names is None:
        names = _cached[kind] = frozenset(
            name
            for base in kind.__mro__
            for name, item in vars(base).items()
            if isinstance(item, functools.cached_property)
        )
    return names


def _fields(
    tag: str, names: tuple[str, ...], known: frozenset[str], value: Any, hashing: Hashing
) -> Parts:
    """Take an object by its declared fields, and what was added to it besides."""
    kind = type(value)
    # One flat tuple: nested ones would cost most of the time of a list of small objects.
    parts: list[object] = [tag, hashing.class_id(kind)]
    for name in names:
        try:
            parts += (name, getattr(value, name))
        except AttributeError:  # a field that was never set
            continue
    state = getattr(value, "__dict__", None)
    if state and not known.issuperset(state):
        more = {name: state[name] for name in state if name not in known}
        parts += (None, _state(more, kind))
    return tuple(parts)


def _by_fields(tag: str, items: Any) -> Callable[[Any, Hashing], Parts]:
    names = tuple(item.name for item in items)
    return functools.partial(_fields, tag, names, frozenset(names))


def _pydantic(value: Any, hashing: Hashing) -> Parts:
    # The set of fields that were given counts, since `exclude_unset` makes it visible.
    return (
        "pydantic",
        hashing.class_id(type(value)),
        _state(value.__dict__, type(value)),
        value.__pydantic_extra__,
        value.__pydantic_private__,
        value.__pydantic_fields_set__,
    )


# By the base's own method, whatever the subclass makes of it.
_PLAIN_COPY: dict[type, Callable[[Any], object]] = {
    str: lambda v: str.__getnewargs__(v)[0],
    int: int.__int__,
    float: float.__float__,
    complex: lambda v: complex(v.real, v.imag),
    bytes: lambda v: bytes.__getitem__(v, slice(None)),
    bytearray: lambda v: bytearray.__getitem__(v, slice(None)),
    tuple: lambda v: tuple.__getitem__(v, slice(None)),
    list: list.copy,
    dict: dict.copy,
    set: lambda v: set(set.__iter__(v)),
    frozenset: lambda v: frozenset(frozenset.__iter__(v)),
}


def _subclass(base: type, value: Any, hashing: Hashing) -> Parts:
    plain = _PLAIN_COPY[base](value)
    return (
        "subclass",
        hashing.class_id(type(value)),
        plain,
        _state(value.__getstate__(), type(value)),
    )


def _flat(state: dict[str, object], kind: type) -> list[object]:
    cached = _cached_names(kind)
    names = [name for name in state if name not in cached]
    return [part for name in sorted(names) for part in (name, state[name])]


def _state(state: Any, kind: type) -> Any:
    """Return a state whose attributes are in the order of their names."""
    if isinstance(state, dict) and all(type(name) is str for name in state):
        cached = _cached_names(kind)
        return tuple((name, state[name]) for name in sorted(state) if name not in cached)
    if type(state) is tuple and len(state) == 2 and isinstance(state[1], dict):
        return (_state(state[0], kind), _state(state[1], kind))
    return state


def _reduced(value: Any, hashing: Hashing) -> Parts:
    """Take an object by what pickle would keep of it."""
    kind = type(value)
    if kind is object:
        raise unstable(value, "a bare object() is nothing but its memory address")
    if isinstance(value, io.IOBase) or (kind.__module__ in _ONE_WAY and hasattr(kind, "__next__")):
        raise unstable(value, "reading it uses it up")
    if hashing.is_strict:
        raise unstable(value, "only its pickled state could stand for it")
    parts = _instance(value, hashing)
    if parts[0] != "global" and not isinstance(value, BaseException):
        hashing.warn(
            f"{kind.__module__}.{kind.__qualname__} counts by its pickled state; "
            "__flowblob_key__ or hash_with makes its identity exact"
        )
    return parts


def _instance(value: Any, hashing: Hashing) -> Parts:
    """Take an object by its state; exact where the class leaves it to Python what that is."""
    kind = type(value)
    reducer = copyreg.dispatch_table.get(kind)
    reduced: Any = reducer(value) if reducer else value.__reduce_ex__(5)
    if isinstance(reduced, str):  # a global: pickle keeps no more than its name
        if not is_found(value, reduced):
            raise unstable(value, f"pickle would know it as {reduced!r}, which is not there")
        return ("global", hashing.class_id(kind), getattr(value, "__module__", None), reduced)
    make, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if make is copyreg.__newobj__:  # type: ignore[attr-defined]
        make, args = None, args[1:]
        if not args and items is None and pairs is None and type(state) is dict:
            return ("instance", hashing.class_id(kind), *_flat(state, kind))
    return (
        "object",
        hashing.class_id(kind),
        make,
        args,
        _state(state, kind),
        None if items is None else list(items),
        None if pairs is None else list(pairs),
    )


_ONE_WAY = frozenset({"builtins", "itertools", "_csv", "_io", "zipfile"})
