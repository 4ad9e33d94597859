"""Variables of the environment that are looked at in every call."""

from __future__ import annotations

import os


class Watched:
    """Some variables, read undecoded: to see whether they are set, or have changed.

    A variable that is not set costs 0.9 us through `os.environ`, which raises and catches two
    errors for it; a hit of the cache asks for seven.

    Args:
        names: The variables.

    Example:
        >>> watched = Watched("HOME")
        >>> watched() == watched()
        True
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._keys: tuple[object, ...] | None = None

    def __call__(self) -> tuple[object, ...]:
        """Return a value for each name, None for one that is not set; equal if nothing changed."""
        held = getattr(os.environ, "_data", None)  # CPython's own dict, of encoded names
        if held is None:
            return tuple(map(os.environ.get, self._names))
        if self._keys is None:
            self._keys = tuple(map(os.environ.encodekey, self._names))
        return tuple(map(held.get, self._keys))
