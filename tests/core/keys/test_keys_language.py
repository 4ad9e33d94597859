"""Every way in which Python code can read a name, and those that only look like it."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable

import pytest

from flowblob.keys import function_identity

Load = Callable[..., types.ModuleType]


def digest(module: types.ModuleType, name: str = "task") -> str:
    return function_identity(getattr(module, name)).digest


# Source, a piece of it, what takes its place: the key must change.
COUNTS: dict[str, tuple[str, str, str]] = {
    "a global declared so": (
        "K = 1\ndef task():\n    def inner():\n"
        "        global K\n        return K\n    return inner\n",
        "K = 1",
        "K = 2",
    ),
    "a global beside a local of an inner function": (
        "K = 1\ndef task():\n    def inner():\n"
        "        K = 5\n        return K\n    return K, inner\n",
        "K = 1",
        "K = 2",
    ),
    "a global in the first iterable of a comprehension": (
        "xs = [1]\ndef task(): return [xs for xs in xs]\n",
        "xs = [1]",
        "xs = [2]",
    ),
    "a global in the condition of a comprehension": (
        "K = 1\ndef task(): return {a: b for a, b in [] for c in a if c > K}\n",
        "K = 1",
        "K = 2",
    ),
    "a global that a class body reads before it binds it": (
        "K = 1\ndef task():\n    class A:\n        K = K\n    return A\n",
        "K = 1",
        "K = 2",
    ),
    "a default of an inner function": (
        "K = 1\ndef task():\n    def inner(x=K, *, y=K): return x\n    return inner\n",
        "K = 1",
        "K = 2",
    ),
    "a base of an inner class": (
        "class B: k = 1\ndef task():\n    class A(B, metaclass=type): pass\n    return A\n",
        "k = 1",
        "k = 2",
    ),
    "a decorator of an inner function": (
        "def d(f): return f\ndef task():\n    @d\n    def inner(): pass\n    return inner\n",
        "return f",
        "return None",
    ),
    "a guard of a match": (
        "K = 1\ndef task(x):\n    match x:\n        case [a, *b] if a > K: return b\n",
        "K = 1",
        "K = 2",
    ),
    "a pattern of a match": (
        "def task(x):\n    match x:\n        case {'a': 1, **kept}: return kept\n",
        "'a': 1",
        "'a': 2",
    ),
    "an exception that is caught": (
        "class E(Exception): k = 1\ndef task():\n    try: pass\n    except E as e: return e\n",
        "k = 1",
        "k = 2",
    ),
    "what a walrus reads": (
        "K = 1\ndef task(): return [y := K for x in 'ab'], y\n",
        "K = 1",
        "K = 2",
    ),
    "a constant inside of an f-string": (
        "K = 1\ndef task(x): return f'{x:>{K}} a' ' b'\n",
        "K = 1",
        "K = 2",
    ),
    "the text of an f-string": ("def task(x): return f'{x} a' ' b'\n", "' b'", "' c'"),
    "a generator of types.coroutine": (
        "import types\n@types.coroutine\ndef task(x): yield x\n",
        "@types.coroutine\n",
        "",
    ),
    "a static and a class method": (
        "class A:\n    @staticmethod\n    def f(): return 1\n    @classmethod\n"
        "    def g(cls): return 2\ndef task(): return A.f(), A.g()\n",
        "return 2",
        "return 3",
    ),
    "the setter of a property": (
        "class A:\n    @property\n    def f(self): return 1\n    @f.setter\n"
        "    def f(self, v): self.v = v\ndef task(): return A()\n",
        "self.v = v",
        "self.v = -v",
    ),
    "a default of a method": (
        "K = 1\nclass A:\n    def f(self, x=K): return x\ndef task(): return A().f()\n",
        "K = 1",
        "K = 2",
    ),
    "a cached property": (
        "import functools\nclass A:\n    @functools.cached_property\n    def f(self): return 1\n"
        "def task(): return A().f\n",
        "return 1",
        "return 2",
    ),
    "a dunder method": (
        "class A:\n    def __call__(self): return 1\ndef task(): return A()()\n",
        "return 1",
        "return 2",
    ),
    "a nested class": (
        "class A:\n    class B:\n        k = 1\ndef task(): return A.B.k\n",
        "k = 1",
        "k = 2",
    ),
    "the function that a class borrows": (
        "def f(self): return 1\nclass A:\n    g = f\ndef task(): return A().g()\n",
        "return 1",
        "return 2",
    ),
    "a metaclass": (
        "class M(type):\n    def f(cls): return 1\nclass A(metaclass=M): pass\n"
        "def task(): return A.f()\n",
        "return 1",
        "return 2",
    ),
    "a method that a closure made": (
        "def make(n):\n    class A:\n        def f(self): return n\n    return A\nA = make(1)\n"
        "def task(): return A().f()\n",
        "make(1)",
        "make(2)",
    ),
    "a method that calls super": (
        "class B:\n    def f(self): return 1\nclass A(B):\n    def f(self): return super().f()\n"
        "def task(): return A().f()\n",
        "return 1",
        "return 2",
    ),
    "a field that only its annotation declares": (
        "class I: k = 1\nclass A:\n    x: I\ndef task(): return A\n",
        "k = 1",
        "k = 2",
    ),
    "a member of an enum": (
        "import enum\nclass A(enum.Enum):\n    X = 1\ndef task(): return A.X\n",
        "X = 1",
        "X = 2",
    ),
    "a default of a named tuple": (
        "from typing import NamedTuple\n"
        "class A(NamedTuple):\n    x: int = 1\ndef task(): return A()\n",
        "int = 1",
        "int = 2",
    ),
    "a named tuple made by a call": (
        "import collections\nA = collections.namedtuple('A', 'x y')\ndef task(): return A(1, 2)\n",
        "x y",
        "y x",
    ),
    "a bound method": (
        "class A:\n    def __init__(self, n): self.n = n\n    def f(self): return self.n\n"
        "f = A(1).f\ndef task(): return f()\n",
        "A(1)",
        "A(2)",
    ),
    "an object that can be called": (
        "class A:\n    def __init__(self, n): self.n = n\n    def __call__(self): return self.n\n"
        "f = A(1)\ndef task(): return f()\n",
        "A(1)",
        "A(2)",
    ),
    "a member of a list of classes": (
        "class A: k = 1\nKINDS = [A, int]\ndef task(): return KINDS\n",
        "k = 1",
        "k = 2",
    ),
    "an alias of a type": (
        "class A: k = 1\nMany = list[A]\ndef task(): return Many\n",
        "k = 1",
        "k = 2",
    ),
    "a function in a partial of a library": (
        "import functools\ndef f(x): return x + 1\ntask = functools.partial(map, f)\n",
        "x + 1",
        "x + 2",
    ),
}


@pytest.mark.parametrize("case", COUNTS)
def test_it_counts(load: Load, case: str) -> None:
    text, old, new = COUNTS[case]
    assert old in text
    assert digest(load(text)) == digest(load(text))
    assert digest(load(text)) != digest(load(text.replace(old, new, 1)))


@pytest.mark.parametrize("case", COUNTS)
def test_it_brings_no_warning(load: Load, case: str) -> None:
    assert function_identity(load(COUNTS[case][0]).task).warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        "K = 1\ndef task(K): return K\n",
        "K = 1\ndef task():\n    K = 2\n    return K\n",
        "K = 1\ndef task(): return [K for K in 'ab']\n",
        "K = 1\ndef task(): return lambda K, *, L=2: K\n",
        "K = 1\ndef task():\n    import json as K\n    return K\n",
        "K = 1\ndef task():\n    for K in 'ab': pass\n    with open(K) as K: pass\n    return K\n",
        "K = 1\ndef task():\n    try: pass\n    except ValueError as K: return K\n",
        "K = 1\ndef task(x):\n    match x:\n        case [K, *_]: return K\n",
        "K = 1\ndef task():\n    K = 5\n"
        "    def inner():\n        nonlocal K\n        K = 6\n        return K\n",
        "K = 1\ndef task(x: K, *, y: 'K' = 1) -> K:\n    z: K = 1\n    return x.K, y, z\n",
    ],
)
def test_a_global_that_only_shares_its_name_does_not_count(load: Load, text: str) -> None:
    assert digest(load(text)) == digest(load(text.replace("K = 1", "K = 2", 1)))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of Python 3.12")
def test_parameters_of_types_are_names_of_the_function(load: Load) -> None:
    text = "T = 1\ndef task[T](x: T) -> list[T]:\n    class A[U]:\n        u: U\n    return T, A\n"
    assert function_identity(load(text).task).warnings == ()
    assert digest(load(text)) == digest(load(text.replace("T = 1", "T = 2", 1)))
