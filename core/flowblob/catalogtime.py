"""The time by which entries of the cache expire: the catalog's, the same for all who share it."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowblob.abc import Catalog

_ASK_SECONDS = 60.0
_BOOT_TIME = getattr(time, "CLOCK_BOOTTIME", None)  # Linux only; it goes on in sleep


class CatalogTime:
    """The wall clock of a catalog, asked once a minute and counted on from there.

    A hit must not ask the server for the time, and a machine whose own clock is wrong must neither
    serve what has expired nor write what never does. In between counts the time since this machine
    started, which nobody sets.

    Args:
        catalog: Whose clock it is.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._asked: tuple[float, datetime] | None = None

    def now(self) -> datetime:
        """Return the catalog's time, aware and in UTC.

        Raises:
            CatalogUnavailableError: It was asked, and did not answer.
        """
        ticks, asked = _ticks(), self._asked
        if asked is None or ticks - asked[0] > _ASK_SECONDS:
            self._asked = asked = (ticks, self._catalog.now())
        return asked[1] + timedelta(seconds=ticks - asked[0])


def _ticks() -> float:
    return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)
