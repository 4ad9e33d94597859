"""Bound functions, functions of C, and what code takes from a module without naming it."""

from __future__ import annotations

import importlib
import linecache
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from flowblob.errors import InvalidInputError
from flowblob.keys import function_identity, value_digest

Load = Callable[..., types.ModuleType]


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


def test_a_bound_builtin_counts_with_what_it_is_bound_to(load: Load) -> None:
    for one, other in (
        ("','.join", "'|'.join"),
        ("{'a': 1}.get", "{'a': 2}.get"),
        ("re.compile('a').sub", "re.compile('b').sub"),
        ("{}.setdefault", "{'a': 1}.setdefault"),
    ):
        text = "import re\nuse = {}\ndef task(*x): return use(*x)\n"
        assert digest(load(text.format(one))) == digest(load(text.format(one)))
        assert digest(load(text.format(one))) != digest(load(text.format(other)))


def test_what_a_module_says_of_itself_counts_but_not_where_it_lies(load: Load) -> None:
    text = '__version__ = "{}"\ndef task(): return __version__, __name__, __file__, __builtins__\n'
    assert digest(load(text.format(1))) == digest(load(text.format(1)))
    assert digest(load(text.format(1))) != digest(load(text.format(2)))
    warned = function_identity(load(text.format(1)).task).warnings
    assert warned == ("Its code reads __file__: where it lies and what lies there do not count",)


def test_a_docstring_counts_where_it_is_read(load: Load) -> None:
    text = """
    def helper():
        "Say {}"

    class Model:
        "Say {}"

    def task(): return {}.__doc__

    def other(): return helper(), Model()
    """
    for name in ("helper", "Model", "task"):
        one, same, new = (load(text.format(word, word, name)) for word in ("a", "a", "b"))
        assert digest(one, "other") == digest(new, "other")
        assert digest(one) == digest(same)
        assert (digest(one) == digest(new)) is (name == "task")  # it has none


def test_a_bound_builtin_that_only_fills_a_list_does_not_count_what_is_in_there(load: Load) -> None:
    module = load("calls = []\nnote = calls.append\ndef task(x): note(x); return x\n")
    before = digest(module)
    module.calls.append(1)
    assert digest(module) == before


def test_what_a_library_offers_as_a_function_counts_by_name(load: Load) -> None:
    module = load(
        "from random import choice, random\ndef task(x): return choice(x), random()\n"
        "def other(x): return random(), choice(x)\n"
    )
    before = digest(module)
    importlib.import_module("random").random()
    assert digest(module) == before
    own = "import random\nchoice = random.Random({}).choice\ndef task(x): return choice(x)\n"
    assert digest(load(own.format(1))) != digest(load(own.format(2)))


def test_functions_of_cython_count_by_name(load: Load) -> None:
    random = pytest.importorskip("numpy.random")
    text = "from numpy.random import {} as draw\ndef task(x): return draw(x)\n"
    module = load(text.format("rand"))
    before = digest(module)
    random.rand()
    assert digest(module) == before
    assert digest(load(text.format("randn"))) != before
    assert function_identity(module.task).warnings == ()


def test_a_module_that_makes_its_attributes_counts_by_how_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Load
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    digests = []
    for value in ("1", "2", "1"):
        (tmp_path / "making.py").write_text(f"def __getattr__(name): return {value}\n")
        importlib.invalidate_caches()
        sys.modules.pop("making", None)
        linecache.clearcache()
        digests.append(digest(load("import making\ndef task(): return making.SIZE\n")))
    sys.modules.pop("making", None)
    assert digests[0] == digests[2] != digests[1]


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """Write and import the module `helpers` anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "helpers", raising=False)
    # Bytecode of a text as long, written within the same second, would be taken for this one's.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str) -> types.ModuleType:
        (tmp_path / "helpers.py").write_text(text)
        importlib.invalidate_caches()
        sys.modules.pop("helpers", None)
        linecache.clearcache()
        return importlib.import_module("helpers")

    return write


HELPERS = """
import os
LIMITS = [{0}]
def clean(x): return deeper(x)
def deeper(x): return x + {1}
"""


@pytest.mark.parametrize(
    "text",
    [
        "import helpers\ndef task(x):\n    tools = helpers\n    return tools.clean(x)",
        "import helpers\ndef use(to, x): return to.clean(x)\ndef task(x): return use(helpers, x)",
        "import helpers\nTOOLS = [helpers]\ndef task(x): return TOOLS[0].clean(x)",
        "import helpers\ndef task(x, tools=helpers): return tools.clean(x)",
        "import helpers\ndef task(x): return getattr(helpers, 'clean')(x)",
    ],
)
def test_a_module_that_is_handed_about_counts_with_all_that_is_in_it(
    helpers: Callable[[str], types.ModuleType], load: Load, text: str
) -> None:
    digests = []
    for limit, step in ((1, 1), (1, 1), (2, 1), (1, 2)):
        module = helpers(HELPERS.format(limit, step))
        digests.append(digest(load(text)))
        module.LIMITS.append(3)
        assert digest(load(text)) != digests[-1]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_module_as_an_argument_counts_with_all_that_is_in_it(
    helpers: Callable[[str], types.ModuleType],
) -> None:
    digests = [value_digest(helpers(HELPERS.format(*by))) for by in ((1, 1), (1, 1), (1, 2))]
    assert digests[0] == digests[1] != digests[2]
    assert value_digest(sys) == value_digest(sys)


def test_modules_that_import_each_other_end(
    helpers: Callable[[str], types.ModuleType], load: Load
) -> None:
    text = "import helpers, sys\ndef task(x): return [helpers, x]"
    helpers("import helpers\nME = helpers\ndef clean(x): return helpers")
    one = digest(load(text))
    helpers("import helpers\nME = helpers\ndef clean(x): return helpers, 1")
    assert digest(load(text)) != one


def test_a_ufunc_of_ones_own_has_no_identity(load: Load) -> None:
    numpy = pytest.importorskip("numpy")
    assert value_digest(numpy.add) != value_digest(numpy.multiply)
    own = numpy.frompyfunc(lambda x: x + 1, 1, 1)
    with pytest.raises(InvalidInputError, match="made from a function that it does not show"):
        value_digest(own)
    module = load("def task(x): return own(x)")
    module.own = own
    assert "own (numpy.ufunc) counts by its name" in function_identity(module.task).warnings[0]
