"""StoreMachine: a store against a dict of lists, in any order of steps Hypothesis can think of."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from flowblob import Store
from flowblob.checks import new_id
from flowblob.drafts import Payload
from flowblob.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    ReservationHeldError,
    VersionConflictError,
)
from flowblob.testing.comparing import CALLS, Comparing
from flowblob.testing.model import Entry

KEYS = st.sampled_from(["a", "a/b", "c"])
DATA = st.sampled_from([b"x", b"yy", b"zzz" * 9])
NUMBERS = st.integers(0, 2)
# What is mostly refused: a store in which little was put has little to lose.
SELDOM = st.sampled_from([False, False, False, True])
EXPECTED = st.none() | st.none() | st.none() | NUMBERS
ALIASES = st.sampled_from(["prod", "test"])
OWNERS = st.sampled_from(["ana", "ben"])
NO_GRACE = timedelta(microseconds=1)


class StoreMachine(Comparing):
    """Put, get, promote, delete, undelete, cache, reserve, collect, reopen and damage a store.

    A subclass sets `fresh`; `hypothesis.stateful.run_state_machine_as_test` runs it.
    """

    def teardown(self) -> None:
        """Compare everything once more, and see that nothing is left over."""
        if not hasattr(self, "_stack"):
            return
        with self._stack:
            try:
                self.compare_everything()
                self.collect()
                self.nothing_is_left_over()
            finally:
                self.store.close()

    # versions -------------------------------------------------------

    @rule(key=KEYS, contents=st.lists(DATA, min_size=1, max_size=3), inline=st.booleans())
    def grow(self, key: str, contents: list[bytes], *, inline: bool) -> None:
        """Append some versions, so that the other steps find something."""
        for data in contents:
            self.put(key, data, inline=inline, history=True, force=False, create=False, expect=None)

    @rule(
        key=KEYS,
        data=DATA,
        inline=st.booleans(),
        history=st.booleans(),
        force=st.booleans(),
        create=SELDOM,
        expect=EXPECTED,
    )
    def put(
        self,
        key: str,
        data: bytes,
        *,
        inline: bool,
        history: bool,
        force: bool,
        create: bool,
        expect: int | None,
    ) -> None:
        """Append a version, or be refused for the reason that the model knows."""
        before = self.world.life(key).newest
        try:
            blob = self.store.put(
                key, data, inline=inline, history=history, new_version=force, create=create,
                expect_version=expect,
            )  # fmt: skip
        except NotFoundError:
            assert expect is not None
            assert before is None
            return
        except VersionConflictError:
            assert expect not in (None, before)
            return
        except AlreadyExistsError:
            assert create
            assert before is not None
            return
        assert expect in (None, before)
        assert not (create and before is not None)
        self.settle(key, blob, data, history=history, force=force, inline=inline)
        if not inline:
            self.healed(data)

    def settle(
        self, key: str, blob: Any, data: bytes, *, history: bool, force: bool, inline: bool
    ) -> None:
        """Do in the model what a put did."""
        life = self.world.life(key)
        before = life.newest
        if before is not None and life.versions[before].data == data and not force:
            assert blob.id == life.versions[before].id
            assert blob.version == before
            return
        assert (blob.version, blob.prev_version) == (life.head + 1, before)
        replaced = self.world.append(key, blob.id, data, history=history, inline=inline)
        if not history:
            self.world.give_way(key, replaced)

    @rule(key=KEYS)
    def delete_key(self, key: str) -> None:
        """End a life of a key."""
        life = self.world.life(key)
        try:
            dropped = self.store.delete(key)
        except NotFoundError:
            assert not life.versions
            return
        assert [blob.version for blob in dropped] == sorted(life.versions, reverse=True)
        self.world.end(key)

    def pick(self, data: st.DataObject) -> tuple[str, int]:
        """Choose a version that lives, or one that never did."""
        living = [
            (key, number) for key, life in self.world.lives.items() for number in life.versions
        ]
        return data.draw(st.sampled_from([*sorted(living), ("c", 99)]))

    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        """Drop one version, unless an alias points at it."""
        key, number = self.pick(data)
        life = self.world.life(key)
        try:
            self.store.delete(f"{key}@{number}")
        except NotFoundError:
            assert number not in life.versions
        except ConflictError:
            assert number in life.aliases.values()
        else:
            assert number not in life.aliases.values()
            self.world.drop(life, number)

    @precondition(lambda self: self.world.graves())
    @rule(data=st.data())
    def undelete(self, data: st.DataObject) -> None:
        """Bring back a version or a key: exactly what the collector has not taken."""
        graves = self.world.graves()
        key = data.draw(st.sampled_from(sorted(graves)))
        number = data.draw(st.none() | st.sampled_from(sorted(graves[key])) | NUMBERS)
        standing = self.world.lives.get(key)
        life, found = self.world.buried(key, number)
        whole = [n for n, grave in found.items() if not grave.is_empty]
        doubtful = {n for n in whole if found[n].version.data in self.world.harmed}
        try:
            blobs = self.store.undelete(key if number is None else f"{key}@{number}")
        except NotFoundError:
            assert set(whole) <= doubtful
            return
        except ConflictError:
            assert found
            assert standing is not None
            assert standing is not life
            return
        back = [blob.version for blob in blobs]
        assert back == sorted(back, reverse=True)
        assert set(whole) - doubtful <= set(back) <= set(whole)
        assert life is not None
        assert standing is None or standing is life
        self.world.revive(key, life, back)

    @rule(data=st.data(), alias=ALIASES, expect=EXPECTED)
    def promote(self, data: st.DataObject, alias: str, expect: int | None) -> None:
        """Move an alias by compare-and-swap."""
        key, number = self.pick(data)
        life = self.world.life(key)
        try:
            self.store.promote(f"{key}@{number}", alias, expect=expect)
        except NotFoundError:
            assert number not in life.versions
        except VersionConflictError:
            assert expect not in (None, life.aliases.get(alias))
        else:
            assert expect in (None, life.aliases.get(alias))
            life.aliases[alias] = number

    @rule(key=KEYS, alias=ALIASES)
    def unalias(self, key: str, alias: str) -> None:
        """Take an alias away."""
        life = self.world.life(key)
        try:
            self.store.unalias(key, alias)
        except NotFoundError:
            assert alias not in life.aliases
        else:
            del life.aliases[alias]

    @rule(key=KEYS, name=ALIASES, value=st.none() | st.sampled_from([1, 1.0, True, "1"]))
    def tag(self, key: str, name: str, value: Any) -> None:
        """Set or remove a tag of the newest version."""
        life = self.world.life(key)
        if life.newest is None:
            return
        version = life.versions[life.newest]
        self.store.tag(f"id:{version.id}", **{name: value})
        version.tags.pop(name, None)
        if value is not None:
            version.tags[name] = value

    # the cache ------------------------------------------------------

    @rule(call=CALLS, data=DATA, overwrite=st.booleans())
    def fill(self, call: str, data: bytes, *, overwrite: bool) -> None:
        """Write an entry; without overwrite exactly where none may be served."""
        standing = self.world.entries.get(call)
        servable = (
            standing is not None and not standing.is_expired and standing.id not in self.world.dead
        )
        try:
            entry = self.store.cache.put(call, data, overwrite=overwrite)
        except AlreadyExistsError:
            assert servable
            assert not overwrite
            return
        assert overwrite or not servable
        self.settle(f"cache/{call}", entry.blob, data, history=True, force=False, inline=True)
        self.world.entries[call] = Entry(entry.blob.id, data)

    @rule(call=CALLS)
    def expire(self, call: str) -> None:
        """End an entry; the value stays a version."""
        entry = self.world.entries.get(call)
        there = entry is not None and entry.id not in self.world.dead
        try:
            self.store.cache.expire(call)
        except NotFoundError:
            assert not there
            return
        if entry is not None:
            entry.is_expired = True

    @rule(call=CALLS)
    def forget(self, call: str) -> None:
        """Remove an entry."""
        entry = self.world.entries.pop(call, None)
        try:
            self.store.cache.delete(call)
        except NotFoundError:
            assert entry is None or entry.id in self.world.dead

    # reservations ---------------------------------------------------

    @rule(call=CALLS, owner=OWNERS)
    def reserve(self, call: str, owner: str) -> None:
        """Take a lease that nobody else holds."""
        holder = self.world.holders.get(call)
        busy = ""
        try:
            self.store.reserve(call, owner=owner, ttl="1h")
        except ReservationHeldError as error:
            busy = error.holder
        assert busy == (holder if holder not in (None, owner) else "")
        if busy:
            return
        self.world.holders[call] = owner

    @rule(call=CALLS, owner=OWNERS)
    def release(self, call: str, owner: str) -> None:
        """Release one's lease, twice."""
        if self.world.holders.get(call) != owner:
            return
        lease = self.store.reserve(call, owner=owner, ttl="1h")
        assert lease.release() is True
        assert lease.release() is False
        del self.world.holders[call]

    # upkeep and harm ------------------------------------------------

    @rule()
    def collect(self) -> None:
        """Collect with no grace at all."""
        time.sleep(0.002)  # the coarsest clock of an engine has gone on
        self.store.gc(grace=NO_GRACE, dry_run=False, force=True)
        self.world.collect()

    @rule()
    def reopen(self) -> None:
        """Close the store and open it again; one in memory is closed and used again."""
        self.compare_everything()
        self.store.close()
        if not self._url.startswith("memory:"):
            self.store = Store(self._url)

    @rule(data=DATA, how=st.sampled_from(["flip", "truncate", "remove"]))
    def damage(self, data: bytes, how: str) -> None:
        """Harm the stored bytes behind the store's back."""
        digest = self.make.digest(data)
        for payload in self.store.catalog.generations():
            if payload.digest == digest and not payload.is_inline and payload.state == "ok":
                self.harm(payload, data, how)
                self.world.hurt[data] = how != "flip"
                self.world.harmed.add(data)

    def harm(self, payload: Payload, data: bytes, how: str) -> None:
        """Replace the bytes of one physical name, as another program would."""
        storage = self.store.storage
        storage.delete(payload.name)
        if how != "remove":
            changed = data[:-1] if how == "truncate" else data[:-1] + bytes([data[-1] ^ 1])
            storage.write(payload.name, self.make.spooled(changed), op=new_id())

    def healed(self, data: bytes) -> None:
        """Storing a content again heals it where the store has noticed or can see the damage."""
        name = f"00/{'0' * 64}.{new_id()}"
        sees_flips = self.store.storage.path(name) is not None
        if self.world.hurt.get(data) or sees_flips:
            self.world.hurt.pop(data, None)
