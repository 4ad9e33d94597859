"""Canonical, tagged digests of values.

A value is written once, as the stream of a C pickler without memo, straight into BLAKE3. Exact
builtin types have an opcode each in that stream, so that `(1,)` and `[1]`, `1`, `True` and `1.0`,
`"a"` and `b"a"` never share an encoding, and without the memo `[x, x]` equals `[x, copy(x)]`.
Every other object is replaced, by `reducer_override`, with a node of tagged parts that the rules
of `flowblob.keys.rules` give.

The C pickler never asks about dicts and sets. A dict's order counts (a miss, never a wrong hit). A
set's order depends on PYTHONHASHSEED, so a value that holds sets, and a cyclic one, is written
from a copy in which sets are sorted nodes and a way back is a number: the exact mode.
"""

from __future__ import annotations

import gc
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from flowblob.errors import FlowblobError, InvalidInputError
from flowblob.keys.hashes import PLAIN, atom_digest, hasher

if TYPE_CHECKING:
    from flowblob.keys.rules import Rule

SCHEME: Final = "fb1"

_VALUE: Final = b"flowblob value fb1\n"
_EMPTY_SET: Final = b"\x8f"
_FROZENSET: Final = b"\x91"
_CONTAINERS: Final = frozenset({list, tuple, dict})
_SETS: Final = frozenset({set, frozenset})
_SHALLOW: Final = 3  # up to here, repeated parts cost less than finding them
_DEEPEST: Final = 900  # below Python's own limit: past it a value is refused, not crashed on


@dataclass(frozen=True, slots=True)
class ValueIdentity:
    """The digest of a value, and what is to be known about it.

    Attributes:
        digest: `b3:<64 hex>`, or `b3c:<64 hex>` if it is not portable.
        portable: False if code of the user counts in it (an instance of the user's own class, a
            function): such a digest changes with that code.
        warnings: What could only be taken by its pickled state or by name.
    """

    digest: str
    portable: bool
    warnings: tuple[str, ...]


def value_digest(value: object) -> str:
    """Return the digest of a value: same type, value and order give the same text.

    It is equal in every process and Python version. Arrays count by value, dtype and shape,
    whatever their memory layout; files and folders by content and name; objects of the user's
    own classes by their state and the code of the class.

    It begins with `b3:`, or with `b3c:` where code of the user counts in it. A lazy value with
    such a digest on its record is loaded and hashed again, since the code may have changed while
    the stored value stayed.

    Args:
        value: Any value but one-way or process-bound objects.

    Raises:
        InvalidInputError: The value is an open file, a generator, a lock or the like, or its
            identity is a memory address.

    Example:
        >>> value_digest([1, 2]) == value_digest((1, 2))
        False
    """
    kind = type(value)
    if kind in PLAIN:
        return atom_digest(value, kind)
    hashing = Hashing()
    return hashing.marked(hashing.digest(value))


def identify_value(value: object) -> ValueIdentity:
    """Return the digest of a value with its warnings and whether it may be kept.

    Args:
        value: As for `value_digest`.

    Raises:
        InvalidInputError: As for `value_digest`.
    """
    hashing = Hashing()
    digest = hashing.digest(value)
    return ValueIdentity(hashing.marked(digest), hashing.portable, tuple(hashing.warnings))


def portable_digest(value: object) -> str:
    """Return the digest that stays right for a stored value; empty where there is none.

    Args:
        value: The value that is stored.
    """
    try:
        identity = identify_value(value)
    except InvalidInputError:
        return ""
    return identity.digest if identity.portable else ""


def _node(*parts: object) -> None:
    """Stand in the stream for an object; nothing is ever loaded from it."""


