"""What a store should hold after some steps, as plain dicts; it shares no code with the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

How = Literal["dropped", "released", "with its key"]


@dataclass
class Version:
    """One version; those that share bytes of one kind share a payload."""

    id: str
    data: bytes
    history: bool
    inline: bool
    tags: dict[str, Any] = field(default_factory=dict)


@dataclass
class Grave:
    """A version that was dropped: how, by which step, and whether its payload was collected."""

    version: Version
    how: How
    step: int
    is_empty: bool = False


@dataclass
class Life:
    """One incarnation of a key: its living versions by number, and the last number given."""

    versions: dict[int, Version] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    graves: dict[int, Grave] = field(default_factory=dict)
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
        ended: The incarnations of each key that have ended, in this order.
        entries: Cache entries by key.
        dead: Ids of all versions that were dropped.
        hurt: Contents one of whose copies was damaged, and whether the store has noticed.
        harmed: Contents that were ever damaged: which copy a dropped version had is unknown.
        holders: Who holds which reservation.
        steps: How many times something was dropped.
    """

    lives: dict[str, Life] = field(default_factory=dict)
    ended: dict[str, list[Life]] = field(default_factory=dict)
    entries: dict[str, Entry] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    hurt: dict[bytes, bool] = field(default_factory=dict)
    harmed: set[bytes] = field(default_factory=set)
    holders: dict[str, str] = field(default_factory=dict)
    steps: int = 0

    def life(self, key: str) -> Life:
        """Return the living incarnation of a key, or one that never was."""
        return self.lives.get(key) or Life()

    def drop(self, life: Life, number: int, how: How = "dropped") -> None:
        """End one version."""
        version = life.versions.pop(number)
        self.dead.add(version.id)
        self.steps += how != "with its key"
        life.graves[number] = Grave(version, how, self.steps)

    def end(self, key: str) -> None:
        """End the living incarnation of a key."""
        life = self.lives.pop(key)
        for number in list(life.versions):
            self.drop(life, number, "with its key")
        self.ended.setdefault(key, []).append(life)

    def append(
        self, key: str, blob_id: str, data: bytes, *, history: bool, inline: bool
    ) -> int | None:
        """Add a version; return the one before, which living versions may have to give way."""
        life = self.lives.setdefault(key, Life())
        before = life.newest
        life.head += 1
        life.versions[life.head] = Version(blob_id, data, history, inline)
        return before

    def give_way(self, key: str, number: int | None) -> None:
        """Release a version without history that a newer one without history replaced."""
        life = self.lives[key]
        if number is None or life.versions[number].history:
            return
        blob_id = life.versions[number].id
        held = any(e.id == blob_id and not e.is_expired for e in self.entries.values())
        if not held and number not in life.aliases.values():
            self.drop(life, number, "released")

    def graves(self) -> dict[str, set[int]]:
        """Return the keys of which something was dropped, and the numbers that were."""
        found: dict[str, set[int]] = {}
        for key in {*self.lives, *self.ended}:
            lives = [self.life(key), *self.ended.get(key, [])]
            if numbers := {number for life in lives for number in life.graves}:
                found[key] = numbers
        return found

    def buried(self, key: str, number: int | None) -> tuple[Life | None, dict[int, Grave]]:
        """Return what `key@number`, or the key, would bring back, and the life it was in."""
        standing = self.lives.get(key)
        for life in (standing, *self.ended.get(key, [])[-1:]):
            graves = {} if life is None else _meant(life, number, is_standing=life is standing)
            if graves:
                return life, graves
        return None, {}

    def revive(self, key: str, life: Life, numbers: list[int]) -> None:
        """Take the tombstones of some versions away."""
        for number in numbers:
            life.versions[number] = life.graves.pop(number).version
            self.dead.remove(life.versions[number].id)
        if life is not self.lives.get(key):
            self.lives[key] = self.ended[key].pop()
            life.aliases = {a: n for a, n in life.aliases.items() if n in life.versions}

    def collect(self) -> None:
        """Give up every payload that no living version has."""
        living = {
            (v.data, v.inline) for life in self.lives.values() for v in life.versions.values()
        }
        for life in (
            *self.lives.values(),
            *(one for lives in self.ended.values() for one in lives),
        ):
            for grave in life.graves.values():
                if (grave.version.data, grave.version.inline) not in living:
                    grave.is_empty = True

    def contents(self) -> set[bytes]:
        """Return what the living versions hold."""
        return {v.data for life in self.lives.values() for v in life.versions.values()}


def _meant(life: Life, number: int | None, *, is_standing: bool) -> dict[int, Grave]:
    """Return the graves of one life that a reference means."""
    if number is not None:
        return {n: grave for n, grave in life.graves.items() if n == number}
    if not is_standing:
        return {n: grave for n, grave in life.graves.items() if grave.how == "with its key"}
    dropped = {n: grave for n, grave in life.graves.items() if grave.how == "dropped"}
    last = max((grave.step for grave in dropped.values()), default=0)
    return {} if life.versions else {n: g for n, g in dropped.items() if g.step == last}
