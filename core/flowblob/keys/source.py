"""From a code object or class to its syntax tree, verified against what is running.

The tree is found in the module's source by compiling it and comparing code objects, since a file
may have been edited after it was imported: the new text must never name the old code.
"""

from __future__ import annotations

import ast
import collections
import inspect
import linecache
import threading
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from flowblob.keys.origin import own_functions

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

# Not where it stands, not what types.coroutine() sets, and not __future__ imports, which exec()
# passes on from its caller.
_MEANINGFUL_FLAGS: Final = 0x3FF & ~inspect.CO_NESTED & ~inspect.CO_ITERABLE_COROUTINE
_BLOCKS: Final = ("body", "orelse", "finalbody", "handlers", "cases")
_KEPT_MODULES: Final = 16
_COMPARED: Final = (
    "co_name",
    "co_code",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
)


@dataclass(frozen=True, slots=True)
class Found:
    """A syntax tree, and whether it is certainly what runs.

    Attributes:
        node: A function, lambda or class.
        is_exact: Whether its compiled form equals the running code.
    """

    node: ast.AST
    is_exact: bool


class _Module:
    """The functions and classes of one source file."""

    def __init__(self, text: str, filename: str) -> None:
        self._tree = _parse(text, filename)
        self.codes: dict[str, list[types.CodeType]] = {}
        self._functions: dict[tuple[int, str], list[Function]] = {}
        self._has_lambdas = False
        self.classes: dict[str, list[ast.ClassDef]] = {}
        # From the text: handing the tree back costs more than parsing it twice.
        compiled = compile(text, filename, "exec", dont_inherit=True)
        for code in codes_in(compiled):
            self.codes.setdefault(code.co_name, []).append(code)
        self._index(self._tree, "")

    def functions(self, line: int, name: str) -> list[Function]:
        """Return the functions of this name that begin on a line."""
        if name == "<lambda>" and not self._has_lambdas:
            for node in ast.walk(self._tree):
                if isinstance(node, ast.Lambda):
                    self._functions.setdefault((node.lineno, name), []).append(node)
            self._has_lambdas = True
        return self._functions.get((line, name), [])

    def _index(self, node: ast.AST, prefix: str) -> None:
        """Find what is defined by statements; expressions hold nothing but lambdas."""
        for part in _BLOCKS:
            for child in getattr(node, part, ()):
                inner = prefix
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                    spot = (_first_line(child), child.name)
                    self._functions.setdefault(spot, []).append(child)
                    inner = f"{prefix}{child.name}.<locals>."
                elif isinstance(child, ast.ClassDef):
                    self.classes.setdefault(prefix + child.name, []).append(child)
                    inner = f"{prefix}{child.name}."
                self._index(child, inner)


def _parse(text: str, filename: str) -> ast.Module:
    try:
        return ast.parse(text, filename)
    except SystemError:
        # Before 3.11.8 and 3.12.2 CPython counts the depth of all parses in one place, and fails
        # one during which another ran: in a thread, or in a finalizer that formats a traceback
        # (https://github.com/python/cpython/issues/106905). The text is good: parse it again.
        return ast.parse(text, filename)


def _first_line(node: Any) -> int:
    decorators = getattr(node, "decorator_list", None)
    return int(decorators[0].lineno if decorators else node.lineno)


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """Give the code objects nested in one, outer before inner, without itself."""
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            yield item
            yield from codes_in(item)


_modules: collections.OrderedDict[str, tuple[int, _Module | None]] = collections.OrderedDict()
_lock = threading.RLock()


def _module(filename: str, names: dict[str, Any] | None, *, fresh: bool = False) -> _Module | None:
    with _lock:
        if fresh:
            linecache.checkcache(filename)
        lines = linecache.getlines(filename, names)
        known = _modules.get(filename)
        stamp = hash(tuple(lines))
        if known is not None and known[0] == stamp:
            return known[1]
        module = _parsed("".join(lines), filename) if lines else None
        _modules[filename] = (stamp, module)
        if len(_modules) > _KEPT_MODULES:
            _modules.popitem(last=False)
        return module


def _parsed(text: str, filename: str) -> _Module | None:
    try:
        return _Module(text, filename)
    except (SyntaxError, ValueError, RecursionError):  # a template, magics, null bytes, a giant
        return None


def find_function(function: types.FunctionType) -> Found | None:
    """Return the syntax tree of a function.

    Args:
        function: A function written in Python.
    """
    code = function.__code__
    known = _by_code.get((code.co_filename, code))
    if known is not None:
        return known
    inexact = None
    for fresh in (False, True):
        module = _module(code.co_filename, function.__globals__, fresh=fresh)
        if module is None:
            continue
        found = _locate(module, code)
        if found is not None and found.is_exact:
            return _remember(code, found)
        inexact = inexact or found
    return _remember(code, inexact) if inexact else None


# Equal code of two files may stem from different text, hence the file in the key.
_by_code: dict[tuple[str, types.CodeType], Found] = {}


