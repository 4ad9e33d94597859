"""Times and names as people read them."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

#: Characters that turn the direction of what follows: a name could look like another one.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago something was, or its date where that says more."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < -5:  # another machine's clock is ahead
        return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    for limit, unit, name in (
        (5, 0, "now"),
        (60, 1, "s ago"),
        (3600, 60, "min ago"),
        (86400, 3600, "h ago"),
        (30 * 86400, 86400, "d ago"),
    ):
        if seconds < limit:
            return f"{int(seconds // unit)} {name}" if unit else name
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def stamp(moment: datetime | None) -> str:
    """Return a moment in ISO 8601, UTC; empty for none."""
    if moment is None:
        return ""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def clean(text: object) -> str:
    """Return text that cannot move the cursor, end a line or turn the direction of writing.

    Names and metadata come from whoever wrote the blob; an escape sequence in them would otherwise
    run in the terminal of whoever lists it.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    return "".join(_escape(char) if _is_active(char) else char for char in plain)


def _is_active(char: str) -> bool:
    return char in _BIDI or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def _escape(char: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char) or (
        f"\\x{ord(char):02x}" if ord(char) < 0x7F else f"\\u{ord(char):04x}"  # as JSON does
    )


def plural(count: int, word: str) -> str:
    """Return `1 blob`, `2 blobs`."""
    many = f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeo" else f"{word}s"
    return f"{count:,} {word if count == 1 else many}"
