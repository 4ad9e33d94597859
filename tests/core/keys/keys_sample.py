"""Functions and classes whose keys are pinned in test_keys_golden.py. Do not edit: add."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from typing import NamedTuple

LIMIT = 3
TABLE = {"a": [1, 2], "b": {"x", "y", "z"}}


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


class Pair(NamedTuple):
    left: int
    right: int = 2


@dataclasses.dataclass(frozen=True)
class Config:
    """How to train."""

    rate: float = 0.1
    layers: tuple[int, ...] = (1, 2)

    @property
    def doubled(self) -> float:
        return self.rate * LIMIT


class Model:
    kind = "linear"

    def __init__(self, config: Config) -> None:
        self.config = config

    def fit(self, data: list[float]) -> float:
        return sum(data) * self.config.doubled


class Deep(Model):
    def fit(self, data: list[float]) -> float:
        return super().fit(data) + 1


def helper(x: float, by: int = 2) -> float:
    """Scale."""
    return math.floor(x) * by  # a comment


def logged(function):  # type: ignore[no-untyped-def]
    @functools.wraps(function)
    def inner(*args, **kwargs):  # type: ignore[no-untyped-def]
        return function(*args, **kwargs)

    return inner


@logged
def wrapped(x: float) -> float:
    return helper(x) + 1


def scaled(by: int):  # type: ignore[no-untyped-def]
    def inner(x: float) -> float:
        return x * by

    return inner


triple = scaled(3)


def even(n: int) -> bool:
    return n == 0 or odd(n - 1)


def odd(n: int) -> bool:
    return n != 0 and even(n - 1)


def everything(a, /, b=1, *rest, c=(1, "x"), **more):  # type: ignore[no-untyped-def]
    import json

    total = [f"{a!r:>{LIMIT}} {b=}" for _ in range(LIMIT) if (found := helper(b)) > 1]
    match a:
        case {"x": [1, *others], **kept}:
            return others, kept
        case Color.RED | None:
            return Color.BLUE
    try:
        return json.dumps([total, rest, more, found]), TABLE["a"], wrapped(c[0]), -1e-300, 2j
    except (ValueError, KeyError):
        return lambda x: x in {"a", "b"} and Deep(Config()).fit([x]) and Pair(1)


async def fetch(url: str) -> str:
    async with open(url) as file:  # type: ignore[attr-defined]
        return "".join([line async for line in file])
