"""Keep rules: which versions and cache entries a collection may drop. No I/O."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from flowblob.checks import parse_duration
from flowblob.errors import InvalidInputError
from flowblob.urls import refuse_unknown
from flowblob.wording import duration

if TYPE_CHECKING:
    from flowblob.model import Blob

#: How long what was dropped can be brought back, and how long an idle payload is left alone.
GRACE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """How long the versions of some keys are kept.

    A version goes when it is neither among the last ones nor young enough, as far as the rule says
    so; a rule with neither limit keeps everything. Versions under an alias and results under a
    pinned cache entry always stay.

    Attributes:
        prefix: Only keys that begin so.
        kind: Only versions of this kind.
        keep_last: Keep so many of the newest versions of each key.
        max_age: Keep what is younger, by the catalog's clock.

    Example:
        >>> str(Rule(prefix="tmp/", keep_last=3, max_age=timedelta(days=30)))
        'prefix=tmp/ keep_last=3 max_age=30 d'
    """

    prefix: str = ""
    kind: str = ""
    keep_last: int | None = None
    max_age: timedelta | None = None

    def __post_init__(self) -> None:
        last = self.keep_last
        if last is not None and (type(last) is not int or last < 1):
            raise InvalidInputError(
                f"Invalid keep_last {last!r}",
                hint="A number from 1 on; max_age alone lets the newest version go too",
            )

    def covers(self, blob: Blob) -> bool:
        """Say whether the rule is about this version."""
        return blob.key.startswith(self.prefix) and self.kind in ("", blob.kind)

    def __str__(self) -> str:
        shown = {item.name: getattr(self, item.name) for item in fields(self)}
        return " ".join(
            f"{name}={duration(value) if isinstance(value, timedelta) else value}"
            for name, value in shown.items()
            if value not in (None, "")
        )


@dataclass(frozen=True, slots=True)
class Retention:
    """What a store keeps; with nothing said, everything.

    Attributes:
        rules: The first that covers a version decides about it.
        cache_unused: Drop cache entries that were neither served nor written for so long, with
            their versions where nothing else holds those.
        grace: How long what was dropped can be brought back.
    """

    rules: tuple[Rule, ...] = ()
    cache_unused: timedelta | None = None
    grace: timedelta = GRACE

    @classmethod
    def read(cls, table: Any) -> Retention:
        """Return what a `[retention]` table of a settings file says.

        Args:
            table: `rules`, a list of tables; `cache_unused` and `grace`, durations.

        Raises:
            InvalidInputError: A name or value that cannot be.

        Example:
            >>> Retention.read({"rules": [{"prefix": "tmp/", "max_age": "30d"}]}).rules[0].prefix
            'tmp/'
        """
        if not isinstance(table, Mapping):
            raise InvalidInputError("'retention' is not a table", hint="Write [retention]")
        refuse_unknown(table, [item.name for item in fields(cls)], "setting in [retention]")
        rules = table.get("rules", ())
        if not isinstance(rules, list | tuple):
            raise InvalidInputError("'rules' is no list", hint="Write [[retention.rules]]")
        return cls(
            tuple(map(_read_rule, rules)),
            parse_duration(table.get("cache_unused"), what="cache_unused"),
            parse_grace(table.get("grace"), GRACE),
        )


def _read_rule(table: Any) -> Rule:
    if not isinstance(table, Mapping):
        raise InvalidInputError(f"The rule {table!r} is no table", hint="Write [[retention.rules]]")
    refuse_unknown(table, [item.name for item in fields(Rule)], "setting in [[retention.rules]]")
    for name in ("prefix", "kind"):
        if not isinstance(table.get(name, ""), str):
            raise InvalidInputError(f"{name} in [[retention.rules]] is text")
    max_age = parse_duration(table.get("max_age"), what="max_age")
    return Rule(**{**table, "max_age": max_age})


def parse_grace(value: timedelta | str | float | None, default: timedelta) -> timedelta:
    """Return a grace period; unlike other durations it may be zero."""
    if value is None:
        return default
    if value in (0, "0", timedelta()):
        return timedelta()
    return parse_duration(value, what="grace") or default


@dataclass(slots=True)
class Judge:
    """Decides about a stream of versions, in any order, one look at each.

    It remembers the last versions of each key that a rule with `keep_last` covers, and no others.

    Attributes:
        retention: The rules.
        now: The catalog's time.
    """

    retention: Retention
    now: datetime
    _last: dict[tuple[int, str], list[tuple[int, str, bool]]] = field(default_factory=dict)

    def see(self, blob: Blob) -> tuple[int, str] | None:
        """Look at a version; returns (number of the rule, id) of one that goes, perhaps another."""
        for number, rule in enumerate(self.retention.rules):
            if rule.covers(blob):
                return self._judge(number, rule, blob)
        return None

    def _judge(self, number: int, rule: Rule, blob: Blob) -> tuple[int, str] | None:
        is_old = rule.max_age is None or blob.created_at <= self.now - rule.max_age
        if rule.keep_last is None:
            return (number, blob.id) if is_old and rule.max_age is not None else None
        last = self._last.setdefault((number, blob.incarnation), [])
        seen = (blob.version, blob.id, is_old)
        if len(last) < rule.keep_last:
            heapq.heappush(last, seen)
            return None
        _, blob_id, is_old = heapq.heappushpop(last, seen)
        return (number, blob_id) if is_old else None
