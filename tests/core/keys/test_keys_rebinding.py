"""What changes while the process runs is never a wrong hit."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob.keys import Recipe, function_identity

Load = Callable[..., types.ModuleType]


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


def digest_of(function: object) -> str:
    return function_identity(function).digest


RUNNING = """
import types

LIMIT = 3
TABLE = {"a": [1]}
SETTINGS = types.SimpleNamespace(rate=1)

class Options:
    rate = 1
    tags = ["a"]

    def method(self): return 1

def helper(x, by=1, *, scale=1): return x

def other(x): return -x

def make():
    state = 1
    def task(x):
        return helper(x) + LIMIT, TABLE, state, Options.rate, Options().method(), SETTINGS
    def change(value):
        nonlocal state
        state = value
    return task, change

task, change = make()
"""


def _delete_limit(module: Any) -> None:
    del module.LIMIT


def _set(name: str, value: object) -> Callable[[Any], None]:
    return lambda module: setattr(module, name, value)


AT_RUN_TIME: dict[str, Callable[[Any], None]] = {
    "a global is rebound": _set("LIMIT", 4),
    "a global is rebound to an equal value of another type": _set("LIMIT", 3.0),
    "a global is deleted": _delete_limit,
    "a builtin is hidden": lambda m: None,
    "a dict is changed deep inside": lambda m: m.TABLE["a"].append(2),
    "a namespace is changed": lambda m: setattr(m.SETTINGS, "rate", 2),
    "a closure is changed": lambda m: m.change(2),
    "a helper is replaced": lambda m: setattr(m, "helper", m.other),
    "the code of a helper is replaced": lambda m: setattr(m.helper, "__code__", _code(m)),
    "the defaults of a helper are replaced": lambda m: setattr(m.helper, "__defaults__", (2,)),
    "a keyword default is changed": lambda m: m.helper.__kwdefaults__.update(scale=2),
    "a class attribute is rebound": lambda m: setattr(m.Options, "rate", 2),
    "a class attribute is changed inside": lambda m: m.Options.tags.append("b"),
    "a class attribute is added": lambda m: setattr(m.Options, "more", 2),
    "a method is patched": lambda m: setattr(m.Options, "method", m.other),
}


del AT_RUN_TIME["a builtin is hidden"]


def _code(module: Any) -> types.CodeType:
    text = module.__file__.replace("flow.py", "patch.py")
    Path(text).write_text("def helper(x, by=1, *, scale=1): return x * 2\n")
    names: dict[str, Any] = {}
    exec(compile(Path(text).read_text(), text, "exec"), names)
    code = names["helper"].__code__
    assert isinstance(code, types.CodeType)
    return code


@pytest.mark.parametrize("change", AT_RUN_TIME)
def test_a_change_at_run_time_is_never_a_wrong_hit(load: Load, change: str) -> None:
    module = load(RUNNING)
    recipe = Recipe(module.task)
    before = recipe.key((1,), {}).digest
    assert recipe.key((1,), {}).digest == before
    AT_RUN_TIME[change](module)
    after = recipe.key((1,), {}).digest
    assert after != before
    assert recipe.key((1,), {}).digest == after
    assert Recipe(module.task).key((1,), {}).digest == after


def test_a_change_that_is_undone_gives_the_old_key(load: Load) -> None:
    module = load(RUNNING)
    recipe = Recipe(module.task)
    before = recipe.key((1,), {}).digest
    module.LIMIT = 4
    assert recipe.key((1,), {}).digest != before
    module.LIMIT = 3
    assert recipe.key((1,), {}).digest == before


def test_hiding_a_builtin_is_a_change(load: Load) -> None:
    module = load("def task(x): return len(x)\n")
    recipe = Recipe(module.task)
    before = recipe.key(("a",), {}).digest
    module.len = lambda x: 7
    assert recipe.key(("a",), {}).digest != before


def test_a_name_that_appears_later_is_a_change(load: Load) -> None:
    module = load("def task(x): return later(x)\n")
    recipe = Recipe(module.task)
    before = recipe.key((1,), {}).digest
    module.later = lambda x: x
    assert recipe.key((1,), {}).digest != before


def test_an_attribute_of_a_module_that_is_rebound_is_a_change(load: Load) -> None:
    load("K = 1\n", "settings_of_user", "place")
    module = load("import settings_of_user as s\ndef task(x): return x + s.K\n")
    recipe = Recipe(module.task)
    before = recipe.key((1,), {}).digest
    sys.modules["settings_of_user"].K = 2  # type: ignore[attr-defined]
    assert recipe.key((1,), {}).digest != before


def test_a_class_of_an_argument_that_is_patched_is_a_change(load: Load) -> None:
    module = load(
        "class Model:\n    def predict(self): return 1\ndef task(m): return m.predict()\n"
    )
    recipe = Recipe(module.task)
    model = module.Model()
    before = recipe.key((model,), {}).digest
    module.Model.predict = lambda self: 2
    assert recipe.key((model,), {}).digest != before
