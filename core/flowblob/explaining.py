"""Why a call is a hit or a miss: its ingredients against those of the nearest earlier entry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from flowblob.errors import NotFoundError
from flowblob.model import CacheEntry, CacheKey, Ingredient, Read, Run

if TYPE_CHECKING:
    from flowblob.abc import Catalog
    from flowblob.cache import Lookup

logger = logging.getLogger("flowblob.cached")

Why = Literal["hit", "absent", "expired", "refresh", "read_changed", "gone"]
Verdict = Literal["hit", "recomputed", "computed", "refreshed"]
Change = Literal["same", "changed", "new", "gone"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient now, and in the nearest earlier entry."""

    name: str
    kind: str
    change: Change
    before: str = ""
    now: str = ""
    before_digest: str = ""
    now_digest: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a call is a hit or a miss.

    Attributes:
        name: The function.
        key: Digest of its cache key.
        why: `hit`, `absent`, `expired`, `refresh`, `read_changed` or `gone`.
        differences: Every ingredient, compared with the nearest earlier entry.
        entry: The entry of this very key, if there is one.
        nearest: The entry it was compared with, if there is one.
        read: The read of the store that changed, where that is why.
        warnings: What has no exact identity in this call.
    """

    name: str
    key: str
    why: Why
    differences: tuple[Difference, ...]
    entry: CacheEntry | None = None
    nearest: CacheEntry | None = None
    read: Read | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_hit(self) -> bool:
        """Whether the call is served from the cache."""
        return self.why == "hit"

    @property
    def changed(self) -> list[str]:
        """Names of the ingredients that differ from the nearest earlier entry."""
        return [found.name for found in self.differences if found.change != "same"]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {
            "name": self.name,
            "key": self.key,
            "why": self.why,
            "changed": self.changed,
            "ingredients": [
                {
                    "name": found.name,
                    "kind": found.kind,
                    "change": found.change,
                    "before": found.before,
                    "now": found.now,
                    "before_digest": found.before_digest,
                    "now_digest": found.now_digest,
                }
                for found in self.differences
            ],
            "nearest": self.nearest.blob.ref if self.nearest else None,
            "entry": self.entry.blob.ref if self.entry else None,
            "run": str(self.entry.run) if self.entry and self.entry.run else None,
            "read": self.read.ref if self.read else None,
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        lines = [self.headline]
        marks = {"same": "=", "changed": "~", "new": "+", "gone": "-"}
        for found in self.differences:
            values = (
                f"{found.before} -> {found.now}"
                if found.change == "changed"
                else found.now or found.before
            )
            lines.append(f"  {marks[found.change]} {found.kind} {found.name}  {values}".rstrip())
        lines += [f"  ! {text}" for text in self.warnings]
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """One sentence that says why."""
        if self.why == "hit" and self.entry:
            run = f" from {self.entry.run}" if self.entry.run else ""
            return f"hit {self.name}: {self.entry.blob.ref}{run}"
        return f"miss {self.name}: {self.because}"

    @property
    def because(self) -> str:
        """Why it is a miss, without the function's name."""
        if self.why == "absent" and self.nearest is None:
            return "no earlier call of it is stored"
        return {
            "absent": ", ".join(f"{name} differs" for name in self.changed)
            or "its entry was removed",
            "expired": "its entry has expired",
            "refresh": "a refresh was asked for",
            "gone": "the stored result is gone",
            "read_changed": f"{self.read.ref if self.read else 'a blob'} that it read changed",
        }.get(self.why, self.why)


def compare(before: tuple[Ingredient, ...], now: tuple[Ingredient, ...]) -> tuple[Difference, ...]:
    """Return every ingredient of either, with what became of it."""
    earlier = {found.name: found for found in before}
    told = []
    for found in now:
        other = earlier.pop(found.name, None)
        change: Change = (
            "new" if other is None else "same" if other.digest == found.digest else "changed"
        )
        if not before:
            change = "new"
        told.append(
            Difference(
                found.name,
                found.kind,
                change,
                before=other.summary if other else "",
                now=found.summary,
                before_digest=other.digest if other else "",
                now_digest=found.digest,
            )
        )
    told += [
        Difference(gone.name, gone.kind, "gone", before=gone.summary, before_digest=gone.digest)
        for gone in earlier.values()
    ]
    return tuple(told)


# ------------------------------------------------------------------ what was


@dataclass(frozen=True, slots=True)
class PastCall:
    """Why a call of the past was computed, or served.

    Attributes:
        verdict: `hit`, `recomputed` (something differs), `computed` (there was nothing to compare
            with), or `refreshed` (the same key, computed again).
        explanation: Its ingredients against those of the nearest earlier entry.
        entry: The entry it made, or was served.
        run: The run that made it; on a hit, the one that was served.
        at: When, aware UTC.
    """

    verdict: Verdict
    explanation: Explanation
    entry: CacheEntry
    run: Run | None
    at: datetime

    @property
    def because(self) -> str:
        """The reason in a few words."""
        if self.verdict == "hit":
            by = f" by {self.entry.run}" if self.entry.run else ""
            return f"code and inputs equal those of the call{by}"
        if self.verdict == "refreshed":
            return "the same call was computed again: it expired, was refreshed, or a read changed"
        if self.verdict == "computed":
            return f"no earlier call of {self.entry.name} was stored"
        found = [found for found in self.explanation.differences if found.change != "same"]
        return ", ".join(map(_told, found)) or "nothing that is recorded differs"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        told = self.explanation.to_dict()
        return {
            "verdict": self.verdict,
            "ref": self.entry.blob.ref,
            "key": self.entry.key,
            "name": self.entry.name,
            "because": self.because,
            "changed": told["changed"] if self.verdict == "recomputed" else [],
            "ingredients": told["ingredients"],
            "nearest": told["nearest"],
            "run": str(self.run) if self.run else None,
            "at": self.at.isoformat(),
        }

    def __str__(self) -> str:
        return f"{self.verdict} {self.entry.blob.ref}: {self.because}"


