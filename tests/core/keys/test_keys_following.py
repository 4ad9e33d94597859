"""How far a function is followed: helpers, wrappers, modules, imports, hosts."""

from __future__ import annotations

import functools
import importlib
import linecache
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from flowblob.keys import Recipe, function_identity

Load = Callable[..., types.ModuleType]


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


def digest_of(function: object) -> str:
    return function_identity(function).digest


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


def test_a_partial_and_a_method_are_their_function_and_what_is_bound(flow: str, load: Load) -> None:
    module = load(flow)
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


def test_the_summary_of_code_shows_which_helper_is_another_one(flow: str, load: Load) -> None:
    def summary(text: str) -> list[str]:
        key = Recipe(load(text).task).key((1,), {})
        assert len(key.ingredients[0].summary) <= 80
        return key.ingredients[0].summary.split(", ")

    one, other = summary(flow), summary(flow.replace("LIMIT = 3", "LIMIT = 4"))
    changed = [before for before, now in zip(one, other, strict=True) if before != now]
    assert len(changed) == 1
    assert changed[0].startswith("LIMIT ")
