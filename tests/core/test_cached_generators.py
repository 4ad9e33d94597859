"""A generator under the decorator is replayed, item by item."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowblob import Store, cached
from flowblob.errors import (
    InvalidInputError,
)

Calls = list[Any]


def test_a_generator_is_replayed(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    def count(to: int, calls: Calls) -> Iterator[int]:
        for number in range(to):
            calls.append(number)
            yield number

    calls: Calls = []
    assert inspect.isgeneratorfunction(count)
    first = count(3, calls)
    assert calls == []  # like any generator, it begins when it is asked for the first item
    assert next(first) == 0
    assert calls == [0, 1, 2]
    assert list(first) == [1, 2]
    assert list(zip(count(3, calls), count(3, calls), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    assert list(count(0, calls)) == list(count(0, calls)) == []
    assert calls == [0, 1, 2]
    assert list(count.refresh(2, calls)) == [0, 1]
    assert store.get(store.ls()[0]) == [0, 1]


def test_a_generator_that_fails_is_not_kept(store: Store, is_reserved: Any) -> None:
    @cached(store=store)
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            list(items())
    assert store.ls() == []
    assert not is_reserved()


def test_items_are_kept_as_they_were_when_they_were_yielded(store: Store) -> None:
    @cached(store=store)
    def batches() -> Iterator[list[int]]:
        buffer: list[int] = []
        for number in range(3):
            buffer.append(number)
            yield buffer

    for item in (found := batches()):
        item.clear()  # what the caller does to an item is his own business
    assert found is not None
    assert list(batches()) == [[0], [0, 1], [0, 1, 2]]


def test_an_async_generator_is_replayed(store: Store) -> None:
    @cached(store=store, ignore=["calls"])
    async def count(to: int, calls: Calls) -> AsyncIterator[int]:
        for number in range(to):
            calls.append(number)
            yield number

    async def main() -> list[list[int]]:
        return [[item async for item in count(3, calls)] for _ in range(2)]

    calls: Calls = []
    assert inspect.isasyncgenfunction(count)
    assert asyncio.run(main()) == [[0, 1, 2]] * 2
    assert calls == [0, 1, 2]


def test_a_lazy_generator_is_refused(store: Store) -> None:
    def items() -> Iterator[int]:
        yield 1

    with pytest.raises(InvalidInputError, match="lazy"):
        cached(store=store, lazy=True)(items)
