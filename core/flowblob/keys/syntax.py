"""What counts of a syntax tree: its canonical text, and the names it reads from outside."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any, Final

_DROPPED = frozenset({"type_comment", "kind", "type_ignores"})
_DOCUMENTED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)

Chain = tuple[str, ...]

# The head of a chain that only puts something into a container, or counts up: where the name means
# one, the result of the function cannot depend on what is in there. The rest is the plain chain.
FILLS: Final = "=fill"
COUNTS: Final = "=count"
FILLING: Final = frozenset(
    ("append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault",
     "discard", "clear", "put", "put_nowait")
)  # fmt: skip


def canonical_text(node: ast.AST) -> str:
    """Return the text of a tree: node types and fields, the same in every Python version.

    Positions, comments, docstrings and empty fields are dropped, and of the root its decorators
    and name: the decorators have made the object that is looked at, and the name is the caller's.
    A class keeps its decorators, since the class itself does not show what they did.

    Args:
        node: A function, lambda or class.
    """
    out: list[str] = []
    left_out = {"name", "decorator_list"}
    _write_fields(node, out, {"name"} if isinstance(node, ast.ClassDef) else left_out)
    return "".join(out)


def _write(value: Any, out: list[str]) -> None:
    if isinstance(value, ast.AST):
        _write_fields(value, out, set())
    elif isinstance(value, list):
        out.append("[")
        for item in value:
            _write(item, out)
            out.append(",")
        out.append("]")
    else:
        out.append(_literal(value))


def _write_fields(node: ast.AST, out: list[str], left_out: set[str]) -> None:
    out.append(type(node).__name__ + "(")
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if name in _DROPPED or name in left_out or value == []:
            continue
        if value is None and not (isinstance(node, ast.Constant) and name == "value"):
            continue
        if name == "body" and isinstance(node, _DOCUMENTED):
            value = _without_docstring(value)
        elif name == "values" and isinstance(node, ast.JoinedStr):
            value = _joined(value)
        out.append(name + "=")
        _write(value, out)
        out.append(";")
    out.append(")")


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    literal = first.value if isinstance(first, ast.Expr) else None
    if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
        # `pass` is what remains of a body that only explained itself.
        return body[1:] or [ast.Pass()]
    return body


def _joined(values: list[Any]) -> list[Any]:
    """The pieces of an f-string; Python 3.12.0 and 3.12.1 cut its texts in other places."""
    pieces: list[Any] = []
    for value in values:
        last = pieces[-1] if pieces else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            pieces[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            pieces.append(value)
    return pieces


def _literal(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)  # decimal digits have a limit
    if isinstance(value, str):
        return ascii(value)  # what repr escapes depends on the Unicode tables of the version
    return repr(value)


@dataclass(frozen=True, slots=True)
class Import:
    """An import statement inside a function, as one name that it binds.

    Attributes:
        module: The dotted module.
        level: Number of leading dots.
        attribute: What is taken from it, empty for a plain import.
        is_root: Whether the name bound is the first part of the module's name.
    """

    module: str
    level: int = 0
    attribute: str = ""
    is_root: bool = False


@dataclass(frozen=True, slots=True)
class Reads:
    """What a tree reads from outside.

    Attributes:
        names: Free names, each with the attribute chains that follow it.
        imports: Imports of its own, each with the chains that follow the bound name.
    """

    names: dict[str, set[Chain]]
    imports: dict[Import, set[Chain]]


@dataclass(slots=True)
class _Scope:
    parent: _Scope | None = None
    is_class: bool = False
    is_comprehension: bool = False
    bound: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    imports: dict[str, set[Import]] = field(default_factory=dict)
    uses: list[tuple[str, Chain]] = field(default_factory=list)


def reads_of(node: ast.AST) -> Reads:
    """Return the free names of a function or class, with what follows them.

    Annotations of functions are left out: they do not run with the body.

    Args:
        node: A function, lambda or class.
    """
    finder = _Finder()
    finder.enter(node, is_root=True)
    reads = Reads({}, {})
    for scope in finder.scopes:
        for name, chain in scope.uses:
            _resolve(scope, name, chain, reads)
    return reads


def _resolve(scope: _Scope, name: str, chain: Chain, reads: Reads) -> None:
    here: _Scope | None = scope
    while here is not None:
        if name in here.declared:
            break
        is_seen = here is scope or not here.is_class
        if name in here.bound and name not in here.outer and is_seen:
            for item in here.imports.get(name, ()):
                reads.imports.setdefault(item, set()).add(chain)
            if not here.is_class:
                return
        # A class body that reads a name before it binds it reads the global one.
        here = here.parent
    reads.names.setdefault(name, set()).add(chain)


class _Finder(ast.NodeVisitor):
    """Collect, for each scope, the names it binds and the names it reads."""

    def __init__(self) -> None:
        self.scopes: list[_Scope] = []
        self._scope = _Scope(is_class=True)  # nothing is ever bound outside of the root

    def enter(self, node: Any, *, is_root: bool = False) -> None:
        outer = self._scope
        if not is_root:
            for item in _evaluated_outside(node):
                self.visit(item)
        elif isinstance(node, ast.ClassDef):
            for item in [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]:
                self.visit(item)
            self.scopes.append(outer)
        self._scope = _Scope(outer, is_class=isinstance(node, ast.ClassDef))
        self.scopes.append(self._scope)
        for parameter in getattr(node, "type_params", ()):
            self._scope.bound.add(parameter.name)
        if not isinstance(node, ast.ClassDef):
            self._scope.bound.update(_argument_names(node.args))
        for item in node.body if isinstance(node.body, list) else [node.body]:
            self.visit(item)
        self._scope = outer

    def visit_FunctionDef(self, node: Any) -> None:
        self._scope.bound.add(node.name)
        self.enter(node)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.enter(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.target)
        if self._scope.is_class:
            self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)

    def visit_ListComp(self, node: Any) -> None:
        self.visit(node.generators[0].iter)
        self._scope = _Scope(self._scope, is_comprehension=True)
        self.scopes.append(self._scope)
        for at, generator in enumerate(node.generators):
            self.visit(generator.target)
            for item in [*([generator.iter] if at else []), *generator.ifs]:
                self.visit(item)
        for name in ("key", "value", "elt"):
            if hasattr(node, name):
                self.visit(getattr(node, name))
        assert self._scope.parent is not None
        self._scope = self._scope.parent

    visit_SetComp = visit_ListComp
    visit_DictComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        scope = self._scope
        while scope.is_comprehension and scope.parent is not None:
            scope = scope.parent
        scope.bound.add(node.target.id)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._scope.uses.append((node.id, ()))
        else:
            self._scope.bound.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._scope.uses.append((inner.id, tuple(reversed(chain))))
        else:
            self.visit(inner)

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.declared.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._scope.outer.update(node.names)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._scope.uses.append((node.target.id, (COUNTS,)))
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.attr in FILLING
        ):
            self._scope.uses.append((call.func.value.id, (FILLS, call.func.attr)))
            for item in [*call.args, *call.keywords]:
                self.visit(item)
        else:
            self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Load) or not isinstance(node.value, ast.Name):
            self.visit(node.value)
        else:
            self._scope.uses.append((node.value.id, (FILLS,)))
        self.visit(node.slice)

    def visit_Import(self, node: ast.Import) -> None:
        for item in node.names:
            name = item.asname or item.name.partition(".")[0]
            self._bind(name, Import(item.name, is_root=item.asname is None))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for item in node.names:
            found = Import(node.module or "", node.level, item.name)
            self._bind(item.asname or item.name, found)

    def _bind(self, name: str, found: Import) -> None:
        self._scope.bound.add(name)
        self._scope.imports.setdefault(name, set()).add(found)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._scope.bound.add(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: Any) -> None:
        for name in (getattr(node, "name", None), getattr(node, "rest", None)):
            if name:
                self._scope.bound.add(name)
        self.generic_visit(node)

    visit_MatchStar = visit_MatchAs
    visit_MatchMapping = visit_MatchAs


def _evaluated_outside(node: Any) -> list[ast.expr]:
    """What runs where an inner function or class is defined, not when it is called."""
    outside = list(getattr(node, "decorator_list", ()))
    if isinstance(node, ast.ClassDef):
        return [*outside, *node.bases, *(item.value for item in node.keywords)]
    defaults = [*node.args.defaults, *node.args.kw_defaults]
    return [*outside, *(item for item in defaults if item is not None)]


def _argument_names(args: ast.arguments) -> list[str]:
    listed = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return [item.arg for item in [*listed, args.vararg, args.kwarg] if item is not None]
