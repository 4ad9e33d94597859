"""Classes of a user, for values that are looked at in several files."""

from __future__ import annotations

import dataclasses
import enum


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
