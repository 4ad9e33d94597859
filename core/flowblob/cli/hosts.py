"""What the commands that set hosts up have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flowblob import config
from flowblob.cli.session import Session


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that was done to a host, found done, or would be done.

    Attributes:
        what: What it is about: a setting, a block or a connection.
        where: The file, profile, server or database that keeps it.
        told: What happened, for people.
        is_new: Whether this call did it; None if it only told.
    """

    what: str
    where: str
    told: str
    is_new: bool | None = True


def documents(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Return changes as `--json` shows them."""
    return [
        {"what": c.what, "where": c.where, "told": c.told, "changed": c.is_new} for c in changes
    ]


def settings_of(session: Session) -> config.Settings:
    """Say which store a host's processes will find: their working directory means nothing."""
    return config.find(session.url, host=True, profile=session.profile)