def _remember(code: types.CodeType, found: Found) -> Found:
    if len(_by_code) >= 4096:
        _by_code.clear()
    _by_code[code.co_filename, code] = found
    return found


def _locate(module: _Module, code: types.CodeType) -> Found | None:
    same = [item for item in module.codes.get(code.co_name, ()) if same_code(item, code)]
    same.sort(key=lambda item: _distance(item, code))
    for match in same[:1]:
        nodes = module.functions(match.co_firstlineno, match.co_name)
        if nodes:
            return Found(_at_positions(nodes, match), is_exact=True)
    nodes = module.functions(code.co_firstlineno, code.co_name)
    return Found(_at_positions(nodes, code), is_exact=False) if nodes else None


def _distance(found: types.CodeType, wanted: types.CodeType) -> tuple[bool, int, bool]:
    return (
        found.co_qualname != wanted.co_qualname,
        abs(found.co_firstlineno - wanted.co_firstlineno),
        list(found.co_positions()) != list(wanted.co_positions()),
    )


def _at_positions(nodes: list[Function], code: types.CodeType) -> Function:
    """Choose among functions that begin on one line, such as two lambdas, by their columns."""
    if len(nodes) == 1:
        return nodes[0]
    spots = [
        ((line, column or 0), (end, end_column or 0))
        for line, end, column, end_column in code.co_positions()
        if line is not None and end is not None and column != end_column
    ]
    if not spots:
        # Python 3.12 gives `lambda: 3` no columns; compiled alone it is what it is among others.
        return next((node for node in nodes if _compiles_to(node, code)), nodes[0])
    first, last = min(spot[0] for spot in spots), max(spot[1] for spot in spots)
    holding = [
        node for node in nodes if _body_span(node)[0] <= first <= last <= _body_span(node)[1]
    ]
    # The innermost that holds every instruction.
    return max(holding or nodes, key=lambda node: _body_span(node)[0])


def _compiles_to(node: Function, code: types.CodeType) -> bool:
    if not isinstance(node, ast.Lambda):
        return False
    alone = compile(ast.Expression(node), code.co_filename, "eval", dont_inherit=True)
    compiled = [item for item in alone.co_consts if isinstance(item, types.CodeType)]
    return bool(compiled) and same_code(compiled[0], code)


def _body_span(node: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    body = node.body if isinstance(node.body, list) else [node.body]
    start, end = body[0], body[-1]
    return (start.lineno, start.col_offset), (end.end_lineno, end.end_col_offset)


def same_code(one: types.CodeType, other: types.CodeType) -> bool:
    """Say whether two code objects do the same, wherever they stand.

    `co_code` is read through the property, which undoes what specialising and tracing changed.
    """
    if any(getattr(one, name) != getattr(other, name) for name in _COMPARED):
        return False
    if (one.co_flags ^ other.co_flags) & _MEANINGFUL_FLAGS:
        return False
    return _same_constants(one.co_consts, other.co_consts)


def _same_constants(ones: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    if len(ones) != len(others):
        return False
    for one, other in zip(ones, others, strict=True):
        if type(one) is not type(other):
            return False
        if isinstance(one, types.CodeType):
            same = same_code(one, other)
        elif isinstance(one, tuple):
            same = _same_constants(one, other)
        else:
            same = repr(one) == repr(other) if isinstance(one, float | complex) else one == other
        if not same:
            return False
    return True


def find_class(cls: type, names: dict[str, Any]) -> list[Found]:
    """Return the syntax trees of a class; several where its name is defined more than once.

    Args:
        cls: A class of the user.
        names: The globals around it.
    """
    methods = list(own_functions(cls))
    files = [item.__code__.co_filename for item in methods]
    if file := names.get("__file__"):
        files.append(file)
    for filename in dict.fromkeys(files):
        module = _module(filename, names)
        nodes = module.classes.get(cls.__qualname__, []) if module else []
        if module and nodes:
            exact = _methods_match(module, methods, filename)
            return [Found(node, exact) for node in _chosen(nodes, cls, methods)]
    return []


def _methods_match(module: _Module, methods: list[types.FunctionType], filename: str) -> bool:
    here = [item.__code__ for item in methods if item.__code__.co_filename == filename]
    return all(
        any(same_code(known, code) for known in module.codes.get(code.co_name, ())) for code in here
    )


def _chosen(
    nodes: list[ast.ClassDef], cls: type, methods: list[types.FunctionType]
) -> list[ast.ClassDef]:
    line = vars(cls).get("__firstlineno__")  # Python 3.13
    same = [node for node in nodes if _first_line(node) == line]
    if len(same) == 1 or len(nodes) == 1:
        return same or nodes
    inside = [
        node
        for node in nodes
        if any(
            node.lineno <= item.__code__.co_firstlineno <= (node.end_lineno or 0)
            for item in methods
        )
    ]
    return inside or nodes