def _told(found: Difference) -> str:
    what = "the code" if found.kind == "code" else f"{found.kind} {found.name}"
    return f"{what} {'is ' if found.change in ('new', 'gone') else ''}{found.change}"


class Explaining:
    """The answers of a cache to the question why."""

    _catalog: Catalog
    _flush: Callable[[], None]
    _warned: set[tuple[str, str]]

    def lookup(self, key: CacheKey | str) -> Lookup:
        """Return the entry of a key if it may be served now."""
        raise NotImplementedError

    def entry(self, key: CacheKey | str) -> CacheEntry:
        """Return an entry with its ingredients, servable or not."""
        raise NotImplementedError

    def entries(self, *, limit: int | None = None, **filters: Any) -> list[CacheEntry]:
        """Return entries, last updated first."""
        raise NotImplementedError

    def explain(self, key: CacheKey) -> Explanation:
        """Say why a call with this key is a hit or a miss, ingredient by ingredient."""
        found = self.lookup(key)
        nearest = self.entry(key) if found.entry else self._nearest(key.name, key.ingredients)
        return Explanation(
            name=key.name,
            key=key.digest,
            why=found.why,
            differences=compare(nearest.ingredients if nearest else (), key.ingredients),
            entry=found.entry,
            nearest=nearest,
            read=found.read,
            warnings=key.warnings,
        )

    def warn(self, key: CacheKey) -> None:
        """Log what has no exact identity in a call that is computed, once for each function."""
        for text in key.warnings:
            if (key.name, text) not in self._warned:
                self._warned.add((key.name, text))
                logger.warning("%s: %s", key.name, text)

    def explain_entry(self, entry: CacheEntry) -> PastCall:
        """Say why a stored entry had to be computed: against the nearest earlier one."""
        nearest = self._nearest(entry.name, entry.ingredients, before=entry)
        told = Explanation(
            name=entry.name,
            key=entry.key,
            why="absent",
            differences=compare(nearest.ingredients if nearest else (), entry.ingredients),
            entry=entry,
            nearest=nearest,
        )
        verdict: Verdict = "recomputed" if nearest else "computed"
        if entry.updated_at > entry.created_at and entry.rev > 1:
            verdict = "refreshed"
        return PastCall(verdict, told, entry, entry.run, entry.updated_at)

    def explain_run(self, run: Run | str | None = None, **filters: Any) -> list[PastCall]:
        """Say why a task of the past was computed, or served from the cache.

        Args:
            run: The run, or a task-run id: that of Prefect, or Airflow's `ti.id`.
            **filters: In its place, equality on the fields of runs: `system`, `flow` (the DAG),
                `run_id`, `task`.

        Returns:
            What it computed under a cache key, then what it was served; empty for neither.

        Raises:
            NotFoundError: No run is known by this.

        Example:
            >>> import flowblob
            >>> store = flowblob.Store("memory://")
            >>> double = flowblob.cached(store=store, name="double")(lambda x: 2 * x)
            >>> with flowblob.run("nightly") as run:
            ...     _ = double(4), double(4)
            >>> [call.verdict for call in store.cache.explain_run(run)]
            ['computed', 'hit']
        """
        self._flush()
        if isinstance(run, Run):
            return self._explain(run)
        wanted = filters | ({"task_run_id": run} if run else {})
        found = self._catalog.runs(filters=wanted)
        if not found:
            asked = ", ".join(f"{name} {value}" for name, value in wanted.items())
            raise NotFoundError(f"No run with {asked}", hint="'flowblob runs' lists them")
        return [call for each in found for call in self._explain(each)]

    def _explain(self, run: Run) -> list[PastCall]:
        made = self.entries(task_run_id=run.task_run_id)
        calls = [self.explain_entry(entry) for entry in made]
        system, task_run_id, attempt = run.identity
        identity = {"system": system, "task_run_id": task_run_id, "attempt": attempt}
        for use in self._catalog.uses(run=identity, role="cache_hit"):
            if entries := self.entries(blob_id=use.blob.id):
                # Several calls may share one result; the one served last before is meant.
                entry = min(entries, key=lambda found: abs((found.last_hit_at or use.at) - use.at))
                told = self.explain(CacheKey(entry.key, entry.name, entry.ingredients))
                calls.append(PastCall("hit", told, entry, use.run, use.at))
        return calls

    def _nearest(
        self, name: str, ingredients: tuple[Ingredient, ...], before: CacheEntry | None = None
    ) -> CacheEntry | None:
        """Return the entry of this function that shares most ingredients, newest first."""
        mine: Mapping[str, str] = {found.name: found.digest for found in ingredients}
        candidates = [
            found
            for found in self._catalog.entries(filters={"name": name}, limit=200)
            if before is None or (found.key != before.key and found.created_at <= before.created_at)
        ]
        return max(
            candidates,
            key=lambda entry: (
                sum(mine.get(i.name) == i.digest for i in entry.ingredients),
                entry.updated_at,
            ),
            default=None,
        )
