"""Classes and functions of a user that are looked at in several files."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from flowblob.keys import Recipe


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Config:
    rate: float
    layers: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    rate: float


class Plain:
    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


class Keyed:
    def __init__(self, key: object) -> None:
        self.key = key

    def __flowblob_key__(self) -> object:
        return self.key


def task(a: Any, b: Any = 2, *, c: Any = "c") -> None: ...


def positional(a: Any, /, b: Any, *rest: Any, c: Any = 1, **more: Any) -> None: ...


def digest(function: Any, *args: Any, **kwargs: Any) -> str:
    return Recipe(function).key(args, kwargs).digest
