"""From the portable text of a statement to PostgreSQL's."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from flowblob.catalogs import migrations

_PLACE = re.compile(r"'[^']*'|\?")


@lru_cache(maxsize=2048)
def translate(sql: str, schema: str) -> str:
    """Return the statement with numbered places, and its tables named with their schema.

    Behind a transaction pooler a search path would be some other client's the next moment.
    """
    numbers = iter(range(1, 1 << 16))
    placed = _PLACE.sub(lambda m: f"${next(numbers)}" if m[0] == "?" else m[0], sql)
    return _tables().sub(rf'\1 "{schema}".\2', placed)


@cache
def _tables() -> re.Pattern[str]:
    names = "|".join(migrations.tables("postgres"))
    return re.compile(rf"\b(FROM|JOIN|INTO|UPDATE)\s+({names})\b")
