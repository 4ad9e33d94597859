from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowblob import File
from flowblob.serializers.previews import LIMIT, describe


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {"type": "NoneType", "value": None}),
        (3, {"type": "int", "value": 3}),
        (float("nan"), {"type": "float", "value": "nan"}),
        ("text", {"type": "str", "length": 4, "value": "text"}),
        (b"abc", {"type": "bytes", "length": 3}),
        ((1, "a"), {"type": "tuple", "length": 2, "items": [1, "a"]}),
        ({"a": [1]}, {"type": "dict", "length": 1, "items": {"a": [1]}}),
        ({1: {2}}, {"type": "dict", "length": 1, "items": {"1": [2]}}),
        (File("a/b.csv"), {"type": "flowblob.files.File", "name": "b.csv"}),
    ],
    ids=repr,
)
def test_a_preview_says_what_it_is(value: Any, expected: dict[str, Any]) -> None:
    assert describe(value) == expected


def test_arrays_and_tables_show_shape_and_types() -> None:
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    assert describe(numpy.arange(6.0).reshape(2, 3)) == {
        "type": "numpy.ndarray",
        "shape": [2, 3],
        "dtype": "float64",
        "items": [0.0, 1.0, 2.0],
    }
    assert describe(numpy.float64(0.5))["value"] == 0.5
    assert describe([numpy.ones((2, 3)), numpy.array(1)])["items"] == [
        "numpy.ndarray 2 x 3 float64",
        "numpy.ndarray int64",
    ]
    assert describe(numpy.empty((0, 3)))["shape"] == [0, 3]
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert describe(frame) == {
        "type": "pandas.DataFrame",
        "shape": [2, 2],
        "columns": [["a", "int64"], ["b", str(frame.dtypes["b"])]],
    }
    assert describe(frame["a"]) == {
        "type": "pandas.Series",
        "shape": [2],
        "dtype": "int64",
        "name": "a",
    }


def test_values_of_fields_are_not_shown() -> None:
    class Connection:
        def __init__(self) -> None:
            self.password = "secret"

    assert "secret" not in json.dumps(describe(Connection()))
    assert describe(Connection())["fields"] == {"password": "str"}


class Hostile:
    __dict__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    def __len__(self) -> int:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__

    __hash__ = object.__hash__

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no")


def test_a_preview_never_fails() -> None:
    for value in (Hostile(), [Hostile()], {"a": Hostile()}, {Hostile()}):
        assert describe(value)["type"]


def test_a_large_value_costs_no_more_than_a_small_one() -> None:
    value = {
        "text": "x" * 50_000_000,
        "list": list(range(3_000_000)),
        "deep": [[[[1] * 1000] * 1000]],
    }
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    tracemalloc.start()
    sys.setprofile(count)
    try:
        told = describe(value)
    finally:
        sys.setprofile(None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(json.dumps(told)) <= LIMIT
    assert calls < 10_000
    assert peak < 1_000_000


def test_a_wide_value_is_capped() -> None:
    value = {f"{'k' * 200}{n}": ["v" * 1000] * 100 for n in range(100)}
    assert len(json.dumps(describe(value))) <= LIMIT
    assert describe(value)["length"] == 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner)
    ),
)


@given(JSON)
def test_every_preview_is_small_strict_json(value: Any) -> None:
    text = json.dumps(describe(value), allow_nan=False)
    assert len(text) <= LIMIT
    text.encode()


def test_a_path_is_a_name(tmp_path: Path) -> None:
    assert describe(tmp_path / "x")["name"] == "x"
