"""The two clocks of a catalog that lives on one machine."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock:
    """Microseconds on the wall, and microseconds since this machine started.

    Leases and pins are decided on the second one, which nobody sets and which all processes of one
    machine share. A lease of another boot is over, because its holder died with that boot.
    """

    def __init__(self) -> None:
        self._source = getattr(time, "CLOCK_BOOTTIME", None)
        # Without such a clock the wall has to do: one machine, so still one clock for everybody.
        self.boot = _boot_id() if self._source is not None else "wall"

    def wall(self) -> int:
        """Return microseconds since 1970, UTC."""
        return time.time_ns() // 1000

    def ticks(self) -> int:
        """Return microseconds on the clock that decides about leases."""
        if self._source is None:
            return time.time_ns() // 1000
        return time.clock_gettime_ns(self._source) // 1000


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
