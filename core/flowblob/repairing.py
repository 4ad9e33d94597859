"""Setting damaged payloads aside and putting healthy copies in their place; nothing is deleted.

The records change first, then the damaged bytes are moved: no reader meets a gap that was not there
before, and a repair that was killed has done less, but nothing by halves.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flowblob.auditing import wrong_records
from flowblob.checking import Checker, Problem, examine
from flowblob.errors import (
    ConflictError,
    FlowblobError,
    PayloadCorruptError,
    PayloadError,
    UnavailableError,
)

if TYPE_CHECKING:
    from flowblob.abc import Catalog
    from flowblob.drafts import Payload

logger = logging.getLogger(__name__)

Cure = Literal["repointed", "marked", "cleared"]


@dataclass(frozen=True, slots=True)
class Repair:
    """What was done, or would be done, about one payload.

    Attributes:
        ref: A version that uses it.
        problem: What was wrong; empty where it was suspected for nothing.
        cure: `repointed`: its versions use another copy of the same bytes now. `marked`: there is
            no other; it counts as damaged, its cache entries are misses, and storing the value
            again heals it. `cleared`: it was marked, and is sound.
        generation: The physical copy.
        aside: Where the damaged bytes are now; empty where they stayed.
    """

    ref: str
    problem: str
    cure: Cure
    generation: str
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did, or would do.

    Attributes:
        repairs: One for each payload that needed it.
        unchecked: What could not be looked at.
        catalog: What is wrong with the records themselves, which no repair mends.
        payloads: How many payloads were looked at.
        is_dry_run: Whether nothing was changed.
    """

    repairs: tuple[Repair, ...]
    unchecked: tuple[Problem, ...]
    catalog: tuple[str, ...]
    payloads: int
    is_dry_run: bool

    @property
    def lost(self) -> tuple[Repair, ...]:
        """What no copy was found for."""
        return tuple(repair for repair in self.repairs if repair.cure == "marked")


def repair(checker: Checker, *, dry_run: bool) -> Repaired:
    """Look at the store as the checker says, and mend what is found; see `Store.repair`."""
    wrong = (f"{ref}: {what}" for ref, what in wrong_records(checker.catalog))
    catalog = (*checker.catalog.check(), *wrong)
    repairs = []
    for payload, error in checker.findings():
        if isinstance(error, UnavailableError):
            checker.unchecked.append(Problem(payload.digest, error.message, payload.generation))
            continue
        users = checker.catalog.users(payload.generation, limit=1)
        if users:  # else it waits for the collector, and nobody misses it
            mend = _clear if error is None else _mend
            repairs.append(mend(checker, payload, error, users[0].ref, dry_run=dry_run))
    return Repaired(
        tuple(repairs), tuple(checker.unchecked), catalog, checker.payloads, is_dry_run=dry_run
    )


def _clear(
    checker: Checker, payload: Payload, _: PayloadError | None, ref: str, *, dry_run: bool
) -> Repair:
    """Trust a payload again that was marked, by a reader whose disk was away perhaps."""
    if not dry_run:
        checker.catalog.mark(payload.generation, "ok")
    return Repair(ref, "", "cleared", payload.generation)


def _mend(
    checker: Checker, payload: Payload, error: PayloadError | None, ref: str, *, dry_run: bool
) -> Repair:
    other = _other_copy(checker, payload)
    cure: Cure = "marked" if other is None else "repointed"
    problem = error.message if error else ""
    if dry_run:
        return Repair(ref, problem, cure, payload.generation)
    if other is None or not _repoint(checker.catalog, payload, other):
        cure = "marked"
        checker.catalog.mark(payload.generation, "damaged")
    aside = ""
    if isinstance(error, PayloadCorruptError) and not payload.is_inline:
        try:
            aside = checker.storage.set_aside(payload.name)
        except FlowblobError as failure:  # where they are they do no harm either
            logger.warning("%s: the damaged bytes stay where they are: %s", ref, failure)
    logger.info("%s: %s; %s %s", ref, problem, cure, aside)
    return Repair(ref, problem, cure, payload.generation, aside)


def _other_copy(checker: Checker, payload: Payload) -> Payload | None:
    """Return a copy of the same bytes that was read just now and is sound."""
    for copy in checker.catalog.copies(payload.digest):
        if copy.generation == payload.generation or copy.state not in ("ok", "suspect"):
            continue
        with contextlib.suppress(PayloadError, UnavailableError):
            examine(checker.storage, copy, checker.tick)
            return copy
    return None


def _repoint(catalog: Catalog, payload: Payload, other: Payload) -> bool:
    if other.state == "suspect":
        catalog.mark(other.generation, "ok")
    try:
        catalog.repoint(payload.generation, other.generation)
    except ConflictError:  # collected meanwhile
        return False
    return True
