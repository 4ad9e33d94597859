"""Dropping, collecting and bringing back, against a model of dicts, in any order of steps."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from flowblob.catalogs.clock import Clock
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.checks import new_id
from flowblob.drafts import Draft, Part
from flowblob.errors import ConflictError, NotFoundError
from flowblob.model import Ref
from flowblob.testing.model import Grave, Life, Version

KEYS = st.sampled_from(["a", "a/b", "c"])
DATA = st.sampled_from([b"", b"x", b"y", b"z"])
NUMBERS = st.integers(0, 4)
ALIASES = st.sampled_from(["prod", "test"])


class UndeleteMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.catalog = SqliteCatalog.memory(clock=Clock())
        self.lives: dict[str, Life] = {}
        self.dead: set[str] = set()
        self.ended: dict[str, list[Life]] = {}
        self.step = 0

    def teardown(self):
        if hasattr(self, "catalog"):
            self.catalog._end()

    def bury(self, life, number, how):
        version = life.versions.pop(number)
        self.dead.add(version.id)
        life.graves[number] = Grave(version, how, self.step)

    def revive(self, key, life, numbers):
        for number in numbers:
            version = life.graves.pop(number).version
            self.dead.remove(version.id)
            life.versions[number] = version
        if life is not self.lives.get(key):
            self.lives[key] = self.ended[key].pop()
            life.aliases = {a: n for a, n in life.aliases.items() if n in numbers}

    @rule(key=KEYS, data=DATA, history=st.booleans())
    def put(self, *, key, data, history):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        draft = Draft(
            new_id(),
            key,
            (Part("", digest, len(data), "c", data=data),),
            "",
            "",
            "bytes",
            history=history,
        )
        life = self.lives.get(key) or Life()
        before = life.newest
        commit = self.catalog.commit(draft)
        unchanged = before is not None and life.versions[before].data == data
        assert commit.is_new is not unchanged
        if commit.is_new:
            life.head += 1
            assert commit.blob.version == life.head
            assert commit.blob.prev_version == before
            life.versions[life.head] = Version(commit.blob.id, data, history, inline=True)
            self.lives[key] = life
        if commit.is_new and before is not None and not history:
            previous = life.versions[before]
            if not previous.history and before not in life.aliases.values():
                self.step += 1
                self.bury(life, before, "released")

    @rule(key=KEYS)
    def delete_key(self, key):
        life = self.lives.get(key) or Life()
        try:
            dropped = self.catalog.delete(Ref(key))
        except NotFoundError:
            assert not life.versions
            return
        del self.lives[key]
        assert [blob.version for blob in dropped] == sorted(life.versions, reverse=True)
        self.step += 1
        for number in list(life.versions):
            self.bury(life, number, "with its key")
        self.ended.setdefault(key, []).append(life)

    @rule(key=KEYS, number=NUMBERS)
    def delete_version(self, key, number):
        life = self.lives.get(key) or Life()
        try:
            self.catalog.delete(Ref(key, version=number))
        except NotFoundError:
            assert number not in life.versions
        except ConflictError:
            assert number in life.aliases.values()
        else:
            assert number not in life.aliases.values()
            self.step += 1
            self.bury(life, number, "dropped")

    @rule(key=KEYS, numbers=st.sets(NUMBERS))
    def drop(self, key, numbers):
        life = self.lives.get(key) or Life()
        going = {n for n in numbers if n in life.versions and n not in life.aliases.values()}
        asked = [life.versions[n].id for n in numbers if n in life.versions]
        dropped = self.catalog.drop([*asked, *sorted(self.dead)])
        assert {blob.version for blob in dropped} == going
        self.step += 1
        for number in going:
            self.bury(life, number, "dropped")

    def buried(self):
        """Return the keys of which something was dropped, and the numbers that were."""
        found = {}
        for lives in ({key: [life] for key, life in self.lives.items()}, self.ended):
            for key, stack in lives.items():
                found.setdefault(key, set()).update(*(life.graves for life in stack))
        return {key: sorted(numbers) for key, numbers in found.items() if numbers}

    @precondition(lambda self: self.buried())
    @rule(data=st.data())
    def undelete(self, data):
        buried = self.buried()
        key = data.draw(st.sampled_from(sorted(buried)))
        number = data.draw(st.none() | st.sampled_from(buried[key]))
        standing = self.lives.get(key)
        ended = next(iter(self.ended.get(key, [])[-1:]), None)
        for life in (standing, ended):
            found = {} if life is None else self.dropped(life, number, is_standing=life is standing)
            if found:
                break
        back = [n for n, grave in found.items() if not grave.is_empty]
        try:
            blobs = self.catalog.undelete(Ref(key, version=number))
        except NotFoundError:
            assert not back
        except ConflictError:
            assert standing is not None
            assert life is ended
            assert found
        else:
            assert life is standing or standing is None
            assert [blob.version for blob in blobs] == sorted(back, reverse=True)
            assert back
            self.revive(key, life, back)

    def dropped(self, life, number, *, is_standing):
        """Return the graves of one life that a reference means."""
        if number is not None:
            return {number: life.graves[number]} if number in life.graves else {}
        if not is_standing:
            return {n: g for n, g in life.graves.items() if g.how == "with its key"}
        graves = {n: g for n, g in life.graves.items() if g.how == "dropped"}
        last = max((grave.step for grave in graves.values()), default=0)
        return {} if life.versions else {n: g for n, g in graves.items() if g.step == last}

    @rule(key=KEYS, number=NUMBERS, alias=ALIASES)
    def promote(self, key, number, alias):
        life = self.lives.get(key) or Life()
        found = self.catalog.find(Ref(key, version=number))
        assert (found is None) == (number not in life.versions)
        if found is not None:
            self.catalog.promote(found.blob, alias)
            life.aliases[alias] = number

    @rule(key=KEYS, alias=ALIASES)
    def unalias(self, key, alias):
        life = self.lives.get(key) or Life()
        try:
            self.catalog.unalias(key, alias)
        except NotFoundError:
            assert alias not in life.aliases
        else:
            del life.aliases[alias]

    @rule()
    def collect(self):
        for payload in self.catalog.condemned(grace=timedelta(), limit=100):
            self.catalog.forget(payload.generation)
        ended = [life for lives in self.ended.values() for life in lives]
        used = {v.data for life in self.lives.values() for v in life.versions.values()}
        for life in (*self.lives.values(), *ended):
            for grave in life.graves.values():
                grave.is_empty = grave.is_empty or grave.version.data not in used

    @invariant()
    def everything_is_as_modelled(self):
        for key, life in self.lives.items():
            found = self.catalog.versions(key)
            assert [b.version for b in found] == sorted(life.versions, reverse=True)
            for blob in found:
                version = life.versions[blob.version]
                record = self.catalog.find(Ref(id=blob.id), payload=True)
                assert record is not None
                assert record.payload is not None
                assert (blob.id, record.payload.data) == (version.id, version.data)
                aliases = sorted(a for a, n in life.aliases.items() if n == blob.version)
                assert list(blob.aliases) == aliases
            newest = self.catalog.find(Ref(key))
            assert (newest and newest.blob.version) == life.newest
        living = sorted(key for key, life in self.lives.items() if life.versions)
        assert [blob.key for blob in self.catalog.blobs()] == living
        ids = sorted(v.id for life in self.lives.values() for v in life.versions.values())
        assert [blob.id for blob in self.catalog.live()] == ids

    @invariant()
    def the_catalog_is_sound(self):
        assert self.catalog.check() == []


UndeleteMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestUndeleteMachine = UndeleteMachine.TestCase
