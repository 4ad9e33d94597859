from __future__ import annotations

import datetime
import decimal
import json
import math
import struct
import uuid
import zoneinfo
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import serializers
from flowblob.errors import SerializationError

ZONES = st.sampled_from(
    [
        None,
        datetime.UTC,
        datetime.timezone(datetime.timedelta(hours=2)),
        datetime.timezone(-datetime.timedelta(microseconds=1)),
        datetime.timezone(datetime.timedelta(hours=-5), "EST"),
        datetime.timezone(datetime.timedelta(0), "Z"),
        zoneinfo.ZoneInfo("Europe/Berlin"),
    ]
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
HASHABLE = (
    PLAIN
    | st.floats()
    | st.binary(max_size=20)
    | st.sampled_from([2**2048 - 1, 2**2048, -(2**2048), -(2**9000)])
    | st.datetimes(timezones=ZONES)
    | st.dates()
    | st.times(timezones=ZONES)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
KEYS = HASHABLE | st.tuples(HASHABLE, HASHABLE) | st.frozensets(HASHABLE, max_size=3)
TYPED = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(TEXT | st.just("$flowblob"), inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=20,
)
ORDINARY = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@quick
@given(ORDINARY)
def test_ordinary_values_are_plain_json_that_any_parser_reads(
    there_and_back: Any, dump: Any, same: Any, value: Any
) -> None:
    if "$flowblob" in str(value):
        return
    written = dump(value)
    chosen, found = there_and_back(value)
    assert same(value, found)
    if not isinstance(value, str) and chosen == "json":

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is not JSON")

        assert same(json.loads(bytes(written.data), parse_constant=refuse), value)


@quick
@given(TYPED)
def test_typed_values_come_back_exactly(there_and_back: Any, same: Any, value: Any) -> None:
    _, found = there_and_back(value)
    assert same(value, found), (value, found)


@quick
@given(
    st.recursive(
        st.just("tuple") | st.integers(),
        lambda inner: st.dictionaries(
            st.sampled_from(["$flowblob", "v", "dict"]),
            inner | st.lists(inner, max_size=2),
            max_size=3,
        ),
    )
)
def test_a_dict_that_looks_like_ours_comes_back_verbatim(
    there_and_back: Any, same: Any, value: Any
) -> None:
    chosen, found = there_and_back(value)
    assert chosen in ("json", "json-typed", "text")
    assert same(value, found)


@pytest.mark.parametrize(
    "value",
    [
        decimal.Decimal("1.10"),
        decimal.Decimal("-0E-7"),
        decimal.Decimal("sNaN"),
        decimal.Decimal("-Infinity"),
        decimal.Decimal("1E+999999"),
        uuid.UUID("567c5c6e-e5b1-11f1-b28f-02fc00000001"),
        uuid.UUID(int=0),
        datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime.datetime.min,  # noqa: DTZ901
        datetime.datetime.max.replace(tzinfo=datetime.UTC),
        datetime.time(1, 2, 3, 4, fold=1),
        datetime.timedelta.min,
        datetime.timedelta(microseconds=-1),
    ],
    ids=repr,
)
def test_every_detail_of_a_tagged_value_is_kept(there_and_back: Any, value: Any) -> None:
    chosen, (found,) = there_and_back((value,))
    assert chosen == "json-typed"
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    assert getattr(found, "fold", 0) == getattr(value, "fold", 0)
    assert getattr(found, "is_safe", 0) == getattr(value, "is_safe", 0)


def test_a_nan_keeps_its_bits(there_and_back: Any) -> None:
    odd = struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]
    _, found = there_and_back([odd])
    assert struct.pack(">d", found[0]).hex() == "fff8000000000123"


def test_equal_sets_have_equal_bytes(dump: Any) -> None:
    words = ["a", "bb", "ccc", "dddd"]
    assert dump(set(words)).data == dump(set(reversed(words))).data


def test_sharing_between_two_places_is_kept(there_and_back: Any) -> None:
    inner = [1]
    chosen, found = there_and_back({"a": inner, "b": inner})
    assert chosen == "pickle5"
    assert found["a"] is found["b"]


def test_a_cycle_is_kept(there_and_back: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    chosen, found = there_and_back(loop)
    assert chosen == "pickle5"
    assert found[0] is found


def test_n_levels_of_shared_tuples_do_not_take_2_to_the_n() -> None:
    value: Any = ()
    for _ in range(60):
        value = (value, value)
    assert serializers.for_value(value).id == "pickle5"


def test_deep_values_are_left_to_pickle(there_and_back: Any) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert there_and_back(deep) == ("json", deep)
    assert there_and_back([deep])[0] == "pickle5"


def test_large_values_are_left_to_pickle(there_and_back: Any) -> None:
    assert there_and_back([0] * 200_000)[0] == "json"
    assert there_and_back([0] * 200_001)[0] == "pickle5"
    assert there_and_back((bytes(1 << 16),))[0] == "json-typed"
    assert there_and_back((bytes((1 << 16) + 1),))[0] == "pickle5"
    assert serializers.for_value(["x" * (1 << 25)]).id == "json"
    assert serializers.for_value(["x" * (1 << 25), "y"]).id == "pickle5"


@pytest.mark.parametrize(
    "value",
    [
        ["\ud83d", "\ude00"],
        ["\ud83d\ude00"],
        {"\udcff": 1},
        ({"\udcff": 1},),
        {"a": {("\udcff",): 1}},
    ],
)
def test_text_that_json_would_change_is_left_to_pickle(there_and_back: Any, value: Any) -> None:
    assert there_and_back(value) == ("pickle5", value)


class Floaty(float):
    pass


class Moment(datetime.datetime):
    pass


class Zone(datetime.tzinfo):
    def utcoffset(self, moment: Any) -> datetime.timedelta:
        return datetime.timedelta(0)

    def dst(self, moment: Any) -> datetime.timedelta:
        return datetime.timedelta(0)

    def tzname(self, moment: Any) -> str:
        return "zone"


@pytest.mark.parametrize(
    "value",
    [
        Floaty(1),
        Moment(2020, 1, 1),
        datetime.datetime(2020, 1, 1, tzinfo=Zone()),
        {"a": True, "b": Floaty(2)},
    ],
    ids=["float", "datetime", "zone", "inside"],
)
def test_subclasses_are_not_flattened(value: Any) -> None:
    assert serializers.for_value([value]).id == "pickle5"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"$flowblob": "elephant", "v": 1}',
        b'{"$flowblob": "tuple"}',
        b'{"$flowblob": ["tuple"], "v": 1}',
        b'{"$flowblob": "decimal", "v": "x"}',
        b'{"$flowblob": "datetime", "v": ["2020-01-01", "Nowhere/Land", 0]}',
        b'{"$flowblob": "set", "v": [[]]}',
        b'{"$flowblob": "numpy", "v": ["O", ""]}',
    ],
)
def test_a_payload_that_is_none_is_one_error(reader: Any, payload: bytes) -> None:
    with pytest.raises(SerializationError, match="cannot be read"):
        serializers.by_id("json-typed").load(reader(payload))


def test_numpy_scalars_inside_json_keep_their_type(there_and_back: Any) -> None:
    numpy = pytest.importorskip("numpy")
    value = {
        "f": numpy.float64(0.1),
        "g": numpy.float32(math.pi),
        "i": numpy.int8(-3),
        "b": numpy.bool_(True),
        "c": numpy.complex64(1j),
        "d": numpy.datetime64("2020-01-01T00:00", "m"),
        "t": numpy.timedelta64("NaT"),
        "n": numpy.float64("nan"),
        "e": numpy.float64(1).astype(">f8"),
    }
    chosen, found = there_and_back(value)
    assert chosen == "json-typed"
    assert [type(item) for item in found.values()] == [type(item) for item in value.values()]
    assert [item.dtype for item in found.values()] == [item.dtype for item in value.values()]
    assert [item.tobytes() for item in found.values()] == [
        item.tobytes() for item in value.values()
    ]
