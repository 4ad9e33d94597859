"""Following a function through the user's own code."""

from __future__ import annotations

import builtins
import collections
import functools
import inspect
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowblob.errors import InvalidInputError
from flowblob.keys import bytecode, classes, imports, modules
from flowblob.keys.canonical import Hashing
from flowblob.keys.guards import Guards, is_immutable
from flowblob.keys.hashes import hash_parts
from flowblob.keys.kinds import (
    MISSING,
    cell_value,
    counts_by_name,
    inner_function,
    is_class,
    is_code,
    is_compiled,
    is_filling,
    is_module_function,
    is_only_written,
    is_service,
)
from flowblob.keys.origin import (
    is_host_function,
    is_host_object,
    is_user_class,
    is_user_function,
    is_user_module,
    library_name,
)
from flowblob.keys.source import find_function
from flowblob.keys.syntax import COUNTS, FILLS, Chain, Reads, canonical_text, reads_of

#: Of a module's names those that say where its code lies, which does not count.
_WHERE = frozenset(
    f"__{name}__"
    for name in ("name", "file", "package", "path", "spec", "loader", "cached", "builtins")
)


@dataclass(frozen=True, slots=True)
class CodeItem:
    """One thing that a function's code consists of.

    Attributes:
        name: Qualified name of the function or class, or the name of the constant.
        kind: `function`, `class`, `constant`, or `written` for what is only filled or counted up.
        digest: Hash of it alone.
    """

    name: str
    kind: str
    digest: str