class _Node:
    """An object's parts, where the exact mode has already replaced the object."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[object, ...]) -> None:
        self.parts = parts


class _Sink:
    """Take the stream; keep the first chunk so that a small value costs one hash call."""

    __slots__ = ("first", "hash", "suspect")

    def __init__(self) -> None:
        self.first: bytes | None = None
        self.hash: Any = None
        self.suspect = False

    def write(self, chunk: Any) -> None:
        # Both bytes also occur inside numbers and text; they only say where to look again.
        if not self.suspect:
            self.suspect = _EMPTY_SET in chunk or _FROZENSET in chunk
        if self.hash is None:
            if self.first is None and type(chunk) is bytes:
                self.first = chunk
                return
            self.hash = hasher()(_VALUE + (self.first or b""))
        self.hash.update(chunk)

    def hexdigest(self) -> str:
        if self.hash is None:
            return str(hasher()(_VALUE + (self.first or b"")).hexdigest())
        return str(self.hash.hexdigest())


class _Writer(pickle.Pickler):
    """A pickler without memo that writes nodes in place of objects."""

    __slots__ = ("hashing", "root")
    hashing: Hashing
    root: object

    def reducer_override(self, obj: Any) -> Any:
        if obj is _node:
            return NotImplemented
        if type(obj) is _Node:
            return _node, obj.parts
        parts = self.hashing.describe(obj, is_root=obj is self.root)
        if not self.hashing.holds_sets:
            self.hashing.holds_sets = _holds_sets(parts)
        return _node, parts


class Hashing:
    """One computation of a digest, with what it meets on the way.

    Attributes:
        warnings: Texts for people, each once.
        portable: Whether no code of the user counted.
        holds_sets: Whether a set was seen among the parts of an object.
        in_code: Whether the value is a constant that code reads. A Path among those says where
            something lies, often the project itself, and counts as text.
        is_strict: Whether to refuse what only its pickled state could identify.
    """

    __slots__ = ("_classes", "_rules", "holds_sets", "in_code", "is_strict", "portable", "warnings")

    def __init__(self, *, in_code: bool = False, is_strict: bool = False) -> None:
        self.in_code = in_code
        self.is_strict = is_strict
        self.warnings: list[str] = []
        self.portable = True
        self.holds_sets = False
        self._classes: dict[type, str] = {}
        self._rules: dict[type, Rule] = {}

    def digest(self, value: object) -> str:
        """Return `b3:<64 hex>` for a value."""
        kind = type(value)
        if kind in PLAIN:
            return atom_digest(value, kind)
        if getattr(kind, "__flowblob_lazy__", False):
            return self.lazy_digest(value)
        outer, self.holds_sets = self.holds_sets, False
        try:
            return self._stream(value)
        finally:
            self.holds_sets = outer

    def _stream(self, value: object) -> str:
        sink = _Sink()
        try:
            self._write(value, value, sink)
            if not self.holds_sets and not (sink.suspect and _holds_sets(value)):
                return "b3:" + sink.hexdigest()
            exact = _Exact(self, value).copy(value)
        except (RecursionError, ValueError) as error:
            if isinstance(error, InvalidInputError):
                raise
            exact = self._cyclic(value)
        sink = _Sink()
        self._write(exact, value, sink)
        return "b3:" + sink.hexdigest()

    def _cyclic(self, value: object) -> object:
        try:
            return _Exact(self, value, numbered=True).copy(value)
        except RecursionError as error:
            raise InvalidInputError(
                f"A {type(value).__name__} is nested too deeply to be part of a cache key",
                hint="Flatten it, ignore the argument, or give it __flowblob_key__",
            ) from error

    def _write(self, value: object, root: object, sink: _Sink) -> None:
        writer = _Writer(sink, 5)
        writer.fast = True
        writer.hashing = self
        writer.root = root
        try:
            writer.dump(value)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise unstable(value, str(error)) from error

    def describe(self, obj: object, *, is_root: bool = False) -> tuple[object, ...]:
        """Return the tagged parts that stand for an object in the stream.

        Args:
            obj: Anything that is not an exact builtin.
            is_root: Whether the object is the value itself. Arrays and frames inside of others
                count by their own digest, so that a lazy one meets them there.

        Raises:
            InvalidInputError: The object has no lasting identity.
        """
        kind = type(obj)
        rule = self._rules.get(kind)
        if rule is None:
            from flowblob.keys.rules import rule_for

            rule = self._rules[kind] = rule_for(kind)
        if rule.is_heavy and not is_root:
            return ("digest", self.digest(obj))
        try:
            return rule.parts(obj, self)
        except (FlowblobError, RecursionError, MemoryError):
            raise
        except Exception as error:  # __flowblob_key__ and what pickle calls may raise anything
            raise unstable(obj, f"{type(error).__name__}: {error}") from error

    def lazy_digest(self, value: Any) -> str:
        """Return the digest of the value that a lazy value stands for."""
        digest = str(value.value_digest() or "")
        return digest if digest.startswith("b3:") else self.digest(value.load())

    def marked(self, digest: str) -> str:
        """Return a digest with the mark of code, where code of the user counted."""
        return digest if self.portable else digest.replace("b3:", "b3c:", 1)

    def class_id(self, cls: type) -> str:
        """Return what counts of a class: code for the user's own, the full name for others."""
        found = self._classes.get(cls)
        if found is None:
            from flowblob.keys.code import class_identity

            found, identity = class_identity(cls)
            if identity is not None:
                self.portable = False
                for text in identity.warnings:
                    self.warn(text)
            self._classes[cls] = found
        return found

    def warn(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)


