"""What makes two values one, and what keeps them apart."""

from __future__ import annotations

import array
import collections
import copy
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import re
import struct
import types
import uuid
import zoneinfo
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import Color, Config, Keyed, Plain, Slotted

from flowblob.keys import value_digest
from flowblob.keys.canonical import Hashing, _Exact
from flowblob.model import Ref


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Words(list[str]):
    pass


class Table(dict[str, int]):
    pass


class Point(NamedTuple):
    x: int
    y: int


class Spot(NamedTuple):
    x: int
    y: int


class Shade(enum.IntEnum):
    RED = 1


NAN = float("nan")

DIFFERENT: list[Any] = [
    None,
    False,
    True,
    0,
    1,
    2,
    -1,
    1 << 31,
    1 << 200,
    0.0,
    -0.0,
    1.0,
    NAN,
    float("inf"),
    0j,
    1 + 0j,
    "",
    "1",
    "a",
    "1.0",
    "é",
    "e\u0301",
    "\ud800",
    b"",
    b"1",
    b"a",
    bytearray(b"a"),
    memoryview(b"a"),
    (),
    (1,),
    (True,),
    (1.0,),
    [],
    [1],
    ["1"],
    [[1]],
    [(1,)],
    [1, [2]],
    [[1], 2],
    [[1, 2]],
    {},
    {1: 2},
    {"1": 2},
    {True: 2},
    {1.0: 2},
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    set(),
    {1},
    {True},
    {1.0},
    {"1"},
    {1, 2},
    {1, "2"},
    {(1, 2)},
    frozenset(),
    frozenset({1}),
    {frozenset({1})},
    frozenset({frozenset({1})}),
    [{1}],
    [{2}],
    [frozenset({1})],
    {"a": {1}},
    {"a": {2}},
    ({1},),
    range(3),
    range(0, 4),
    [0, 1, 2],
    slice(1, 2),
    slice(1, 2, 1),
    ...,
    NotImplemented,
    int,
    float,
    list[int],
    list[str],
    int | str,
    len,
    "a".upper,
    "b".upper,
    Text("a"),
    Number(1),
    Words(["a"]),
    ["a"],
    Table(a=1),
    {"a": 1},
    (1, 2),
    [1, 2],
    Point(1, 2),
    Spot(1, 2),
    Color.RED,
    Color.BLUE,
    Shade.RED,
    Config(1.0),
    Config(1),
    Config(1.0, [1]),
    Slotted(1.0),
    Plain(rate=1.0, layers=[]),
    Plain(rate=1.0),
    Plain(),
    Config,
    Plain,
    collections.OrderedDict(a=1),
    collections.OrderedDict([("a", 1), ("b", 2)]),
    collections.OrderedDict([("b", 2), ("a", 1)]),
    collections.Counter("a"),
    collections.defaultdict(int, a=1),
    collections.defaultdict(float, a=1),
    collections.defaultdict(None, a=1),
    collections.ChainMap({"a": 1}),
    collections.deque([1]),
    collections.deque([1], 3),
    types.MappingProxyType({"a": 1}),
    types.SimpleNamespace(a=1),
    types.SimpleNamespace(a=2),
    {"a": 1}.keys(),
    {"a": 1}.values(),
    {"a": 1}.items(),
    array.array("i", [1]),
    array.array("l", [1]),
    array.array("i", [1, 0]),
    struct.Struct("<I"),
    struct.Struct("<H"),
    decimal.Decimal(1),
    decimal.Decimal("1.0"),
    decimal.Decimal("NaN"),
    fractions.Fraction(1),
    fractions.Fraction(1, 2),
    uuid.UUID(int=1),
    dt.date(2020, 1, 1),
    dt.datetime(2020, 1, 1),  # noqa: DTZ001 - naive values are values too
    dt.datetime(2020, 1, 1, fold=1),  # noqa: DTZ001 - as above
    dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")),
    dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
    dt.datetime(2020, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    dt.time(1),
    dt.time(1, tzinfo=dt.UTC),
    dt.timedelta(1),
    dt.timedelta(seconds=1),
    dt.timezone(dt.timedelta(hours=1)),
    dt.timezone(dt.timedelta(hours=1), "CET"),
    re.compile("a"),
    re.compile("a", re.IGNORECASE),
    re.compile(b"a"),
    io.BytesIO(b"a"),
    io.StringIO("a"),
    ValueError("a"),
    KeyError("a"),
    functools.partial(int, base=2),
    functools.partial(int, base=8),
    Keyed(1),
    Keyed(2),
    Ref("a"),
    Ref("a", version=1),
    re,
    types,
]


def test_no_two_different_values_share_a_digest() -> None:
    found: dict[str, Any] = {}
    for value in DIFFERENT:
        digest = value_digest(value)
        assert digest not in found, f"{value!r} meets {found[digest]!r}"
        found[digest] = value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"k": v}, lambda v: ((v,),)])
