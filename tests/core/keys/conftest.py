"""Modules of a user, made of text."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# pytest runs in importlib mode, which puts no folder of tests on the path.
sys.path.insert(0, str(Path(__file__).parent))

Load = Callable[..., types.ModuleType]

FLOW = """
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


@pytest.fixture
def flow() -> str:
    """Source of a module whose `task` reaches helpers, classes and constants."""
    return FLOW


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Import source text as a module of the user, under a new name and file each time."""
    # Bytecode is matched by size and whole seconds: a rewritten file would run its old code.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
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
