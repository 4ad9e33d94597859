"""Sizes and durations as people read them, in logs and on the command line."""

from __future__ import annotations

from datetime import timedelta

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Return a number of bytes in binary units.

    Example:
        >>> size(217_088), size(12), size(101_082_726)
        ('212 KiB', '12 B', '96.4 MiB')
    """
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:  # so that no number has four digits
        count /= 1024
        unit += 1
    return f"{count:.{1 if unit and count < 99.95 else 0}f} {_UNITS[unit]}"


def duration(span: timedelta | float) -> str:
    """Return a duration in its two largest units.

    Example:
        >>> duration(862), duration(8.42), duration(0.12)
        ('14 min 22 s', '8.4 s', '120 ms')
    """
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, unit in (("d", "h", 86400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= unit:
            rest = whole % unit // {"h": 3600, "min": 60, "s": 1}[small]
            return f"{whole // unit} {large} {rest} {small}" if rest else f"{whole // unit} {large}"
    raise AssertionError(seconds)