def test_no_two_different_values_share_a_digest_inside_of_others(wrap: Any) -> None:
    digests = [value_digest(wrap(value)) for value in DIFFERENT]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("value", DIFFERENT, ids=lambda value: type(value).__name__)
def test_the_digest_of_a_value_is_the_same_again(value: Any) -> None:
    assert value_digest(value) == value_digest(value)
    assert value_digest([value, {1, 2}]) == value_digest([value, {2, 1}])


def test_a_digest_names_its_algorithm() -> None:
    assert re.fullmatch("b3:[0-9a-f]{64}", value_digest([1]))


def test_a_zone_with_an_offset_of_its_own_counts_by_it() -> None:
    class Zone(dt.tzinfo):
        zone = "Europe/Berlin"

        def __init__(self, hours: int = 0) -> None:
            self.hours = hours

        def utcoffset(self, _: object) -> dt.timedelta:
            return dt.timedelta(hours=self.hours)

        def __reduce__(self) -> tuple[Any, ...]:
            return (Zone, (self.hours,))

    one = dt.datetime(2020, 1, 1, tzinfo=Zone(1))
    assert value_digest(one) == value_digest(dt.datetime(2020, 1, 1, tzinfo=Zone(1)))
    assert value_digest(one) != value_digest(dt.datetime(2020, 1, 1, tzinfo=Zone(2)))


def test_a_strided_memoryview_equals_its_copy() -> None:
    view = memoryview(b"abcdef")[::2]
    assert value_digest(view) == value_digest(memoryview(b"ace"))


def test_a_shared_object_equals_a_copy_of_it() -> None:
    inner = {"a": [1]}
    assert value_digest([inner, inner]) == value_digest([inner, copy.deepcopy(inner)])
    config = Config(1.0)
    assert value_digest([config, config]) == value_digest([config, Config(1.0)])


def test_the_order_in_which_a_set_was_filled_does_not_count() -> None:
    one, other = set(range(100)), set(reversed(range(0, 100_000, 1000)))
    other = {item // 1000 for item in other}
    assert value_digest(one) == value_digest(other)
    assert value_digest({"a": [one]}) == value_digest({"a": [other]})


def test_a_set_of_mixed_kinds_is_ordered() -> None:
    items = [1, "a", b"a", None, (1, 2), 2.5, True and "b", frozenset({"x", "y"})]
    assert value_digest(set(items)) == value_digest(set(reversed(items)))


def test_sets_inside_of_objects_are_ordered() -> None:
    many = [f"item {at}" for at in range(50)]
    one = Plain(tags=set(many), deep=[{"x": frozenset(many)}])
    other = Plain(deep=[{"x": frozenset(reversed(many))}], tags=set(reversed(many)))
    assert value_digest(one) == value_digest(other)
    assert value_digest([Config(1.0), one]) == value_digest([Config(1.0), other])


def test_a_cyclic_value_has_a_digest() -> None:
    one: list[Any] = [1]
    one.append(one)
    other: list[Any] = [1]
    other.append(other)
    third: list[Any] = [2]
    third.append(third)
    assert value_digest(one) == value_digest(other)
    assert value_digest(one) != value_digest(third)


PLAIN_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans(), inner, max_size=4)
        | st.frozensets(st.text() | st.integers() | st.floats(allow_nan=False), max_size=4)
        | st.sets(st.text() | st.binary() | st.booleans(), max_size=4)
    ),
    max_leaves=12,
)


def plainly(value: Any) -> Any:
    """Another spelling of equality by type, value and order, which shares no code with ours."""
    kind = type(value).__name__
    if isinstance(value, set | frozenset):
        return (kind, sorted(map(repr, map(plainly, value))))
    if isinstance(value, list | tuple):
        return (kind, [plainly(item) for item in value])
    if isinstance(value, dict):
        return (kind, [(plainly(k), plainly(v)) for k, v in value.items()])
    return (kind, repr(value))


@given(PLAIN_VALUES, PLAIN_VALUES)
def test_digests_are_equal_exactly_if_the_values_are(one: Any, other: Any) -> None:
    same = plainly(one) == plainly(other)
    assert (value_digest(one) == value_digest(other)) is same


@given(PLAIN_VALUES)
def test_a_deep_copy_has_the_same_digest(value: Any) -> None:
    assert value_digest(copy.deepcopy(value)) == value_digest(value)


@given(PLAIN_VALUES)
def test_the_exact_mode_agrees_with_the_quick_one(value: Any) -> None:
    # The quick mode must leave nothing to the exact one but sets.
    hashing = Hashing()
    exact = _Exact(hashing, value).copy(value)
    assert Hashing().digest([exact]) == Hashing().digest([value])


@given(st.lists(st.text() | st.integers() | st.binary(), unique=True))
def test_a_set_is_its_members_in_any_order(items: list[Any]) -> None:
    assert value_digest(set(items)) == value_digest(set(reversed(items)))
