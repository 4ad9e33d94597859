"""Every change that a catalog can make, and how one sees that it was made exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from flowblob.abc import Catalog
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.checks import new_id
from flowblob.drafts import Note, Part
from flowblob.model import Ref, Reservation
from flowblob.portable import Kind, Portable
from flowblob.testing import Make
from flowblob.testing.portable import scan_all

HOUR = timedelta(hours=1)
MOMENT = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


class Scene:
    """What stands before a change, under names that no other scene has.

    Args:
        catalog: An undisturbed way to the store: sets the scene, and looks at it afterwards.
        make: Maker of drafts.
        name: Tells this scene's names from those of others.
    """

    def __init__(self, catalog: Catalog, make: Make, name: str) -> None:
        self.catalog, self.make = catalog, make
        self.key, self.gone, self.slot = f"models/{name}", f"gone/{name}", f"fb1:{name}"
        self.run = make.run(name)
        self.one = catalog.commit(make.draft(self.key, self.bytes("one"), run=self.run)).blob
        self.two = catalog.commit(make.draft(self.key, self.bytes("two"))).blob
        catalog.promote(self.one, "prod")
        catalog.commit(make.draft(self.gone, self.bytes("gone")))
        catalog.delete(Ref(self.gone))
        self.cached = catalog.commit(
            make.draft(f"cached/{name}", self.bytes("cached"), entry=make.entry(name))
        ).blob
        self.lease = self.acquire(catalog, f"{self.slot}/held", "me")
        self.op = new_id()

    def bytes(self, text: str) -> bytes:
        return f"{self.key} {text}".encode()

    def acquire(self, catalog: Catalog, key: str, owner: str) -> Reservation:
        taken = catalog.acquire(key, owner, ttl=HOUR, max_hold=HOUR)
        assert taken.reservation is not None
        return taken.reservation

    def place(self, catalog: Catalog) -> str:
        spooled = [self.make.spooled(self.bytes("large"))]
        [(payload, must_write)] = catalog.place(self.op, spooled, ttl=HOUR)
        assert must_write
        return payload.generation

    def stored(self) -> str:
        """Return the generation of a payload that a version has in the storage."""
        generation = self.place(self.catalog)
        part = self.make.part(self.bytes("large"), generation=generation)
        self.catalog.commit(self.make.draft(f"{self.key}/stored", op=self.op, parts=(part,)))
        return generation

    def live(self) -> list[int]:
        return [blob.version for blob in self.catalog.versions(self.key)]

    def states(self, generation: str) -> list[str]:
        return [p.state for p in self.catalog.generations() if p.generation == generation]

    def aliases(self) -> dict[str, int]:
        return {name: b.version for b in self.catalog.versions(self.key) for name in b.aliases}

    def moves(self, alias: str = "prod") -> list[int | None]:
        """Return where an alias was, oldest move first."""
        history = self.catalog.alias_history(self.key, alias)
        return [move["version"] for move in reversed(history)]


class Change(NamedTuple):
    """One change in two halves: to its `yield` it is made, beyond it stands what holds then.

    Attributes:
        halves: Takes the scene, the catalog that makes the change, and what `prepare` returned.
        prepare: What must stand before.
    """

    halves: Callable[[Scene, Catalog, Any], Iterator[None]]
    prepare: Callable[[Scene], Any]


CHANGES: dict[str, Change] = {}


def change(prepare: Callable[[Scene], Any] = lambda scene: None) -> Callable[..., Any]:
    """Add a function to the changes, under its name."""

    def register(halves: Callable[..., Any]) -> Callable[..., Any]:
        CHANGES[halves.__name__] = Change(halves, prepare)
        return halves

    return register


# ------------------------------------------------------------------ puts


@change()
def place(s: Scene, catalog: Catalog, _: Any) -> Any:
    generation = s.place(catalog)
    yield
    assert s.states(generation) == ["uploading"]
    assert s.place(s.catalog) == generation  # the same put, asking again
    found = [p for p in s.catalog.generations() if p.digest == s.make.digest(s.bytes("large"))]
    assert len(found) == 1


@change(lambda s: s.place(s.catalog))
def renew(s: Scene, catalog: Catalog, generation: str) -> Any:
    catalog.renew(s.op, HOUR)
    yield
    assert s.states(generation) == ["uploading"]


@change(lambda s: s.place(s.catalog))
def unpin(s: Scene, catalog: Catalog, generation: str) -> Any:
    catalog.unpin(s.op)
    yield
    s.catalog.condemned(grace=timedelta(), limit=1000)
    assert s.states(generation) == ["condemned"]


@change()
def commit(s: Scene, catalog: Catalog, _: Any) -> Any:
    draft = s.make.draft(s.key, s.bytes("three"), tags={"a": 1}, run=s.run)
    done = catalog.commit(draft)
    yield
    assert (done.is_new, done.blob.version, done.blob.id) == (True, 2, draft.blob_id)
    assert s.catalog.outcome(draft.op) == done.blob
    assert s.live() == [2, 1, 0]


@change()
def commit_everything(s: Scene, catalog: Catalog, _: Any) -> Any:
    entry = s.make.entry(f"{s.slot[4:]}/held", s.lease)
    draft = s.make.draft(
        s.key, s.bytes("three"), run=s.run, parents=(s.one.id,), entry=entry, reservation=s.lease,
        history=False, partitions={"a": "b"},
    )  # fmt: skip
    done = catalog.commit(draft)
    yield
    assert (done.is_new, done.blob.version) == (True, 2)
    assert s.catalog.entry(f"{s.slot}/held")[0].blob.id == done.blob.id
    assert s.catalog.holder(f"{s.slot}/held") is None
    assert s.live() == [2, 1, 0]


@change()
def commit_unchanged(s: Scene, catalog: Catalog, _: Any) -> Any:
    draft = s.make.draft(s.key, s.bytes("two"), tags={"a": 1}, run=s.run)
    done = catalog.commit(draft)
    yield
    assert (done.is_new, done.blob.id) == (False, s.two.id)
    assert len(s.catalog.tag_history(s.two.id)) == 1
    assert s.live() == [1, 0]


@change()
def mark(s: Scene, catalog: Catalog, _: Any) -> Any:
    [payload] = s.catalog.payloads(s.one.id)
    catalog.mark(payload.generation, "suspect")
    yield
    assert s.states(payload.generation) == ["suspect"]


# ------------------------------------------------------------------ versions and keys


@change()
def delete_key(s: Scene, catalog: Catalog, _: Any) -> Any:
    dropped = catalog.delete(Ref(s.key), by="me")
    yield
    assert [blob.version for blob in dropped] == [1, 0]
    assert s.live() == []
    assert s.moves() == [0, None]


@change()
def delete_version(s: Scene, catalog: Catalog, _: Any) -> Any:
    dropped = catalog.delete(Ref(s.key, version=1))
    yield
    assert [blob.id for blob in dropped] == [s.two.id]
    assert s.live() == [0]


@change()
def drop(s: Scene, catalog: Catalog, _: Any) -> Any:
    dropped = catalog.drop([s.two.id, s.one.id, s.cached.id])
    yield
    assert [blob.id for blob in dropped] == [s.two.id, s.cached.id]  # an alias holds the other
    assert s.live() == [0]


@change()
def undelete(s: Scene, catalog: Catalog, _: Any) -> Any:
    back = catalog.undelete(Ref(s.gone), by="me")
    yield
    assert [(blob.key, blob.version) for blob in back] == [(s.gone, 0)]
    assert s.catalog.versions(s.gone) == back


# ------------------------------------------------------------------ names


@change()
def tag(s: Scene, catalog: Catalog, _: Any) -> Any:
    blob = catalog.tag(s.one.id, {"a": 1, "b": 2}, by="me")
    yield
    assert blob.tags == {"a": 1, "b": 2}
    assert sorted(h["name"] for h in s.catalog.tag_history(s.one.id)) == ["a", "b"]


@change()
def promote(s: Scene, catalog: Catalog, _: Any) -> Any:
    blob = catalog.promote(s.two, "prod", expect=0, by="me")
    yield
    assert (blob.version, blob.aliases) == (1, ("prod",))
    assert (s.aliases(), s.moves()) == ({"prod": 1}, [0, 1])


@change()
def unalias(s: Scene, catalog: Catalog, _: Any) -> Any:
    catalog.unalias(s.key, "prod")
    yield
    assert (s.aliases(), s.moves()) == ({}, [0, None])


@change()
def set_value_digest(s: Scene, catalog: Catalog, _: Any) -> Any:
    catalog.set_value_digest(s.one.id, "fb1:abc")
    yield
    assert s.catalog.find(Ref(id=s.one.id)).blob.value_digest == "fb1:abc"


@change()
def bind(s: Scene, catalog: Catalog, _: Any) -> Any:
    catalog.bind("prefect", s.key, blob_id=s.one.id, record=b"mine")
    yield
    assert s.catalog.bound("prefect", s.key) == (s.one.id, b"mine")


# ------------------------------------------------------------------ records of another store


def _from_elsewhere(s: Scene) -> tuple[list[tuple[Kind, list[Portable]]], dict[str, Part]]:
    """Return the records of another catalog, kind by kind, and the payload they need."""
    other = SqliteCatalog.memory()
    run = s.make.run(f"{s.key}/far")
    other.commit(s.make.draft(f"{s.key}/far", s.bytes("far"), run=run))
    records = [(kind, found) for kind, found in scan_all(other).items() if found]
    other.close()
    part = s.make.part(s.bytes("far"))
    return records, {part.digest: part}


@change(_from_elsewhere)
def absorb(s: Scene, catalog: Catalog, elsewhere: Any) -> Any:
    records, parts = elsewhere
    taken = {kind: catalog.absorb(kind, found, parts=parts) for kind, found in records}
    yield
    assert taken == {"run": 1, "incarnation": 1, "version": 1, "use": 1}
    here = scan_all(s.catalog, key=f"{s.key}/far")
    assert {kind: here[kind] for kind, _ in records} == dict(records)


# ------------------------------------------------------------------ runs and the cache


@change()
def record(s: Scene, catalog: Catalog, _: Any) -> Any:
    hit = Note(MOMENT, s.run, s.one.id, "cache_hit", s.slot, s.key, seconds=1.5, size=3)
    miss = Note(MOMENT, role="miss", name=s.key, seconds=1.5, size=3)
    catalog.record([hit, replace(hit, role="input"), miss])
    yield
    assert len(s.catalog.uses(blob_id=s.one.id)) == 3  # with the output
    assert s.catalog.entry(s.slot)[0].hits == 2
    [stats] = s.catalog.lookups(name=s.key)
    assert (stats.hits, stats.misses, stats.seconds, stats.size) == (2, 1, 4.5, 9)


@change()
def delete_entry(s: Scene, catalog: Catalog, _: Any) -> Any:
    done = catalog.delete_entry(s.slot)
    yield
    assert (done, s.catalog.entry(s.slot)) == (True, None)


@change()
def expire_entry(s: Scene, catalog: Catalog, _: Any) -> Any:
    done = catalog.expire_entry(s.slot, MOMENT)
    yield
    assert (done, s.catalog.entry(s.slot)[0].expires_at) == (True, MOMENT)


@change()
def touch_entry(s: Scene, catalog: Catalog, _: Any) -> Any:
    done = catalog.touch_entry(s.slot)
    yield
    assert done
    assert s.catalog.entry(s.slot)[0].last_hit_at is not None


@change()
def pin_entry(s: Scene, catalog: Catalog, _: Any) -> Any:
    done = catalog.pin_entry(s.slot, is_pinned=True)
    yield
    assert (done, s.catalog.entry(s.slot)[0].pinned) == (True, True)


@change()
def acquire(s: Scene, catalog: Catalog, _: Any) -> Any:
    lease = s.acquire(catalog, f"{s.slot}/free", "me")
    yield
    assert (lease.token, lease.owner) == (1, "me")
    assert s.catalog.holder(f"{s.slot}/free")[0] == "me"
    assert s.catalog.release(lease)


@change()
def heartbeat(s: Scene, catalog: Catalog, _: Any) -> Any:
    lease = catalog.heartbeat(s.lease)
    yield
    assert lease.token == s.lease.token
    assert s.catalog.holder(lease.key)[0] == "me"


@change()
def release(s: Scene, catalog: Catalog, _: Any) -> Any:
    done = catalog.release(s.lease)
    yield
    assert (done, s.catalog.holder(s.lease.key)) == (True, None)
    assert s.acquire(s.catalog, s.lease.key, "you").token == s.lease.token + 1


# ------------------------------------------------------------------ upkeep


def _unpinned(s: Scene) -> str:
    generation = s.place(s.catalog)
    s.catalog.unpin(s.op)
    return generation


def _condemned(s: Scene) -> str:
    generation = _unpinned(s)
    s.catalog.condemned(grace=timedelta(), limit=1000)
    return generation


@change(_unpinned)
def condemned(s: Scene, catalog: Catalog, generation: str) -> Any:
    found = catalog.condemned(grace=timedelta(), limit=1000)
    yield
    assert generation in {payload.generation for payload in found}
    assert s.states(generation) == ["condemned"]


@change(_condemned)
def forget(s: Scene, catalog: Catalog, generation: str) -> Any:
    catalog.forget(generation)
    yield
    assert s.states(generation) == []


def _two_copies(s: Scene) -> tuple[str, str]:
    bad = s.stored()
    s.catalog.mark(bad, "suspect")
    s.op = new_id()
    good = s.place(s.catalog)
    part = s.make.part(s.bytes("large"), generation=good)
    # Other metadata, so that it is a version of its own; the commit heals the first one's.
    s.catalog.commit(s.make.draft(f"{s.key}/again", op=s.op, parts=(part,)))
    s.catalog.mark(bad, "ok")
    return good, bad


@change(_two_copies)
def repoint(s: Scene, catalog: Catalog, copies: tuple[str, str]) -> Any:
    good, spare = copies
    moved = catalog.repoint(good, spare)
    yield
    assert moved == 2
    assert (s.states(good), s.states(spare)) == (["damaged"], ["ok"])
    assert len(s.catalog.users(spare)) == 2