def unstable(value: object, why: str) -> InvalidInputError:
    """Return the error for a value that has no lasting identity."""
    kind = type(value)
    return InvalidInputError(
        f"A {kind.__module__}.{kind.__qualname__} cannot be part of a cache key: {why}",
        hint="Pass what it was made from, ignore the argument, or give it __flowblob_key__",
    )


def _holds_sets(value: object) -> bool:
    """Say whether a set stands in nested lists, tuples and dicts; objects are not entered."""
    if type(value) in _SETS:
        return True
    if type(value) is tuple and PLAIN.issuperset(map(type, value)):
        return False
    level: list[Any] = [value] if type(value) in _CONTAINERS else []
    for depth in range(_DEEPEST):
        if not level:
            return False
        held = gc.get_referents(*level)
        kinds = set(map(type, held))
        if not kinds.isdisjoint(_SETS):
            return True
        if kinds.isdisjoint(_CONTAINERS):
            return False
        if not kinds <= _CONTAINERS:
            held = [item for item in held if type(item) in _CONTAINERS]
        if depth > _SHALLOW:
            # By identity: shared parts are looked at once, so that they cannot multiply.
            held = list({id(item): item for item in held}.values())
        level = held
    raise RecursionError


class _Exact:
    """Copy a value with sets as sorted nodes, objects as nodes, and ways back as numbers.

    With `numbered` every container and object is numbered when first met, and later ones are that
    number: linear on any graph, for the price that shared parts then count as shared.
    """

    def __init__(self, hashing: Hashing, root: object, *, numbered: bool = False) -> None:
        self._hashing = hashing
        self._root = root
        self._numbered = numbered
        self._seen: dict[int, int] = {}
        self._kept: list[object] = []  # an id is only good while its object lives

    def copy(self, value: Any) -> Any:
        kind = type(value)
        if kind in PLAIN:
            return value
        if self._numbered:
            number = self._seen.setdefault(id(value), len(self._seen))
            if number < len(self._kept):
                return _Node(("seen", number))
            self._kept.append(value)
        if kind is list:
            return [self.copy(item) for item in value]
        if kind is tuple:
            return tuple([self.copy(item) for item in value])
        if kind is dict:
            return {self.copy(key): self.copy(item) for key, item in value.items()}
        if kind in _SETS:
            return _Node(self._set(value))
        parts = self._hashing.describe(value, is_root=value is self._root)
        return _Node(tuple([self.copy(part) for part in parts]))

    def _set(self, value: Any) -> tuple[object, ...]:
        by_kind: dict[type, list[Any]] = {str: [], int: [], float: [], bytes: []}
        others = []
        for item in value:
            same = by_kind.get(type(item))
            if same is None or item != item:  # noqa: PLR0124 - NaN has no place in an order
                others.append(self._hashing.digest(item))
            else:
                same.append(item)
        tag = "set" if type(value) is set else "frozenset"
        return (tag, *(sorted(items) for items in by_kind.values()), sorted(others))
