"""What this process saw lately: a bounded map for its threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

V = TypeVar("V")

_LIMIT = 10_000


class Recent(Generic[V]):
    """The values set last, by name; what is older than 10,000 others is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, V] = OrderedDict()

    def set(self, name: Hashable, value: V) -> None:
        """Keep a value as the youngest one."""
        with self._lock:
            self._values[name] = value
            self._values.move_to_end(name)
            if len(self._values) > _LIMIT:
                self._values.popitem(last=False)

    def get(self, name: Hashable) -> V | None:
        """Return the value of a name, None if it was never set or is forgotten."""
        return self._values.get(name)
