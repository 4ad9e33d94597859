"""A catalog against a model of dicts, in any order of steps that Hypothesis can think of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flowblob.catalogs.clock import Clock
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.checks import new_id
from flowblob.drafts import Draft, EntryDraft, Part
from flowblob.errors import ConflictError, NotFoundError, VersionConflictError
from flowblob.model import CacheKey, Ref

KEYS = st.sampled_from(["a", "a/b", "c"])
DATA = st.sampled_from([b"", b"x", b"y", b"z"])
NUMBERS = st.integers(0, 4)
ALIASES = st.sampled_from(["prod", "test"])
CALLS = st.sampled_from(["f1", "f2"])


@dataclass
class Version:
    id: str
    data: bytes
    history: bool
    tags: dict = field(default_factory=dict)


@dataclass
class Life:
    """One incarnation: its living versions by number, and the last number given."""

    versions: dict[int, Version] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    head: int = -1

    @property
    def newest(self) -> int | None:
        return max(self.versions, default=None)


class CatalogMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.catalog = SqliteCatalog.memory(clock=Clock())
        self.lives: dict[str, Life] = {}
        self.entries: dict[str, str] = {}
        self.dead: set[str] = set()

    def teardown(self):
        if hasattr(self, "catalog"):
            self.catalog._end()

    def drop(self, life, number):
        self.dead.add(life.versions.pop(number).id)

    @rule(
        key=KEYS,
        data=DATA,
        history=st.booleans(),
        force=st.booleans(),
        expect=st.none() | NUMBERS,
        call=st.none() | CALLS,
    )
    def put(self, *, key, data, history, force, expect, call):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        entry = None if call is None else EntryDraft(CacheKey(f"fb1:{call}", call, ()))
        draft = Draft(
            new_id(),
            key,
            (Part("", digest, len(data), "c", data=data),),
            "",
            "",
            "bytes",
            history=history,
            new_version=force,
            expect_version=expect,
            entry=entry,
        )
        life = self.lives.get(key) or Life()
        before = life.newest
        try:
            commit = self.catalog.commit(draft)
        except NotFoundError:
            assert expect is not None
            assert before is None
            return
        except VersionConflictError:
            assert expect not in (None, before)
            return
        assert expect in (None, before)
        unchanged = before is not None and life.versions[before].data == data and not force
        assert commit.is_new is not unchanged
        if commit.is_new:
            life.head += 1
            assert commit.blob.version == life.head
            assert commit.blob.prev_version == before
            life.versions[life.head] = Version(commit.blob.id, data, history)
            self.lives[key] = life
        if call is not None:
            self.entries[call] = commit.blob.id
        if commit.is_new and before is not None and not history:
            previous = life.versions[before]
            held = before in life.aliases.values() or previous.id in self.entries.values()
            if not previous.history and not held:
                self.drop(life, before)

    @rule(key=KEYS)
    def delete_key(self, key):
        life = self.lives.pop(key, None)
        try:
            dropped = self.catalog.delete(Ref(key))
        except NotFoundError:
            assert life is None
            return
        assert [blob.version for blob in dropped] == sorted(life.versions, reverse=True)
        self.dead |= {version.id for version in life.versions.values()}

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
            self.drop(life, number)

    @rule(key=KEYS, number=NUMBERS, alias=ALIASES, expect=st.none() | NUMBERS)
    def promote(self, key, number, alias, expect):
        life = self.lives.get(key) or Life()
        found = self.catalog.find(Ref(key, version=number))
        assert (found is None) == (number not in life.versions)
        if found is None:
            return
        try:
            self.catalog.promote(found.blob, alias, expect=expect)
        except VersionConflictError:
            assert expect not in (None, life.aliases.get(alias))
        else:
            assert expect in (None, life.aliases.get(alias))
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

    @rule(key=KEYS, name=ALIASES, value=st.none() | st.sampled_from([1, 1.0, True, "1"]))
    def tag(self, key, name, value):
        life = self.lives.get(key)
        if life is None or life.newest is None:
            return
        version = life.versions[life.newest]
        self.catalog.tag(version.id, {name: value})
        version.tags.pop(name, None)
        if value is not None:
            version.tags[name] = value

    @rule(call=CALLS)
    def delete_entry(self, call):
        assert self.catalog.delete_entry(f"fb1:{call}") is (call in self.entries)
        self.entries.pop(call, None)

    @rule()
    def collect(self):
        for payload in self.catalog.condemned(grace=timedelta(), limit=100):
            self.catalog.forget(payload.generation)

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
                assert repr(sorted(blob.tags.items())) == repr(sorted(version.tags.items()))
                aliases = sorted(a for a, n in life.aliases.items() if n == blob.version)
                assert list(blob.aliases) == aliases
            newest = self.catalog.find(Ref(key))
            assert (newest and newest.blob.version) == life.newest
        living = sorted(key for key, life in self.lives.items() if life.versions)
        assert [blob.key for blob in self.catalog.blobs()] == living
        for call in ("f1", "f2"):
            entry = self.catalog.entry(f"fb1:{call}")
            wanted = self.entries.get(call)
            assert (entry and entry[0].blob.id) == (None if wanted in self.dead else wanted)

    @invariant()
    def the_catalog_is_sound(self):
        assert self.catalog.check() == []


CatalogMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestCatalogMachine = CatalogMachine.TestCase
