"""What a store should hold after some steps, as plain dicts; it shares no code with the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Version:
    """One version that lives."""

    id: str
    data: bytes
    history: bool
    tags: dict[str, Any] = field(default_factory=dict)


@dataclass
class Life:
    """One incarnation of a key: its living versions by number, and the last number given."""

    versions: dict[int, Version] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    head: int = -1

    @property
    def newest(self) -> int | None:
        """Number of the newest living version."""
        return max(self.versions, default=None)


@dataclass
class Entry:
    """A cache entry: the version it points at, and whether it has expired."""

    id: str
    data: bytes
    is_expired: bool = False


@dataclass
class World:
    """A whole store.

    Attributes:
        lives: The living incarnation of each key.
        entries: Cache entries by key.
        dead: Ids of all versions that were dropped.
        hurt: Contents one of whose copies was damaged, and whether the store has noticed.
        holders: Who holds which reservation.
    """

    lives: dict[str, Life] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    hurt: dict[bytes, bool] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)

    def life(self, key: str) -> Life:
        """Return the living incarnation of a key, or one that never was."""
        return self.lives.get(key) or Life()

    def drop(self, life: Life, number: int) -> None:
        """End one version."""
        self.dead.add(life.versions.pop(number).id)

    def append(self, key: str, blob_id: str, data: bytes, *, history: bool) -> int | None:
        """Add a version; return the one before, which living versions may have to give way."""
        life = self.lives.setdefault(key, Life())
        before = life.newest
        life.head += 1
        life.versions[life.head] = Version(blob_id, data, history)
        return before

    def give_way(self, key: str, number: int | None) -> None:
        """Release a version without history that a newer one without history replaced."""
        life = self.lives[key]
        if number is None or life.versions[number].history:
            return
        blob_id = life.versions[number].id
        held = any(e.id == blob_id and not e.is_expired for e in self.entries.values())
        if not held and number not in life.aliases.values():
            self.drop(life, number)

    def contents(self) -> set[bytes]:
        """Return what the living versions hold."""
        return {v.data for life in self.lives.values() for v in life.versions.values()}
