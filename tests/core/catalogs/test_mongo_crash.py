"""A process that dies between any two commands to MongoDB, in every operation that has several."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

pytest.importorskip("pymongo")

from flowblob import mongodb
from flowblob.catalogs.mongo import MongoCatalog
from flowblob.checks import new_id
from flowblob.drafts import Draft
from flowblob.errors import NotFoundError
from flowblob.model import Blob, Ref

pytestmark = pytest.mark.services

TTL, HOUR = timedelta(minutes=5), timedelta(hours=1)
KEY = "models/churn"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """What a dead process does: nothing, from here on."""


class Commands:
    """Counts the commands of a catalog, and lets none through after the one at which it dies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit: int | None = None
        self.is_answered = False
        self.count = 0
        real = mongodb.Database.run

        def run(database: Any, command: Any, **options: Any) -> Any:
            if self.limit is None:
                return real(database, command, **options)
            self.count += 1
            if self.count < self.limit:
                return real(database, command, **options)
            if self.count == self.limit and self.is_answered:
                real(database, command, **options)  # done, but nobody heard of it
            raise Killed

        monkeypatch.setattr(mongodb.Database, "run", run)

    @contextmanager
    def dying_at(self, limit: int, *, is_answered: bool):
        self.limit, self.is_answered, self.count = limit, is_answered, 0
        try:
            yield
        except Killed:
            pass
        finally:
            self.limit = None


@pytest.fixture
def commands(monkeypatch):
    return Commands(monkeypatch)


@pytest.fixture
def catalog(mongo_url):
    with_store = MongoCatalog(mongo_url)
    yield with_store
    with_store.close()


def head(catalog: MongoCatalog, key: str = KEY) -> Blob | None:
    found = catalog.find(Ref(key))
    return found and found.blob


class Scene:
    """What stands before an operation, the operation, and how one sees that it happened."""

    def __init__(self, catalog: MongoCatalog, make: Any) -> None:
        self.catalog, self.make = catalog, make
        self.one = catalog.commit(make.draft(data=b"one", run=make.run("first"))).blob
        self.two = catalog.commit(make.draft(data=b"two", history=False)).blob
        catalog.promote(self.one, "prod")
        catalog.commit(make.draft("other", b"gone"))
        catalog.delete(Ref("other"))
        self.held = catalog.acquire("fb1:embed", "me", ttl=HOUR, max_hold=HOUR).reservation
        self.id = new_id()

    def draft(self, data: bytes = b"three", **fields: Any) -> Draft:
        return self.make.draft(data=data, blob_id=self.id, **fields)

    # Each returns whether the operation has happened; all of it or nothing.

    def put(self) -> None:
        self.catalog.commit(self.draft(tags={"a": 1}, parents=(self.one.id,)))

    def put_happened(self) -> bool:
        blob = head(self.catalog)
        if blob.id == self.two.id:
            return False
        assert (blob.id, blob.version, blob.tags) == (self.id, 2, {"a": 1})
        assert [parent.id for parent in self.catalog.parents(blob.id)] == [self.one.id]
        return True

    def put_everything(self) -> None:
        held, entry = self.held, self.make.entry(reservation=self.held)
        assert held is not None
        self.catalog.commit(
            self.draft(history=False, run=self.make.run(), entry=entry, reservation=held)
        )

    def put_everything_happened(self) -> bool:
        # What a put leaves beside the version may be looked at first, and then all of it stands.
        found = self.catalog.entry("fb1:embed")
        uses = [u for u in self.catalog.uses(run={"task": "train"}) if u.blob.id == self.id]
        blob = head(self.catalog)
        if found is None:
            assert (uses, blob.id) == ([], self.two.id)
            return False
        assert (found[0].blob.id, found[0].run) == (blob.id, blob.run)
        assert (blob.id, blob.version) == (self.id, 2)
        assert [use.role for use in self.catalog.uses(blob_id=self.id)] == ["output"]
        assert [b.version for b in self.catalog.versions(KEY)] == [2, 0]  # history=False
        assert self.catalog.holder("fb1:embed") is None
        return True

    def put_unchanged(self) -> None:
        entry = self.make.entry(reservation=self.held)
        draft = self.draft(b"two", history=False, tags={"a": 1}, run=self.make.run(), entry=entry)
        assert not self.catalog.commit(draft).is_new

    def put_unchanged_happened(self) -> bool:
        blob = head(self.catalog)
        assert (blob.id, blob.version) == (self.two.id, 1)
        return self.catalog.entry("fb1:embed") is not None

    def put_stored(self) -> None:
        op = new_id()
        [(payload, _)] = self.catalog.place(op, [self.make.spooled(b"large")], ttl=TTL)
        part = self.make.part(b"large", generation=payload.generation)
        self.catalog.commit(self.draft(op=op, parts=(part,)))

    def put_stored_happened(self) -> bool:
        blob = head(self.catalog)
        if blob.id == self.two.id:
            return False
        [payload] = self.catalog.payloads(self.id)
        assert (blob.id, payload.state) == (self.id, "ok")
        return True

    def begin(self) -> None:
        self.catalog.commit(self.make.draft("new/key", b"new", blob_id=self.id))

    def begin_happened(self) -> bool:
        blob = head(self.catalog, "new/key")
        assert [b.id for b in self.catalog.blobs(prefix="new")] == ([blob.id] if blob else [])
        return blob is not None

    def promote(self) -> None:
        self.catalog.promote(self.two, "prod", expect=0, by="me")

    def promote_happened(self) -> bool:
        at = self.catalog.find(Ref.parse(f"{KEY}@prod")).blob
        blobs = {b.version: b.aliases for b in self.catalog.versions(KEY)}
        assert blobs == {0: ("prod",) * (at.version == 0), 1: ("prod",) * (at.version == 1)}
        return at.version == 1

    def delete_version(self) -> None:
        self.catalog.delete(Ref(KEY, version=1))

    def delete_version_happened(self) -> bool:
        gone = self.catalog.find(Ref(KEY, version=1)) is None
        assert head(self.catalog).version == (0 if gone else 1)
        return gone

    def delete_key(self) -> None:
        self.catalog.delete(Ref(KEY))

    def delete_key_happened(self) -> bool:
        gone = head(self.catalog) is None
        for blob in (self.one, self.two):
            assert (self.catalog.find(Ref(id=blob.id)) is None) is gone
        assert [b.version for b in self.catalog.versions(KEY)] == ([] if gone else [1, 0])
        return gone

    def drop(self) -> None:
        assert [b.id for b in self.catalog.drop([self.one.id, self.two.id])] == [self.two.id]

    drop_happened = delete_version_happened

    def undelete(self) -> None:
        self.catalog.undelete(Ref("other"))

    def undelete_happened(self) -> bool:
        blob = head(self.catalog, "other")
        assert len(self.catalog.versions("other")) == (blob is not None)
        return blob is not None

    def unalias(self) -> None:
        self.catalog.unalias(KEY, "prod")

    def unalias_happened(self) -> bool:
        gone = self.catalog.find(Ref.parse(f"{KEY}@prod")) is None
        assert len(self.catalog.alias_history(KEY, "prod")) >= 1
        return gone

    def tag(self) -> None:
        self.catalog.tag(self.one.id, {"a": 1, "b": 2}, by="me")

    def tag_happened(self) -> bool:
        tags = self.catalog.find(Ref(id=self.one.id)).blob.tags
        history = self.catalog.tag_history(self.one.id)
        assert ([h["name"] for h in history], tags) in (([], {}), (["b", "a"], {"a": 1, "b": 2}))
        return bool(tags)

    def collect(self) -> None:
        for payload in self.catalog.condemned(grace=timedelta(), limit=100):
            self.catalog.forget(payload.generation)

    def collect_happened(self) -> bool:
        return len(self.catalog.generations()) == 2


