"""Engines that fail by a plan: refused calls, lost replies, cut writes, slow answers.

What an engine may do to a caller is all here, and nothing that the contracts rule out: a call that
raised has happened or has not, and only the catalog's answer to the same `op` tells.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from enum import Enum
from typing import Any, cast
from unittest import mock

from flowblob import Store, config, engines
from flowblob.abc import Catalog, Storage
from flowblob.drafts import Spooled
from flowblob.errors import CatalogUnavailableError, StorageUnavailableError


class Fault(Enum):
    """What happens to one call."""

    NONE = "works"
    REFUSED = "raises and does nothing"
    LOST = "does it and raises"
    CUT = "writes a part of the bytes and raises"
    SLOW = "waits a little and works"


class Plan:
    """Which call fails how, decided by a seed: the same seed fails the same calls.

    Args:
        seed: Where the choices come from.
        rate: Share of calls that fail.
        faults: The kinds to choose from.

    Attributes:
        done: How often each (method, fault) happened.
        is_on: Set it to False to let everything work.

    Example:
        >>> [Plan(7, rate=1.0).choose("write") == Plan(7, rate=1.0).choose("write")]
        [True]
    """

    def __init__(
        self,
        seed: int,
        *,
        rate: float = 0.3,
        faults: Collection[Fault] = (Fault.REFUSED, Fault.LOST, Fault.CUT, Fault.SLOW),
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311 - nothing secret is chosen
        self._rate = rate
        self._faults = tuple(faults)
        self._lock = threading.Lock()
        self.done: Counter[tuple[str, Fault]] = Counter()
        self.is_on = True

    def choose(self, method: str) -> Fault:
        """Return what happens to this call of a method."""
        with self._lock:
            chance, fault = self._random.random(), self._random.choice(self._faults)
            if not self.is_on or chance >= self._rate:
                return Fault.NONE
            if fault is Fault.CUT and method != "write":
                fault = Fault.REFUSED
            self.done[method, fault] += 1
            return fault


class _Flaky:
    """A proxy: everything goes to the engine inside, what is listed may fail on the way."""

    def __init__(
        self, inner: Any, plan: Plan, *, error: Callable[[str], Exception], methods: Collection[str]
    ) -> None:
        self._inner = inner
        self._plan = plan
        self._error = error
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._methods:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, found, *args, **kwargs)

        return call

    def _call(self, name: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        fault = self._plan.choose(name)
        if fault is Fault.REFUSED:
            raise self._error(f"planned: {name} is refused")
        if fault is Fault.SLOW:
            time.sleep(0.002)
        if fault is Fault.CUT:
            method(args[0], _cut(args[1]), **kwargs)
            raise self._error(f"planned: {name} is cut")
        answer = method(*args, **kwargs)
        if fault is Fault.LOST:
            raise self._error(f"planned: the reply of {name} is lost")
        return answer


class FlakyStorage(_Flaky):
    """A storage that fails by a plan.

    Args:
        inner: The storage that works.
        plan: What fails.
        methods: What may fail.
    """

    def __init__(
        self,
        inner: Storage,
        plan: Plan,
        *,
        methods: Collection[str] = ("write", "size", "read", "delete"),
    ) -> None:
        super().__init__(inner, plan, error=StorageUnavailableError, methods=methods)


class FlakyCatalog(_Flaky):
    """A catalog that fails by a plan.

    Args:
        inner: The catalog that works.
        plan: What fails.
        methods: What may fail.
    """

    def __init__(
        self,
        inner: Catalog,
        plan: Plan,
        *,
        methods: Collection[str] = (
            "place", "commit", "unpin", "renew", "mark", "find", "payloads", "delete", "tag",
            "promote", "condemned", "forget", "acquire", "release", "entry", "record",
        ),
    ) -> None:  # fmt: skip
        super().__init__(inner, plan, error=CatalogUnavailableError, methods=methods)


def open_flaky(url: str, plan: Plan) -> Store:
    """Open a store both of whose engines fail by a plan."""
    settings = config.find(url)
    real = engines.open_engines

    def flaky(settings: config.Settings) -> tuple[Catalog, Storage]:
        catalog, storage = real(settings)
        return cast("Catalog", FlakyCatalog(catalog, plan)), cast(
            "Storage", FlakyStorage(storage, plan)
        )

    with mock.patch.object(engines, "open_engines", flaky):
        return Store.from_settings(settings)


def _cut(spooled: Spooled) -> Spooled:
    data = spooled.data if spooled.data is not None else _bytes_of(spooled)
    half = data[: len(data) // 2]
    return replace(spooled, data=half, path=None, size=len(half))


def _bytes_of(spooled: Spooled) -> bytes:
    assert spooled.path is not None
    return spooled.path.read_bytes()
