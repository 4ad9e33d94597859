"""Corners of the language and of the rules, each of which once read as something else."""

from __future__ import annotations

import collections
import email.message
import enum
import importlib
import linecache
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from flowblob.errors import InvalidInputError
from flowblob.keys import Recipe, function_identity, hash_with, value_digest
from flowblob.keys.kinds import inner_function
from flowblob.model import Ref

Load = Callable[..., types.ModuleType]


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


# ------------------------------------------------------------------ imports


@pytest.mark.parametrize(
    ("statement", "call"),
    [
        ("from . import helpers", "helpers.clean(x)"),
        ("from .helpers import clean", "clean(x)"),
        ("from .. import outer_package", "outer_package.inner.helpers.clean(x)"),
        ("import outer_package.inner.helpers", "outer_package.inner.helpers.clean(x)"),
        ("from outer_package.inner import helpers as h", "h.clean(x)"),
    ],
)
def test_relative_and_dotted_imports_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, call: str
) -> None:
    found = []
    for at, body in enumerate(("x + 1", "x + 1", "x + 2")):
        root = tmp_path / str(at)
        inner = root / "outer_package" / "inner"
        inner.mkdir(parents=True)
        (inner.parent / "__init__.py").write_text("from . import inner\nouter_package = inner\n")
        if statement.startswith("from .. "):
            statement, call = "from ..inner import helpers", "helpers.clean(x)"
        (inner / "__init__.py").write_text("")
        (inner / "helpers.py").write_text(f"def clean(x): return {body}\n")
        (inner / "flow.py").write_text(f"def task(x):\n    {statement}\n    return {call}\n")
        with monkeypatch.context() as context:
            context.syspath_prepend(root)
            for name in [name for name in sys.modules if name.startswith("outer_package")]:
                context.delitem(sys.modules, name)
            identity = function_identity(importlib.import_module("outer_package.inner.flow").task)
            for name in [name for name in sys.modules if name.startswith("outer_package")]:
                del sys.modules[name]
        assert identity.warnings == ()
        found.append(identity.digest)
    assert found[0] == found[1] != found[2]


def test_a_module_that_does_not_exist_counts_as_its_text(load: Load) -> None:
    for name in ("no_such_module_of_anybody", "no_such_package.inner", "sys", "time"):
        text = f"def task():\n    import {name}\n    from .nothing import x\n    return {name}, x\n"
        assert function_identity(load(text).task).warnings == ()


def test_a_module_used_as_a_value_is_a_warning(load: Load) -> None:
    load("K = 1\n", "helpers_as_value", "place")
    module = load("import helpers_as_value as h\ndef task(x): return getattr(h, x)\n")
    assert "is used as a value" in function_identity(module.task).warnings[0]


def test_an_attribute_that_a_module_does_not_have_yet_is_a_change_later(load: Load) -> None:
    helpers = load("K = 1\n", "helpers_to_come", "place")
    module = load("import helpers_to_come as h\ndef task(x): return h.later\n")
    recipe = Recipe(module.task)
    before = recipe.key((1,), {}).digest
    helpers.later = 1  # type: ignore[attr-defined]
    assert recipe.key((1,), {}).digest != before


# ------------------------------------------------------------------ without source


def test_a_class_made_by_a_call_counts_by_its_attributes(load: Load) -> None:
    text = "A = type('A', (), {'k': 1, 'f': lambda self: self.k})\ndef task(): return A().f()\n"
    found = function_identity(load(text).task)
    assert "The class A has no source here" in found.warnings[0]
    assert digest(load(text)) == found.digest
    assert digest(load(text.replace("'k': 1", "'k': 2"))) != found.digest
    assert digest(load(text.replace("self.k}", "-self.k}"))) != found.digest


def test_bytecode_with_nested_code_and_tuples_is_hashed() -> None:
    def made(body: str) -> str:
        names: dict[str, Any] = {}
        exec(f"def task(x): return {body}", names)
        return function_identity(names["task"]).digest

    bodies = ["(1, 2)", "(1, 3)", "(1, 2.0)", "lambda: 1", "lambda: 2", "[y for y in x]", "x[1:2]"]
    assert len({made(body) for body in bodies}) == len(bodies)


def test_a_file_that_is_no_python_is_no_source(tmp_path: Path) -> None:
    file = tmp_path / "template.py"
    names: dict[str, Any] = {"__file__": str(file)}
    exec(compile("def task(): return 1", str(file), "exec"), names)
    file.write_text("{% if this is a template %}")
    linecache.clearcache()
    assert "has no source here" in function_identity(names["task"]).warnings[0]


# ------------------------------------------------------------------ roots of other kinds


def test_all_that_can_be_called_has_an_identity(load: Load) -> None:
    module = load(
        "class A:\n    def __init__(self, n=0): self.n = n\n    def __call__(self): return 1\n"
        "class S:\n    __slots__ = ('n',)\n    def __init__(self): self.n = 1\n"
        "    def __call__(self): return 1\n"
    )
    for root in (len, str.upper, email.message.Message, module.A, module.A(1), module.S(), max):
        assert function_identity(root).digest == function_identity(root).digest
    one, other = module.A(1), module.A(2)
    assert function_identity(one).digest != function_identity(other).digest
    recipe = Recipe(one)
    before = recipe.key((), {}).digest
    one.n = 3
    assert recipe.key((), {}).digest != before
    assert (Recipe(one).name, repr(recipe)) == ("A", "Recipe(A)")


