"""Which changes of code are another key, and which are none."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import linecache
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowblob.keys import Recipe, function_identity, value_digest

Load = Callable[..., types.ModuleType]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Import source text as a module of the user, under a new name and file each time."""
    counter = itertools.count()
    before = set(sys.modules)

    def load(text: str, name: str = "", folder: str = "") -> types.ModuleType:
        place = tmp_path / (folder or f"case{next(counter)}")
        place.mkdir(exist_ok=True)
        file = place / f"{name or 'flow'}.py"
        file.write_text(textwrap.dedent(text))
        module_name = name or f"invented_{place.name}"
        spec = importlib.util.spec_from_file_location(module_name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        del sys.modules[name]


BASE = """
import math
from dataclasses import dataclass

LIMIT = 3
TABLE = {"a": 1}

@dataclass
class Config:
    rate: float = 0.1

    def double(self):
        return self.rate * 2

class Child(Config):
    kind = "child"

def helper(x, by=2):
    return math.floor(x) * by + deeper(x)

def deeper(x):
    return x - 1

def task(a, b=1, *, c=(1, 2)):
    total = helper(a) + LIMIT
    for item in c:
        total += item * Config().double() + TABLE["a"]
    return [total, Child.kind, b, lambda y: y + LIMIT]
"""

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


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_the_meaning_keeps_the_key(load: Load, change: str) -> None:
    old, new = SAME[change]
    assert old in BASE
    assert digest(load(BASE)) == digest(load(BASE.replace(old, new, 1)))


@pytest.mark.parametrize("change", CHANGED)
def test_what_changes_the_meaning_changes_the_key(load: Load, change: str) -> None:
    old, new = CHANGED[change]
    assert old in BASE
    assert digest(load(BASE)) != digest(load(BASE.replace(old, new, 1)))


def test_all_changes_give_keys_of_their_own(load: Load) -> None:
    found = {digest(load(BASE.replace(old, new, 1))) for old, new in CHANGED.values()}
    assert len(found) == len(CHANGED)


def test_ordinary_code_brings_no_warnings(load: Load) -> None:
    assert function_identity(load(BASE).task).warnings == ()


def test_what_was_followed_is_listed(load: Load) -> None:
    items = function_identity(load(BASE).task).items
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


def test_the_function_mode_stops_at_the_body(load: Load) -> None:
    def shallow(text: str) -> str:
        return function_identity(load(text).task, code="function").digest

    base = shallow(BASE)
    for change in ("helper", "global constant", "method of a class"):
        assert shallow(BASE.replace(*CHANGED[change], 1)) == base
    for change in ("body", "default", "keyword default"):
        assert shallow(BASE.replace(*CHANGED[change], 1)) != base


def test_the_name_of_the_module_does_not_count(load: Load, tmp_path: Path) -> None:
    imported = load(BASE, "plainly_named")
    invented = load(BASE)
    assert digest(imported) == digest(invented)
    script = tmp_path / "main.py"
    script.write_text(
        f"{BASE}\nfrom flowblob.keys import function_identity as i\nprint(i(task).digest)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == digest(imported)


def test_a_module_that_nobody_registered_gives_the_same_key(load: Load) -> None:
    module = load(BASE)
    expected = digest(module)
    other = load(BASE)
    del sys.modules[other.__name__]
    assert digest(other) == expected
    config, same = module.Config(), other.Config()
    assert value_digest(config) == value_digest(same)


def test_two_functions_made_by_one_factory_differ_by_their_closure(load: Load) -> None:
    module = load(
        """
        def make(n, fn=None):
            def inner(x):
                return x + n if fn is None else fn(x)
            return inner
        """
    )
    make = module.make
    assert digest_of(make(1)) == digest_of(make(1))
    assert len({digest_of(make(1)), digest_of(make(2)), digest_of(make(True))}) == 3
    assert digest_of(make(1, len)) != digest_of(make(1, max))
    assert digest_of(make(1, make(2))) != digest_of(make(1, make(3)))


def digest_of(function: object) -> str:
    return function_identity(function).digest


def test_lambdas_on_one_line_are_told_apart(load: Load) -> None:
    module = load(
        """
        pair = [lambda x: x + 1, lambda x: x + 2]
        nested = lambda: lambda: 3
        constant = [lambda: 1, lambda: "1", lambda: (1, 2), lambda: None]
        spread = (lambda x:
            x + 4, lambda x: (x,
            5))
        """
    )
    found = [*module.pair, *module.constant, module.nested, module.nested(), *module.spread]
    assert len({digest_of(item) for item in found}) == len(found)
    assert all(function_identity(item).warnings == () for item in found)


def test_mutual_recursion_ends(load: Load) -> None:
    text = """
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)
    """
    one, other = load(text), load(text.replace("n != 0", "n > 0"))
    assert digest(one, "even") == digest(load(text), "even")
    assert digest(one, "even") != digest(other, "even")
    assert digest(one, "even") != digest(one, "odd")


def test_a_registry_that_holds_the_function_itself_ends(load: Load) -> None:
    text = """
    def task(n):
        return STEPS[0](n) if n else other(n)

    def other(n):
        return STEPS[1](n) + 1

    STEPS = [task, other]
    """
    module = load(text)
    recipe = Recipe(module.task)
    assert recipe.key((1,), {}) == recipe.key((1,), {})
    assert digest(module) == digest(load(text))
    assert digest(module) != digest(load(text.replace("+ 1", "+ 2")))


def test_functions_in_containers_are_followed(load: Load) -> None:
    text = """
    from functools import partial

    def clean(x, by): return x + by

    STEPS = {"clean": [partial(clean, by=1)]}

    def task(x): return STEPS["clean"][0](x)
    """
    base = digest(load(text))
    assert base == digest(load(text))
    assert base != digest(load(text.replace("x + by", "x - by")))
    assert base != digest(load(text.replace("by=1", "by=2")))


def test_wrappers_are_followed_to_the_function_inside(load: Load) -> None:
    text = """
    import functools

    def log(fn):
        @functools.wraps(fn)
        def inner(*args):
            return fn(*args)
        return inner

    @log
    def logged(x): return x + 1

    @functools.lru_cache
    def kept(x): return x + 2

    def task(x): return logged(x) + kept(x)
    """
    base = digest(load(text))
    assert base == digest(load(text))
    for old, new in [("x + 1", "x + 9"), ("x + 2", "x + 9"), ("return fn(", "return 2 * fn(")]:
        assert base != digest(load(text.replace(old, new)))


def test_modules_of_the_user_are_followed_by_what_is_read_from_them(load: Load) -> None:
    text = "def clean(x): return x + K\nK = 1\nUNUSED = 1\n"
    flow = "import user_helpers\ndef task(x): return user_helpers.clean(x)\n"

    def with_helpers(helpers: str, flow: str = flow) -> str:
        load(helpers, "user_helpers", "place")
        linecache.clearcache()
        return digest(load(flow))

    base = with_helpers(text)
    assert with_helpers(text.replace("x + K", "x - K")) != base
    assert with_helpers(text.replace("K = 1", "K = 2")) != base
    assert with_helpers(text.replace("UNUSED = 1", "UNUSED = 2")) == base
    named = "from user_helpers import clean as c\ndef task(x): return c(x)\n"
    assert with_helpers(text, named) != with_helpers(text.replace("K = 1", "K = 2"), named)


@pytest.mark.parametrize(
    "statement",
    [
        "import late_helpers",
        "from late_helpers import clean",
        "import late_helpers as h",
        "from late_helpers import clean as c",
    ],
)
def test_imports_inside_of_a_function_are_followed(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = statement.rsplit(maxsplit=1)[-1]
    call = f"{name}.clean(x)" if "helpers" in name or name == "h" else f"{name}(x)"
    flow = f"def task(x):\n    {statement}\n    return {call}\n"
    found = []
    for body in ("x + 1", "x + 1", "x + 2"):
        (tmp_path / "late_helpers.py").write_text(f"def clean(x): return {body}\n")
        stamp = len(found) * 10 + 1_000_000_000  # a rewritten file must not meet its old bytecode
        os.utime(tmp_path / "late_helpers.py", (stamp, stamp))
        sys.modules.pop("late_helpers", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        found.append(digest(load(flow)))  # here nobody has imported it before
        assert digest(load(flow)) == found[-1]  # and here somebody has
    assert found[0] == found[1] != found[2]


def test_a_library_imported_inside_of_a_function_is_not_loaded(load: Load) -> None:
    flow = load("def task(x):\n    import antigravity\n    from this import s\n    return x\n")
    assert function_identity(flow.task).warnings == ()
    assert "this" not in sys.modules
    assert "antigravity" not in sys.modules


def test_an_import_that_fails_is_a_warning(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_helpers.py").write_text("1 / 0\n")
    flow = load("def task(x):\n    import broken_helpers\n    return broken_helpers.f(x)\n")
    assert "broken_helpers cannot be imported" in function_identity(flow.task).warnings[0]


# ------------------------------------------------------------------ changes while running


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


# ------------------------------------------------------------------ sources


def test_an_edited_file_never_names_the_code_that_is_running(load: Load) -> None:
    old = "def task(x):\n    return x + 1\n"
    new = old.replace("+ 1", "+ 2")
    running = load(old)
    Path(str(running.__file__)).write_text(new)
    linecache.clearcache()
    found = function_identity(running.task)
    assert found.digest != digest(load(new))
    assert "is not the code that runs" in found.warnings[0]


def test_lines_added_above_after_the_import_are_no_obstacle(load: Load) -> None:
    text = "def task(x):\n    return x + 1\n"
    running = load(text)
    expected = digest(load(text))
    Path(str(running.__file__)).write_text("import os\n\n\n" + text)
    linecache.clearcache()
    found = function_identity(running.task)
    assert found.digest == expected
    assert found.warnings == ()


def test_a_function_without_source_counts_by_its_bytecode() -> None:
    def made(body: str) -> Any:
        names: dict[str, Any] = {"LIMIT": 1}
        exec(f"def task(x): return {body}", names)
        return names["task"]

    found = function_identity(made("x + LIMIT"))
    assert "has no source here" in found.warnings[0]
    assert digest_of(made("x + LIMIT")) == found.digest
    assert digest_of(made("x - LIMIT")) != found.digest
    assert digest_of(made("x + 1")) != digest_of(made("x + 2"))
    assert digest_of(made("x in {'b', 'a'}")) == digest_of(made("x in {'a', 'b'}"))
    other = made("x + LIMIT")
    other.__globals__["LIMIT"] = 2
    assert digest_of(other) != found.digest


def test_source_in_a_notebook_is_found_like_any_other() -> None:
    def cell(text: str, number: int) -> Any:
        name = f"<ipython-input-{number}>"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, name, "exec"), names)
        return names["task"]

    one = function_identity(cell("def task(x):\n    return x + 1\n", 1))
    again = function_identity(cell("# again\ndef task(x):\n    return (x + 1)\n", 2))
    assert one.digest == again.digest
    assert one.warnings == ()


def test_a_function_used_a_thousand_times_still_matches_its_source(load: Load) -> None:
    text = "def task(x):\n    return sum(i * x for i in range(3)) + len(str(x))\n"
    module = load(text)
    for _ in range(5000):  # the interpreter rewrites hot bytecode in place
        module.task(1)
    assert function_identity(module.task).warnings == ()
    assert digest(module) == digest(load(text))


def test_classes_of_one_name_are_told_apart_by_where_they_stand(load: Load) -> None:
    text = """
    import sys
    if {flag}:
        class Config:
            def rate(self): return 1
    else:
        class Config:
            def rate(self): return 2
    def task(): return Config().rate()
    """
    one, other = load(text.format(flag="True")), load(text.format(flag="False"))
    assert digest(one) != digest(other)


# ------------------------------------------------------------------ what counts by name


def test_an_instance_without_identity_counts_by_name_with_a_warning(load: Load) -> None:
    module = load(
        """
        import logging, threading
        import socketserver
        logger = logging.getLogger(__name__)
        lock = threading.Lock()
        MISSING = object()
        stream = (item for item in "ab")
        def task(x):
            logger.info("x")
            with lock:
                return next(stream), MISSING
        """
    )
    found = function_identity(module.task)
    assert {"logger", "lock", "MISSING", "stream"} <= set(found.by_name)
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("stream (builtins.generator) counts by its name alone")


def test_libraries_count_by_name(load: Load) -> None:
    module = load(
        "import json\nfrom json import dumps\ndef task(x): return dumps(x), json.loads(x)\n"
    )
    found = function_identity(module.task)
    assert "json.dumps" in found.by_name
    assert [item.name for item in found.items] == ["task"]


def test_versions_of_packages_count_if_asked(load: Load) -> None:
    module = load("def task(x): return x\n")
    plain = function_identity(module.task)
    assert function_identity(module.task, packages=["pytest"]).digest != plain.digest
    with pytest.raises(ValueError, match="not installed"):
        function_identity(module.task, packages=["no-such-distribution"])


def test_a_path_in_code_counts_as_text(load: Load, tmp_path: Path) -> None:
    text = "from pathlib import Path\nROOT = Path({!r})\ndef task(): return ROOT\n"
    one = load(text.format(str(tmp_path)))
    before = digest(one)
    (tmp_path / "new.txt").write_text("new")
    assert digest(load(text.format(str(tmp_path)))) == before
    assert digest(load(text.format(str(tmp_path / "x")))) != before


def test_where_the_module_lies_does_not_count(load: Load) -> None:
    text = "import os\ndef task(): return os.path.dirname(__file__), __name__\n"
    assert digest(load(text)) == digest(load(text))


def test_a_partial_and_a_method_are_their_function_and_what_is_bound(load: Load) -> None:
    module = load(BASE)
    partial = functools.partial(module.helper, by=3)
    assert digest_of(partial) == digest_of(functools.partial(module.helper, by=3))
    assert digest_of(partial) != digest_of(functools.partial(module.helper, by=4))
    assert digest_of(module.Config(1).double) != digest_of(module.Config(2).double)
    assert digest_of(module.Config(1).double) == digest_of(module.Config(1).double)


def test_a_cyclic_class_graph_ends(load: Load) -> None:
    text = """
    class Node:
        kinds: list = []
        def parent(self): return Tree()
    class Tree:
        root = Node()
        def node(self): return Node().parent()
    Node.kinds.append(Tree)
    Node.best = Node()
    def task(): return Tree().node()
    """
    one = load(text)
    assert digest(one) == digest(load(text))
    assert digest(one) != digest(load(text.replace("Node().parent()", "Node().parent")))
    recipe = Recipe(one.task)
    assert recipe.key((), {}) == recipe.key((), {})


def test_what_is_registered_for_single_dispatch_counts(load: Load) -> None:
    text = """
    import functools

    @functools.singledispatch
    def show(x): return "?"

    @show.register
    def _(x: int): return "int"

    def task(x): return show(x)
    """
    module = load(text)
    recipe = Recipe(module.task)
    before = recipe.key((1,), {}).digest
    assert module.task(1) == "int"
    assert recipe.key((1,), {}).digest == before  # using it is no change
    assert digest(load(text)) == digest(module)
    assert digest(load(text.replace('"int"', '"number"'))) != digest(module)
    module.show.register(str, lambda x: "text")
    assert recipe.key((1,), {}).digest != before


def test_a_constant_kept_on_a_function_counts_where_it_is_read(load: Load) -> None:
    text = "def helper(x): return x\nhelper.k = 1\nhelper.calls = 0\ndef task(x): return helper.k\n"
    module = load(text)
    recipe = Recipe(module.task)
    before = recipe.key((1,), {}).digest
    module.helper.calls = 1
    assert recipe.key((1,), {}).digest == before
    module.helper.k = 2
    assert recipe.key((1,), {}).digest != before


def test_wrappers_around_wrappers_are_followed(load: Load) -> None:
    text = """
    import functools

    @functools.lru_cache
    @functools.cache
    def helper(x): return x + 1

    def task(x): return helper(x)
    """
    assert digest(load(text)) == digest(load(text))
    assert digest(load(text)) != digest(load(text.replace("x + 1", "x + 2")))


def test_our_own_decorator_on_a_helper_is_transparent(load: Load) -> None:
    text = "{}def helper(x): return x + 1\ndef task(x): return helper(x)\n"
    cached = "from flowblob import cached\n@cached(ttl='7d')\n"
    assert digest(load(text.format(""))) == digest(load(text.format(cached)))


def test_a_host_object_is_the_function_it_holds(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = types.ModuleType("prefect")
    exec("class Task:\n    def __init__(self, fn): self.fn = fn", vars(host))
    monkeypatch.setitem(sys.modules, "prefect", host)
    monkeypatch.setattr(vars(host)["Task"], "__module__", "prefect.tasks")
    text = "{}def helper(x): return x + 1\nhelper = {}\ndef task(x): return helper(x)\n"
    plain = load(text.format("", "helper"))
    hosted = load(text.format("from prefect import Task\n", "Task(helper)"))
    assert digest(plain) == digest(hosted)