class Walk:
    """One walk from a function through what it reads.

    Attributes:
        guards: What the result relies on.
        items: What was followed.
        by_name: What counts by its name alone.
        warnings: What could not be walked.
        is_deep: Whether globals are followed.
        seen: Globals that were read so far, by the name of their module.
    """

    def __init__(self, *, is_deep: bool) -> None:
        self.guards = Guards()
        self.items: list[CodeItem] = []
        self.by_name: list[str] = []
        self.warnings: list[str] = []
        self.is_deep = is_deep
        self.seen: dict[str, dict[str, Any]] = {}
        self._numbers: dict[int, int] = {}
        self._queue: collections.deque[Any] = collections.deque()

    def run(self, root: object) -> str:
        """Return the digest of everything reached from an object."""
        parts = ["code", self.refer(root, "")]
        while self._queue:
            found = self._queue.popleft()
            node = (
                classes.describe(self, found)
                if isinstance(found, type)
                else modules.describe(self, found)
                if isinstance(found, types.ModuleType)
                else self._describe_function(found)
            )
            parts.append(hash_parts(*node))
        return hash_parts(*parts)

    def warn(self, text: str) -> None:
        """Keep a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    # -------------------------------------------------------------- references

    def refer(self, value: Any, label: str) -> str:
        """Return the text that stands for an object that code reaches.

        Args:
            value: The object.
            label: The name by which it was reached.
        """
        if isinstance(value, types.FunctionType):
            return self._number(value) if is_user_function(value) else self._foreign(value, label)
        if is_class(value):
            return self._number(value) if is_user_class(value) else self._library(value)
        if isinstance(value, types.MethodType):
            if is_module_function(value):
                return f"library {type(value.__self__).__module__}.{value.__name__}"
            return f"method {self.refer(value.__func__, label)} {self.refer(value.__self__, label)}"
        if type(value) is functools.partial:
            return self._partial(value, label)
        if isinstance(value, types.ModuleType):
            return self._number(value) if is_user_module(value) else f"module {value.__name__}"
        if is_compiled(value):
            return self._compiled(value, label)
        is_foreign = is_host_object(value) or not is_user_class(type(value))
        if is_foreign and (inner := inner_function(value)) is not None:
            return self._wrapper(value, inner, label)
        if counts_by_name(value):
            return self._by_name(value, label, quiet=True)
        return self.value(value, label)

    def _wrapper(self, value: Any, inner: Any, label: str) -> str:
        if is_host_object(value):
            # A host's task is its plain function: the key is the same in every host.
            return self.refer(inner, label)
        parts = ["wrapper", library_name(type(value)), self.refer(inner, label)]
        if isinstance(own := getattr(value, "_self_wrapper", None), types.FunctionType):  # wrapt
            parts.append(self.refer(own, label))
        return hash_parts(*parts)

    def _compiled(self, value: Any, label: str) -> str:
        """A function of C: by name, with the object that it is bound to, as in `",".join`."""
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType | type) or is_module_function(value):
            self._warn_if_compiled(value, label)
            return f"builtin {getattr(value, '__module__', None)}.{value.__qualname__}"
        if is_filling(value):
            return f"fills {type(owner).__name__} {value.__name__}"
        return f"bound {value.__name__} {self.refer(owner, label)}"

    def _warn_if_compiled(self, value: Any, label: str) -> None:
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        if module is not None and getattr(module, "__file__", None) and is_user_module(module):
            self.warn(f"{label} is compiled code of your own and counts by its name alone")

    def _number(self, value: Any) -> str:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._numbers)
            self._queue.append(value)
        return f"#{number}"

    def _library(self, value: type | types.FunctionType) -> str:
        name = library_name(value)
        if name not in self.by_name:
            self.by_name.append(name)
        return f"library {name}"

    def _foreign(self, function: types.FunctionType, label: str) -> str:
        """A library's function: by name, with the user's functions that it wraps."""
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None and is_host_function(function):
            return self.refer(wrapped, label)
        parts = [self._library(function)]
        registered = self._registered(getattr(function, "registry", None), label)
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            held = cell_value(cell)
            # A dispatcher's own constants are notes on what it has seen.
            if is_code(held) or (is_immutable(held) and not registered):
                self.guards.cell(cell, held)
                parts.append(f"{name}={self.refer(held, label)}")
        if wrapped is not None:
            parts.append(f"wrapped={self.refer(wrapped, label)}")
        parts += registered
        return hash_parts(*parts) if len(parts) > 1 else parts[0]

    def _registered(self, registry: object, label: str) -> list[str]:
        """What functools.singledispatch chooses from."""
        if not isinstance(registry, types.MappingProxyType):
            return []
        listed = sorted(registry.items(), key=lambda item: library_name(item[0]))
        self.guards.size(registry)
        for kind, function in listed:
            self.guards.name(registry, kind, function)
        return [
            text
            for pair in listed
            for text in (self.refer(pair[0], ""), self.refer(pair[1], label))
        ]

    def _partial(self, value: functools.partial[Any], label: str) -> str:
        parts = ["partial", self.refer(value.func, label)]
        parts += [self.refer(item, label) for item in value.args]
        for name in sorted(value.keywords):
            parts += [name, self.refer(value.keywords[name], label)]
        return hash_parts(*parts)

    def value(self, value: Any, label: str, *, is_strict: bool = False) -> str:
        """Return the text for a constant: its digest, or its type where it has none.

        Args:
            value: The constant.
            label: The name by which it was reached.
            is_strict: Whether an object that only pickle can take counts by its type instead.
        """
        if is_service(value):
            return self._by_name(value, label, quiet=True)
        hashing = Hashing(in_code=True, is_strict=is_strict)
        try:
            digest = hashing.digest(value)
        except InvalidInputError as error:
            return self._by_name(value, label, quiet=is_strict, why=error.message)
        for text in hashing.warnings:
            self.warn(f"{label}: {text}")
        if not is_immutable(value):
            self.guards.changing.append((value, digest))
        if label:
            self.items.append(CodeItem(label, "constant", digest))
        return digest

    def _by_name(self, value: object, label: str, *, quiet: bool, why: str = "") -> str:
        kind = library_name(type(value))
        if label not in self.by_name:
            self.by_name.append(label)
        if not quiet:
            self.warn(f"{label} ({kind}) counts by its name alone: {why}")
        return f"by name {label} {type(value).__qualname__}"

    # -------------------------------------------------------------- functions

    def _describe_function(self, function: types.FunctionType) -> list[str]:
        text, reads = self.text_of(function)
        name = function.__qualname__.replace("<locals>.", "")
        self.items.append(CodeItem(name, "function", hash_parts(text)))
        self.guards.function(function)
        return ["function", text, *self.bound_parts(function), *self.read_parts(function, reads)]

    def text_of(self, function: types.FunctionType) -> tuple[str, Reads]:
        """Return the canonical text of a function, and what it reads."""
        found = find_function(function)
        if found is None:
            self.warn(
                f"{function.__qualname__} has no source here and counts by its bytecode, which "
                "differs between Python versions"
            )
            return bytecode.text_of(function.__code__), bytecode.reads_of(function.__code__)
        text, reads = canonical_text(found.node), reads_of(found.node)
        if function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
            text += " of types.coroutine"
        if not found.is_exact:
            self.warn(
                f"The source of {function.__qualname__} on disk is not the code that runs; both "
                "count, and the key is not that of the unchanged source"
            )
            text = hash_parts(text, bytecode.text_of(function.__code__))
        return text, reads

    def bound_parts(self, function: types.FunctionType) -> list[str]:
        """Return the defaults of a function; what they are was settled when it was defined."""
        parts = []
        for at, value in enumerate(function.__defaults__ or ()):
            parts += [f"default {at}", self.refer(value, "")]
        for name, value in sorted((function.__kwdefaults__ or {}).items()):
            parts += [f"default {name}", self.refer(value, "")]
        return parts

    def read_parts(self, function: types.FunctionType, reads: Reads) -> list[str]:
        """Return what the names in a function's body mean now."""
        self.seen.setdefault(str(function.__globals__.get("__name__")), function.__globals__)
        free = function.__code__.co_freevars
        cells = dict(zip(free, function.__closure__ or (), strict=True))
        return self.resolve(reads, function.__globals__, cells)

    def resolve(
        self, reads: Reads, names: dict[str, Any], cells: Mapping[str, types.CellType]
    ) -> list[str]:
        """Return texts for all that code reads, in the order of the names.

        Args:
            reads: Free names and imports.
            names: The globals that the code sees.
            cells: Its closure.
        """
        parts: list[str] = []
        for name in sorted(cells.keys() - reads.names.keys()):
            reads = Reads({**reads.names, name: {()}}, reads.imports)  # super() reads __class__
        for name in sorted(reads.names):
            parts += self._named(name, reads.names[name], names, cells)
        if self.is_deep:
            parts += self._imported(reads, names)
        return parts

    def _named(
        self,
        name: str,
        chains: set[Chain],
        names: dict[str, Any],
        cells: Mapping[str, types.CellType],
    ) -> list[str]:
        """Return texts for one free name."""
        is_cell = name in cells
        value = cell_value(cells[name]) if is_cell else names.get(name, MISSING)
        if is_only_written(chains, value):
            # What it holds may change; that it is such a container may not.
            self.guards.kind(lambda: cell_value(cells[name]) if is_cell else names.get(name), value)
            self.items.append(CodeItem(name, "written", ""))
            return []
        if is_cell and value is MISSING:
            self.guards.kind(lambda: cell_value(cells[name]), MISSING)
        elif is_cell:
            self.guards.cell(cells[name], value)
        elif not self.is_deep or name in _WHERE:
            if name == "__file__":
                self.warn("Its code reads __file__: where it lies and what lies there do not count")
            return []
        else:
            value = self._global(names, name)
        return [] if value is MISSING else self._reached(value, name, _plain(chains))

    def _imported(self, reads: Reads, names: dict[str, Any]) -> list[str]:
        parts: list[str] = []
        for item in sorted(reads.imports, key=repr):
            value = imports.resolve(self, item, names)
            label = item.attribute or item.module
            if value is not MISSING:
                parts += self._reached(value, label, _plain(reads.imports[item]))
        return parts

    def _global(self, names: dict[str, Any], name: str) -> Any:
        value = names.get(name, MISSING)
        if value is MISSING:
            self.guards.absence(names, name)
            if not hasattr(builtins, name):
                self.by_name.append(name)
            return MISSING
        self.guards.name(names, name, value)
        return value

    def _reached(self, value: Any, name: str, chains: set[Chain]) -> list[str]:
        if isinstance(value, types.ModuleType) and is_user_module(value):
            parts: list[str] = []
            for chain in sorted(chains):
                parts += self._through(value, name, chain)
            return parts
        parts = [name, self.refer(value, name)]
        if ("__doc__",) in chains and (is_class(value) or isinstance(value, types.FunctionType)):
            parts.append(f"documented {value.__doc__}")
        if isinstance(value, types.FunctionType):
            read = {chain[0] for chain in chains if chain} & vars(value).keys()
            for attribute in sorted(read - {"__wrapped__"}):  # constants kept on a function
                inner = vars(value)[attribute]
                self.guards.name(vars(value), attribute, inner)
                parts += [f"{name}.{attribute}", self.refer(inner, f"{name}.{attribute}")]
        return parts

    def _through(self, module: types.ModuleType, name: str, chain: Chain) -> list[str]:
        """Follow `helpers.clean` through modules of the user to what it names."""
        value: Any = module
        label = name
        for attribute in chain:
            if not (isinstance(value, types.ModuleType) and is_user_module(value)):
                break
            label = f"{label}.{attribute}"
            inner = vars(value).get(attribute, MISSING)
            if inner is MISSING:
                inner = sys.modules.get(f"{value.__name__}.{attribute}", MISSING)
            if inner is MISSING:
                self.guards.absence(vars(value), attribute)
                # The module may make the attribute when it is asked.
                inner = vars(value).get("__getattr__", MISSING)
            if inner is MISSING:
                self.by_name.append(label)
                return [label, "undefined"]
            if attribute in vars(value):
                self.guards.name(vars(value), attribute, inner)
            value = inner
        if isinstance(value, types.ModuleType) and is_user_module(value):
            self.warn(f"The module {label} is used as a value, and counts with all that is in it")
        return [label, self.refer(value, label)]


def _plain(chains: set[Chain]) -> set[Chain]:
    return {chain[1:] if chain and chain[0] in (FILLS, COUNTS) else chain for chain in chains}
