"""Options that can never work are refused where they are written, and what may be decorated."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from flowblob import Store, cached
from flowblob.errors import InvalidInputError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "features/{nope}"}, "names 'nope'.*may use {region}, {flow}, {task}, {run_id}"),
        ({"name": "features/{region.upper}"}, "names 'region.upper'"),
        ({"name": "features/{region"}, "is no template"),
        ({"name": "a@b/{region}"}, "'@' is not allowed"),
        ({"on_error": "ignore"}, "Unknown on_error='ignore'.*'compute' or 'raise'"),
    ],
)
def test_what_can_never_work_is_refused_at_the_decorator(options: Any, said: str) -> None:
    def features(region: str) -> str:
        return region

    with pytest.raises(InvalidInputError, match=said):
        cached(**options)(features)


def test_a_template_may_use_every_argument_and_the_run(store: Store) -> None:
    @cached(store=store, name="{a:03d}/{rest}/{more}-{run_id}")
    def add(a: int, *rest: int, **more: int) -> int:
        return a

    assert add.cached_call.name == "{a:03d}/{rest}/{more}-{run_id}"


def test_one_name_need_not_be_a_list(store: Store) -> None:
    @cached(store=store, ignore="verbose", packages="flowblob")
    def add(x: int, verbose: object = None) -> int:
        return x

    assert add.key(1, verbose=object()) == add.key(1)


class Odd:
    def __init__(self, value: int) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Odd, (self.value,)


def test_what_has_no_exact_identity_is_said_once_and_in_each_explanation(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    @cached(store=store)
    def use(odd: Odd) -> int:
        return odd.value

    assert [use(Odd(1)), use(Odd(1)), use(Odd(2))] == [1, 1, 2]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "Odd counts by its pickled state" in said
    told = use.explain(Odd(2))
    assert [f"{use.key(Odd(2)).name}: {text}" for text in told.warnings] == [said]
    assert "  ! argument 'odd'" in str(told)
    assert told.to_dict()["warnings"] == list(told.warnings)


class Adder:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int, calls: list[int]) -> int:
        calls.append(x)
        return x + self.by

    def method(self, x: int, calls: list[int]) -> int:
        return self(x, calls)


def made_by_exec() -> Any:
    names: dict[str, Any] = {}
    exec("def f(x, calls):\n    calls.append(x)\n    return x + 1", names)
    return names["f"]


@pytest.mark.parametrize(
    ("function", "key"),
    [
        (functools.partial(Adder.__call__, Adder(1)), "test_cached_options/Adder"),
        (Adder(1), "test_cached_options/Adder"),
        (Adder(1).method, "test_cached_options/Adder.method"),
        (made_by_exec(), "builtins/f"),
        (lambda x, calls: calls.append(x) or x + 1, "test_cached_options/<lambda>"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* has no source here")
def test_whatever_can_be_called_is_cached(store: Store, function: Any, key: str) -> None:
    calls: list[int] = []
    use = cached(store=store, ignore=["calls"])(function)
    assert (use(1, calls), use(1, calls), calls) == (2, 2, [1])
    assert [blob.key for blob in store.ls()] == [key]
