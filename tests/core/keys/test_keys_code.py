"""Which changes of code are another key, and which are none."""

from __future__ import annotations

import types
from collections.abc import Callable

import pytest

from flowblob.keys import function_identity

Load = Callable[..., types.ModuleType]


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


def digest_of(function: object) -> str:
    return function_identity(function).digest


SAME = {
    "comment": ("    total = helper", "    # a comment\n    total = helper"),
    "trailing comment": ("+ LIMIT\n", "+ LIMIT  # the limit\n"),
    "docstring": ("    total = helper", '    """Say what it does."""\n    total = helper'),
    "docstring of a helper": ("    return x - 1", '    "Less."\n    return x - 1'),
    "docstring of a class": ("    rate: float", '    "Rates."\n    rate: float'),
    "comment in a helper": ("    return x - 1", "    # less\n    return x - 1"),
    "blank lines": ("    for item", "\n\n    for item"),
    "layout": ("helper(a) + LIMIT", "(\n        helper(a)\n        + LIMIT\n    )"),
    "quotes": ('TABLE["a"]', "TABLE['a']"),
    "parentheses": ("total += item", "total += (item)"),
    "lines above": ("import math", "import math\n\n\nUNRELATED = 1\n"),
    "unrelated function": ("def deeper", "def unrelated():\n    return 7\n\ndef deeper"),
    "decorators": ("def task", "def same(f):\n    return f\n\n@same\ndef task"),
}


CHANGED = {
    "body": ("total = helper(a)", "total = 1 + helper(a)"),
    "constant in the body": ("def task(a", "def task(a"),
    "name of a variable": (
        "for item in c:\n        total += item",
        "for x in c:\n        total += x",
    ),
    "default": ("b=1", "b=2"),
    "type of a default": ("b=1", "b=True"),
    "keyword default": ("c=(1, 2)", "c=(1, 3)"),
    "new parameter": ("b=1,", "b=1, d=None,"),
    "global constant": ("LIMIT = 3", "LIMIT = 4"),
    "type of a global constant": ("LIMIT = 3", "LIMIT = 3.0"),
    "global dict": ('{"a": 1}', '{"a": 2}'),
    "helper": ("* by +", "* by -"),
    "default of a helper": ("by=2", "by=3"),
    "helper of a helper": ("return x - 1", "return x - 2"),
    "library function in a helper": ("math.floor", "math.ceil"),
    "method of a class": ("self.rate * 2", "self.rate * 3"),
    "field of a class": ("rate: float = 0.1", "rate: float = 0.2"),
    "new field of a class": ("    rate: float", "    more: int = 1\n    rate: float"),
    "decorator of a class": ("@dataclass\n", "@dataclass(frozen=True)\n"),
    "base class": ("class Child(Config)", "class Child(dict)"),
    "class attribute": ('kind = "child"', 'kind = "other"'),
    "inner lambda": ("lambda y: y + LIMIT", "lambda y: y - LIMIT"),
    "wrapping decorator": (
        "def task",
        "def wrap(f):\n    return lambda *a, **k: f(*a, **k)\n\n@wrap\ndef task",
    ),
    "operator": ("total += item", "total -= item"),
    "async": ("def task", "async def task"),
}


del CHANGED["constant in the body"]


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_the_meaning_keeps_the_key(flow: str, load: Load, change: str) -> None:
    old, new = SAME[change]
    assert old in flow
    assert digest(load(flow)) == digest(load(flow.replace(old, new, 1)))


@pytest.mark.parametrize("change", CHANGED)
def test_what_changes_the_meaning_changes_the_key(flow: str, load: Load, change: str) -> None:
    old, new = CHANGED[change]
    assert old in flow
    assert digest(load(flow)) != digest(load(flow.replace(old, new, 1)))


def test_all_changes_give_keys_of_their_own(flow: str, load: Load) -> None:
    found = {digest(load(flow.replace(old, new, 1))) for old, new in CHANGED.values()}
    assert len(found) == len(CHANGED)


def test_ordinary_code_brings_no_warnings(flow: str, load: Load) -> None:
    assert function_identity(load(flow).task).warnings == ()


def test_what_was_followed_is_listed(flow: str, load: Load) -> None:
    items = function_identity(load(flow).task).items
    listed = [(item.name, item.kind) for item in items]
    assert listed[0] == ("task", "function")
    for expected in [
        ("helper", "function"),
        ("deeper", "function"),
        ("Config", "class"),
        ("Child", "class"),
        ("LIMIT", "constant"),
        ("TABLE", "constant"),
    ]:
        assert expected in listed


def test_the_function_mode_stops_at_the_body(flow: str, load: Load) -> None:
    def shallow(text: str) -> str:
        return function_identity(load(text).task, code="function").digest

    base = shallow(flow)
    for change in ("helper", "global constant", "method of a class"):
        assert shallow(flow.replace(*CHANGED[change], 1)) == base
    for change in ("body", "default", "keyword default"):
        assert shallow(flow.replace(*CHANGED[change], 1)) != base
