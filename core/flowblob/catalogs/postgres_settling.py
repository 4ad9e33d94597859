"""Changes that are made once, though the connection may break while they commit.

A put is found again by its op. Every other change leaves a number in the row that its connection
has in `settled`, in its own transaction: the number is there if, and only if, the change is. Who
lost the reply writes the same number again, and the server has him wait for the end of whatever
still holds that row. Then either the number stood, and the answer is known; or it did not, and the
change is made now.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from flowblob.catalogs import postgres_errors
from flowblob.catalogs.postgres_errors import LateError
from flowblob.catalogs.postgres_pool import MICROS, Link
from flowblob.catalogs.postgres_url import Target

T = TypeVar("T")

#: How often a step may lose to other transactions, and a connection be lost, before that is told.
_COLLISIONS, _LOSSES = 20, 2

_CLAIM = f"""INSERT INTO "{{schema}}".settled VALUES ('{{name}}', {{number}}, {MICROS})
    ON CONFLICT (connection) DO UPDATE SET number = excluded.number, at = excluded.at
    WHERE settled.number < excluded.number"""

# Nobody asks for a change that is a day old: every wait is over after a minute.
_PRUNE = f"""DELETE FROM "{{schema}}".settled WHERE connection IN (SELECT connection
    FROM "{{schema}}".settled WHERE at < {MICROS} - 86400000000 LIMIT 100 FOR UPDATE SKIP LOCKED)"""


class Tries:
    """Decides after each error of one operation whether to try again, by a common deadline."""

    def __init__(self, target: Target, wait: float, deadline: float) -> None:
        self.target = target
        self.deadline = deadline
        self._wait = wait
        self._collisions = 0
        self._losses = 0
        #: Whether a reply to a commit was lost, and nothing has said yet what became of it.
        self.is_unsure = False

    def judge(self, error: Exception, *, is_committing: bool) -> bool:
        """Return to try again, saying whether the connection is lost; else raise what it means."""
        is_lost = postgres_errors.is_lost(error)
        self.is_unsure |= is_committing and (is_lost or isinstance(error, LateError))
        if postgres_errors.is_collision(error):
            self._collisions += 1
            if self._collisions < _COLLISIONS and self._pause(0.005 * self._collisions):
                return False
        elif is_lost:
            self._losses += 1
            # Giving up before the deadline would leave open what it has done.
            if self.is_unsure and self._pause(0.1 * self._losses):
                return True
            if not self.is_unsure and self._losses < _LOSSES:
                return True
        if self.is_unsure:
            raise postgres_errors.unsure(self.target, error) from error
        raise postgres_errors.translate(error, self.target, self._wait) from error

    def _pause(self, seconds: float) -> bool:
        if time.monotonic() + seconds > self.deadline:
            return False
        time.sleep(min(seconds, 1.0) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        return True


class Change(Generic[T]):
    """A step in a transaction of its own, run until it has committed once.

    Args:
        step: What happens in the transaction.
        tries: Learns that nothing is open any more.
        is_repeatable: The step finds out by itself whether it has run, so it needs no number.
    """

    def __init__(self, step: Callable[[Link], T], tries: Tries, *, is_repeatable: bool) -> None:
        self._step = step
        self._tries = tries
        self._is_repeatable = is_repeatable
        self._claim = ""
        self._result: list[T] = []

    def make(self, link: Link) -> T:
        """Run the step, or return what it has answered if it turns out to have committed."""
        if self._is_repeatable:
            link.begin()
        elif link.begin(self._claimed(link)):
            self._tries.is_unsure = False
        else:
            link.roll_back()
            return self._result[0]
        try:
            self._result[:] = [self._step(link)]
        except BaseException:
            link.roll_back()
            raise
        link.commit()
        return self._result[0]

    def _claimed(self, link: Link) -> str:
        """Return the statement that leaves the change's number; the same one where it may stand."""
        if not self._tries.is_unsure:
            link.changes += 1
            names = {"schema": self._tries.target.schema, "name": link.name}
            self._claim = _CLAIM.format(**names, number=link.changes)
            if link.changes == 1:  # rows of connections that are gone
                return f"{_PRUNE.format(**names)}; {self._claim}"
        return self._claim
