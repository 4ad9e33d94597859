"""From running code to its syntax tree."""

from __future__ import annotations

import ast
import gc
import linecache
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob.keys import function_identity, value_digest

Load = Callable[..., types.ModuleType]


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


def digest_of(function: object) -> str:
    return function_identity(function).digest


def test_the_name_of_the_module_does_not_count(flow: str, load: Load, tmp_path: Path) -> None:
    imported = load(flow, "plainly_named")
    invented = load(flow)
    assert digest(imported) == digest(invented)
    script = tmp_path / "main.py"
    script.write_text(
        f"{flow}\nfrom flowblob.keys import function_identity as i\nprint(i(task).digest)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == digest(imported)


def test_a_module_that_nobody_registered_gives_the_same_key(flow: str, load: Load) -> None:
    module = load(flow)
    expected = digest(module)
    other = load(flow)
    del sys.modules[other.__name__]
    assert digest(other) == expected
    config, same = module.Config(), other.Config()
    assert value_digest(config) == value_digest(same)


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


_parse = ast.parse


class _Parsing:
    """Garbage whose finalizer parses, as one that formats a traceback does, and leaves more."""

    left = 0

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        _parse("f(" * 5 + ")" * 5)
        if _Parsing.left:
            _Parsing.left -= 1
            _Parsing()

    @classmethod
    def stop(cls) -> None:
        cls.left = 0
        gc.collect()


def test_a_parse_inside_a_parse_does_no_harm(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"def f{i}(x): return [x + {i}, (x, {{x: {i}}})]" for i in range(200)]
    text = "\n".join(["def task(x): return x", *lines])
    expected = digest(load(text))
    module = load(text)
    parses = []

    def parse(*args: Any) -> ast.Module:
        parses.append(args)
        if len(parses) > 1:
            _Parsing.stop()
        return _parse(*args)

    monkeypatch.setattr("flowblob.keys.source.ast.parse", parse)
    before = gc.get_threshold()
    _Parsing.left = 1_000_000
    gc.set_threshold(5, 1, 1)
    try:
        _Parsing()
        assert digest(module) == expected
    finally:
        gc.set_threshold(*before)
        _Parsing.stop()
