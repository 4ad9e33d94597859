from __future__ import annotations

import collections
import datetime
import enum
import importlib.metadata
import subprocess
import sys
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import serializers
from flowblob.abc import Serializer
from flowblob.errors import InvalidInputError, SerializationError


class Colour(enum.IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


EXACT = [
    (b"raw", "bytes"),
    (b"", "bytes"),
    (bytearray(b"raw"), "bytearray"),
    (memoryview(b"raw"), "memoryview"),
    ("text", "text"),
    ("", "text"),
    ("grün 🌱\r\n", "text"),
    ("\ud800", "pickle5"),
    (None, "json"),
    (True, "json"),
    (1, "json"),
    (-0.0, "json"),
    ([1, [2.5, None], {"a": "b"}], "json"),
    ({}, "json"),
    ((1, 2), "json-typed"),
    ({1: 2}, "json-typed"),
    (float("nan"), "json-typed"),
    (10**700, "json-typed"),
    (10**5000, "json-typed"),
    ({"$flowblob": "tuple", "v": [1]}, "json-typed"),
    (1j, "pickle5"),
    (Colour.RED, "pickle5"),
    ([Colour.RED], "pickle5"),
    (Word("x"), "pickle5"),
    ({Word("x"): 1}, "pickle5"),
    (Point(1, 2), "pickle5"),
    (collections.OrderedDict(a=1), "pickle5"),
    (collections.defaultdict(list, a=[1]), "pickle5"),
    ([collections.Counter("aab")], "pickle5"),
    (range(3), "pickle5"),
    (Ellipsis, "pickle5"),
]


@pytest.mark.parametrize(
    ("value", "expected"),
    EXACT,
    ids=[f"{n}-{type(pair[0]).__name__}" for n, pair in enumerate(EXACT)],
)
def test_each_type_takes_its_format_and_comes_back_as_it_is(
    value: Any, expected: str, there_and_back: Any, same: Any
) -> None:
    chosen, found = there_and_back(value)
    assert chosen == expected
    assert same(value, found)


LEAVES = st.sampled_from(
    [
        True,
        1,
        1.0,
        -0.0,
        Colour.RED,
        Word("w"),
        "w",
        b"w",
        bytearray(b"w"),
        Point(1, 2),
        collections.OrderedDict(b=1, a=2),
        collections.defaultdict(list, a=[1]),
        collections.deque([1], maxlen=3),
        1j,
        None,
        (),
        frozenset(),
        datetime.date(2020, 1, 1),
    ]
)
MIXED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["a", "b", 1, Word("c")]), inner, max_size=3)
        | st.lists(inner, max_size=3).map(collections.deque)
        | st.tuples(inner, inner).map(Point._make)
    ),
    max_leaves=12,
)


def picture(value: Any) -> str:
    """Say exactly what a value is: types, order, keys; by repr of leaves only."""
    parts = [type(value).__qualname__]
    if isinstance(value, dict):
        parts += [f"{picture(key)}:{picture(item)}" for key, item in value.items()]
        parts.append(repr(getattr(value, "default_factory", "")))
    elif isinstance(value, list | tuple | collections.deque):
        parts += [picture(item) for item in value]
        parts.append(str(getattr(value, "maxlen", "")))
    else:
        parts.append(repr(value))
    return "(" + " ".join(parts) + ")"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=MIXED)
def test_nothing_inside_a_value_is_flattened(value: Any, there_and_back: Any) -> None:
    assert picture(there_and_back(value)[1]) == picture(value)


def test_choosing_imports_no_library() -> None:
    script = (
        "import sys; from flowblob import serializers;"
        "[serializers.for_value(v) for v in (b'', 'x', 1, [1], (1,), {1: {2}}, object(), ...)];"
        "libraries = {'numpy', 'pandas', 'polars', 'pyarrow', 'torch', 'cloudpickle'};"
        "print([*libraries & {*sys.modules}])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_an_id_that_nobody_registers_is_named_with_a_way_out() -> None:
    with pytest.raises(SerializationError, match="'zebra', which is not installed") as caught:
        serializers.by_id("zebra")
    assert "flowblob.serializers" in str(caught.value)


def test_a_name_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidInputError, match=r"json-typed.*pickle5"):
        serializers.by_name("yaml")
    with pytest.raises(InvalidInputError, match="by name, not by type"):
        serializers.by_name(dict)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("alias", "id_"), [("pickle", "pickle5"), ("str", "text"), ("numpy", "npy"), ("json", "json")]
)
def test_names_and_aliases_find_their_format(alias: str, id_: str) -> None:
    assert serializers.by_name(alias).id == id_


def test_every_id_has_one_serializer_that_says_so() -> None:
    found = [serializers.by_id(name) for name in serializers.names()]
    assert [serializer.id for serializer in found] == serializers.names()
    assert all("/" in serializer.media_type for serializer in found)
    assert [serializer.id for serializer in found if serializer.is_pickle] == ["opaque", "pickle5"]


@pytest.mark.parametrize("name", [name for name in serializers.names() if name != "pickle5"])
def test_a_format_refuses_what_it_would_flatten(name: str, dump: Any) -> None:
    with pytest.raises(SerializationError, match=f"{name!r} cannot give back this"):
        dump(Point(1, 2), serializers.by_name(name))


class Reversed(Serializer):
    id: ClassVar[str] = "reversed"
    media_type: ClassVar[str] = "text/x-reversed"

    def accepts(self, value: Any) -> bool:
        return type(value) is Word

    def dump(self, value: Any, writer: Any) -> None:
        writer.write(value[::-1].encode())

    def load(self, reader: Any) -> Any:
        return Word(str(reader.view(), "utf-8")[::-1])


class _Point:
    def __init__(self, name: str, loaded: Any) -> None:
        self.name = name
        self.value = f"somewhere:{name}"
        self._loaded = loaded

    def load(self) -> Any:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Any:
    def register(*points: _Point) -> None:
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: list(points))
        serializers._plugins.cache_clear()
        serializers.by_id.cache_clear()

    yield register
    monkeypatch.undo()
    serializers._plugins.cache_clear()
    serializers.by_id.cache_clear()


def test_another_distribution_registers_a_format(registered: Any, there_and_back: Any) -> None:
    registered(_Point("reversed", Reversed))
    assert there_and_back(Word("abc")) == ("reversed", Word("abc"))
    assert "reversed" in serializers.names()


def test_a_broken_plugin_costs_only_itself(
    registered: Any, there_and_back: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Thief(Reversed):
        id = "pickle5"

    registered(
        _Point("broken", ImportError("no libfoo")),
        _Point("thief", Thief),
        _Point("number", 3),
        _Point("reversed", Reversed()),
    )
    assert there_and_back(Word("abc"))[0] == "reversed"
    assert there_and_back(1j) == ("pickle5", 1j)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split()[2] for message in messages] == ["broken", "thief", "number"]


def test_a_missing_library_is_named_with_its_extra(
    dump: Any, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow = pytest.importorskip("pyarrow")
    written = dump(arrow.table({"a": [1]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'flowblob\[tables\]'"):
        serializers.by_id("arrow").load(reader(written.data))
