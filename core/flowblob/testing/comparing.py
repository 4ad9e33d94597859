"""Comparing: what a store holds, beside the model of what it should hold."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowblob import Store
from flowblob.errors import NotFoundError, PayloadError
from flowblob.testing.making import Make
from flowblob.testing.model import World

CALLS = st.sampled_from(["f1", "f2"])


class Comparing(RuleBasedStateMachine):
    """A store and its model, and the steps that only read.

    Attributes:
        fresh: Makes a context manager whose value is the URL of an empty store.
    """

    fresh: ClassVar[Any]

    @initialize()
    def begin(self) -> None:
        """Open an empty store beside an empty model."""
        self._stack = ExitStack()
        place: AbstractContextManager[str] = type(self).fresh()
        self._url = self._stack.enter_context(place)
        self.store = Store(self._url)
        self.world = World()
        self.make = Make()

    @invariant()
    def names_are_as_modelled(self) -> None:
        """The listing of keys, heads and aliases agrees at every moment."""
        if not hasattr(self, "world"):
            return
        living = {key: life.newest for key, life in self.world.lives.items() if life.versions}
        listed = {blob.key: blob.version for blob in self.store.ls()}
        assert listed == living

    def compare_everything(self) -> None:
        """Compare all versions, values, tags, aliases and entries."""
        for key, life in self.world.lives.items():
            listed = self.store.catalog.versions(key)
            assert [b.version for b in listed] == sorted(life.versions, reverse=True)
            for blob in listed:
                version = life.versions[blob.version]
                assert blob.id == version.id
                assert repr(sorted(blob.tags.items())) == repr(sorted(version.tags.items()))
                aliases = sorted(a for a, n in life.aliases.items() if n == blob.version)
                assert list(blob.aliases) == aliases
                self.read(f"id:{blob.id}", version.data)
            for alias, number in life.aliases.items():
                assert self.store.resolve(f"{key}@{alias}").version == number
        for call in ("f1", "f2"):
            self.hit(call)
        assert not any(self.store.exists(f"id:{blob_id}") for blob_id in self.world.dead)
        assert self.store.catalog.check() == []

    def read(self, ref: str, data: bytes) -> None:
        """Get a value: the right one, or an error where its bytes were damaged."""
        try:
            assert self.store.get(ref) == data
        except PayloadError:
            assert self.is_hurt(data)
            self.world.hurt[data] = True

    def nothing_is_left_over(self) -> None:
        """After a collection every stored name belongs to a living content."""
        rows = {p.name: p for p in self.store.catalog.generations()}
        digests = {self.make.digest(data) for data in self.world.contents()}
        assert {p.digest for p in rows.values()} <= digests
        stored = {name for name, _, _ in self.store.storage.names()}
        assert stored <= set(rows)

    @rule(call=CALLS)
    def hit(self, call: str) -> None:
        """Read an entry: its value, or a miss; never another value."""
        wanted = self.world.entries.get(call)
        gone = wanted is None or wanted.is_expired or wanted.id in self.world.dead
        try:
            got = self.store.cache.get(call)
        except NotFoundError:
            assert gone or (wanted is not None and self.is_hurt(wanted.data))
        except PayloadError:
            assert wanted is not None
            assert self.is_hurt(wanted.data)
            self.world.hurt[wanted.data] = True
        else:
            assert not gone
            assert wanted is not None
            assert (got.value, got.entry.blob.id) == (wanted.data, wanted.id)

    def is_hurt(self, data: bytes) -> bool:
        """Say whether a copy of this content may be damaged."""
        return data in self.world.hurt