def test_constants_that_are_records_of_ours_count_by_value(load: Load) -> None:
    text = "from flowblob import Ref\nREF = Ref('a')\ndef task(): return REF\n"
    assert digest(load(text)) != digest(load(text.replace("'a'", "'b'")))


def test_a_store_among_the_globals_counts_by_its_name(load: Load) -> None:
    text = "from flowblob import Store\nSTORE = Store('memory://')\ndef task(): return STORE\n"
    found = function_identity(load(text).task)
    assert found.warnings == ()
    assert found.digest == digest(load(text.replace("memory://", "memory://other")))


def test_an_object_whose_attributes_raise_is_no_wrapper() -> None:
    class Trap:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    assert inner_function(Trap()) is None


def test_a_closure_that_is_not_filled_yet_counts_once_it_is() -> None:
    def outer() -> Any:
        def task() -> Any:
            return later

        recipe = Recipe(task)
        before = recipe.key((), {}).digest
        later = 1
        return before, recipe.key((), {}).digest

    before, after = outer()
    assert before != after


def test_a_constant_that_becomes_unhashable_is_a_change(load: Load) -> None:
    module = load("BOX = []\ndef task(): return BOX\n")
    recipe = Recipe(module.task)
    before = recipe.key((), {}).digest
    module.BOX.append(item for item in "ab")
    after = recipe.key((), {})
    assert after.digest != before
    assert "BOX (builtins.list) counts by its name alone" in after.warnings[0]


# ------------------------------------------------------------------ values


def test_forms_of_typing_and_descriptors_are_told_apart() -> None:
    first = typing.TypeVar("first")
    values = [
        typing.Any,
        typing.Optional[int],  # noqa: UP045 - the older spelling is the point
        typing.Literal["a"],
        typing.Literal["b"],
        Annotated[int, 1],
        Annotated[int, 2],
        typing.Callable[[int], str],
        first,
        typing.TypeVar("second"),
        typing.NoReturn,
        str.upper,
        str.lower,
        int.__add__,
        (1).__add__,
        dict.fromkeys,
        property(len),
        staticmethod(len),
        classmethod(len),
    ]
    assert len({value_digest(value) for value in values}) == len(values)
    assert value_digest(int | None) == value_digest(typing.Optional[int])  # noqa: UP045


def test_slots_and_missing_fields_count() -> None:
    class Slots:
        __slots__ = ("a", "b")

    class Both(Slots):
        pass

    one, other, third = Slots(), Slots(), Both()
    one.a = other.a = third.a = 1
    assert value_digest(one) == value_digest(other)
    other.b = 2
    third.c = 3  # type: ignore[attr-defined]
    fourth = Both()
    fourth.a = 1
    found = {value_digest(value) for value in (one, other, third, fourth)}
    assert len(found) == 4


def test_a_dataclass_with_a_field_that_was_deleted_has_a_digest() -> None:
    import dataclasses

    @dataclasses.dataclass
    class Config:
        a: int = 1
        b: list[int] = dataclasses.field(default_factory=list)

    one = Config()
    del one.b
    assert value_digest(one) != value_digest(Config())


def test_flags_and_functional_enums_count_by_name_and_value() -> None:
    class Mode(enum.Flag):
        READ = 1
        WRITE = 2

    values = [Mode.READ, Mode.WRITE, Mode.READ | Mode.WRITE, Mode(0)]
    assert len({value_digest(value) for value in values}) == len(values)


def test_an_own_rule_that_raises_names_the_argument() -> None:
    class Broken:
        def __flowblob_key__(self) -> object:
            raise KeyError("rate")

    def task(config: Any) -> None: ...

    with pytest.raises(InvalidInputError, match=r"Argument 'config' of .*KeyError: 'rate'"):
        Recipe(task).key((Broken(),), {})


def test_hash_with_gets_the_value_of_a_lazy_argument() -> None:
    class Lazy:
        __flowblob_lazy__ = True

        def load(self) -> object:
            return [1, 2]

    def task(items: Annotated[list[int], hash_with(len)]) -> None: ...

    recipe = Recipe(task)
    assert recipe.key((Lazy(),), {}).digest == recipe.key(([3, 4],), {}).digest
    assert repr(hash_with(len)) == "hash_with(len)"


def test_an_annotation_that_cannot_be_resolved_is_no_obstacle(load: Load) -> None:
    text = "from __future__ import annotations\ndef task(x: Nothing[1], y: int = 1): return x\n"
    assert Recipe(load(text).task).key((1,), {}).digest


def test_a_bundle_of_mixed_containers_is_exact() -> None:
    one = {"a": collections.deque([{1, 2}]), "b": (Ref("x"), frozenset({("k", 1)}))}
    other = {"a": collections.deque([{2, 1}]), "b": (Ref("x"), frozenset({("k", 1)}))}
    assert value_digest(one) == value_digest(other)