OPERATIONS = sorted(name.removesuffix("_happened") for name in vars(Scene) if "_happened" in name)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("is_answered", [False, True], ids=["unsent", "unheard"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_death_at_any_command_leaves_all_or_nothing(
    operation, is_answered, catalog, make, commands
):
    limit, outcomes = 1, []
    while True:
        wipe(catalog)
        scene = Scene(catalog, make)
        with commands.dying_at(limit, is_answered=is_answered):
            getattr(scene, operation)()
        is_over = commands.count < limit
        other = MongoCatalog(catalog._database.url)
        scene.catalog = other
        outcomes.append(getattr(scene, f"{operation}_happened")())
        heal(other, scene)
        assert getattr(scene, f"{operation}_happened")() or not outcomes[-1]
        go_on(other, make)
        other.close()
        if is_over:
            break
        limit += 1
    assert outcomes[-1]
    assert limit > 2 or operation == "tag"
    # What has happened once does not un-happen when the process lives a little longer.
    assert outcomes == sorted(outcomes)


def wipe(catalog: MongoCatalog) -> None:
    tables = catalog._tables
    for name in ("keys", "steps", "payloads", "pins", "runs", "uses", "slots"):
        getattr(tables, name).delete_all({})


def heal(catalog: MongoCatalog, scene: Scene) -> None:
    """A collector comes when everybody has waited long enough."""
    tables = catalog._tables
    tables.steps.update_all({"state": "pending"}, {"$set": {"begun": LONG_AGO}})
    tables.pins.update_all({}, {"$set": {"at": LONG_AGO}})
    for payload in catalog.condemned(grace=timedelta(), limit=100):
        catalog.forget(payload.generation)
    assert catalog.check() == []
    assert tables.steps.many({"state": "pending"}) == []
    assert tables.steps.many({"open": True}) == []
    assert tables.slots.many({"mark": {"$ne": None}}) == []
    assert tables.pins.many({}) == []
    used = {p.generation for blob in catalog.live() for p in catalog.payloads(blob.id)}
    assert {payload.generation for payload in catalog.generations()} == used


def go_on(catalog: MongoCatalog, make: Any) -> None:
    """Nothing is stuck: every verb works on the same names."""
    before = head(catalog)
    draft = make.draft(data=b"afterwards", entry=make.entry(), run=make.run("later"))
    blob = catalog.commit(draft).blob
    assert blob.version > before.version if before else blob.version == 0
    assert catalog.entry("fb1:embed")[0].blob.id == blob.id
    assert catalog.promote(blob, "prod").aliases == ("prod",)
    catalog.unalias(KEY, "prod")
    assert catalog.delete(Ref(KEY))[0].id == blob.id
    with pytest.raises(NotFoundError):
        catalog.delete(Ref(KEY))
    assert catalog.check() == []


@pytest.mark.parametrize("is_answered", [False, True], ids=["unsent", "unheard"])
def test_a_put_that_is_repeated_with_its_op_happened_once(catalog, make, commands, is_answered):
    """As a caller does who was cut off and does not know what became of it."""
    limit = 1
    while True:
        key = f"key-{limit}"
        draft = make.draft(key, b"data", op=new_id(), expect_version=None, create=True)
        with commands.dying_at(limit, is_answered=is_answered):
            catalog.commit(draft)
        is_over = commands.count < limit
        again = catalog.commit(draft)
        assert (again.is_new, again.blob.version) == (True, 0)
        assert catalog.outcome(draft.op) == again.blob
        assert [blob.id for blob in catalog.versions(key)] == [draft.blob_id]
        if is_over:
            break
        limit += 1
    assert catalog.check() == []
