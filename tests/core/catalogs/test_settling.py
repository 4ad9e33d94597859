"""Replies that never come: every change of a catalog is made once, and says what it has done."""

from __future__ import annotations

import pytest
from changes import CHANGES, MOMENT, Scene
from cutting import FATES, Cutter

from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.drafts import Note, Part
from flowblob.model import Ref
from flowblob.portable import KINDS

pytestmark = [pytest.mark.services, pytest.mark.slow]


class Postgres:
    url_of = "postgres_url"
    #: The end of a transaction, or the statement that is one.
    change = rb"COMMIT\0|put_inline"
    making = rb"COMMIT\0"

    @staticmethod
    def open(url):
        from flowblob.catalogs.postgres import PostgresCatalog

        return PostgresCatalog(url)

    @staticmethod
    def wipe(url):
        import psycopg

        server, _, schema = url.partition("?schema=")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


class Mongo:
    url_of = "mongo_url"
    #: A command by its first element.
    change = rb"\x02(insert|update|delete)\0"
    making = rb"\x02(insert|createIndexes)\0"

    @staticmethod
    def open(url):
        pytest.importorskip("pymongo")
        from flowblob.catalogs.mongo import MongoCatalog

        return MongoCatalog(url)

    @staticmethod
    def wipe(url):
        import pymongo

        with pymongo.MongoClient(url) as client:
            client.drop_database(client.get_default_database().name)


@pytest.fixture(params=[Postgres, Mongo], ids=["postgres", "mongo"])
def engine(request):
    return request.param


@pytest.fixture
def cutter(request, engine):
    between = Cutter(request.getfixturevalue(engine.url_of), engine.change)
    yield between
    between.close()


@pytest.fixture
def store(request, engine, cutter):
    """The store, straight and by way of the proxy."""
    straight = engine.open(request.getfixturevalue(engine.url_of))
    cut = engine.open(cutter.url)
    assert straight.store_id == cut.store_id
    yield straight, cut
    cut.close()
    straight.close()


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_happens_once_wherever_the_connection_breaks(name, fate, cutter, store, make):
    straight, cut = store
    change, number = CHANGES[name], 0
    while True:
        number += 1
        scene = Scene(straight, make, f"{name}-{number}")
        halves = change.halves(scene, cut, change.prepare(scene))
        cutter.arm(fate, number=number)
        next(halves)
        cutter.disarm()
        assert next(halves, "end") == "end"
        assert straight.check() == []
        if not cutter.cuts:
            break
    assert number > 1  # else nothing was cut


# ------------------------------------------------------------------ somebody else meanwhile


class Rivals:
    """What another does while the connection is broken, and what must hold then.

    Each returns whether it has seen the change; the second half is told. One that was seen came
    first, so it must not come once more.
    """

    @staticmethod
    def tag(s):
        saw = "a" in s.catalog.find(Ref(id=s.one.id)).blob.tags
        s.catalog.tag(s.one.id, {"a": "rival"})
        yield saw
        assert s.catalog.find(Ref(id=s.one.id)).blob.tags["a"] == ("rival" if saw else 1)

    @staticmethod
    def promote(s):
        saw = s.aliases() == {"prod": 1}
        if saw:
            s.catalog.promote(s.one, "prod")
        yield saw
        assert s.aliases() == {"prod": 0 if saw else 1}

    @staticmethod
    def unalias(s):
        saw = not s.aliases()
        if saw:
            s.catalog.promote(s.two, "prod")
        yield saw
        assert s.aliases() == ({"prod": 1} if saw else {})

    @staticmethod
    def delete_key(s):
        saw = not s.live()
        if saw:
            s.catalog.commit(s.make.draft(s.key, s.bytes("reborn")))
        yield saw
        assert s.live() == ([0] if saw else [])

    @staticmethod
    def undelete(s):
        saw = bool(s.catalog.versions(s.gone))
        if saw:
            s.catalog.delete(Ref(s.gone))
        yield saw
        assert bool(s.catalog.versions(s.gone)) is not saw

    @staticmethod
    def bind(s):
        saw = s.catalog.bound("prefect", s.key) is not None
        s.catalog.bind("prefect", s.key, blob_id=s.two.id, record=b"rival")
        yield saw
        assert s.catalog.bound("prefect", s.key)[1] == (b"rival" if saw else b"mine")

    @staticmethod
    def mark(s):
        [payload] = s.catalog.payloads(s.one.id)
        saw = payload.state == "suspect"
        s.catalog.mark(payload.generation, "ok")
        yield saw
        assert s.states(payload.generation) == ["ok" if saw else "suspect"]

    @staticmethod
    def delete_entry(s):
        saw = s.catalog.entry(s.slot) is None
        draft = s.make.draft(s.cached.key, s.bytes("again"), entry=s.make.entry(s.slot[4:]))
        if saw:
            s.catalog.commit(draft)
        yield saw
        assert (s.catalog.entry(s.slot) is not None) is saw

    @staticmethod
    def expire_entry(s):
        saw = s.catalog.entry(s.slot)[0].expires_at is not None
        s.catalog.expire_entry(s.slot, None)
        yield saw
        assert (s.catalog.entry(s.slot)[0].expires_at is None) is saw

    @staticmethod
    def pin_entry(s):
        saw = s.catalog.entry(s.slot)[0].pinned
        s.catalog.pin_entry(s.slot, is_pinned=False)
        yield saw
        assert s.catalog.entry(s.slot)[0].pinned is not saw

    @staticmethod
    def release(s):
        saw = s.catalog.holder(s.lease.key) is None
        if saw:
            s.acquire(s.catalog, s.lease.key, "rival")
        yield saw
        assert (s.catalog.holder(s.lease.key) is not None) is saw


RIVALS = sorted(name for name in vars(Rivals) if not name.startswith("_"))


@pytest.mark.parametrize("name", RIVALS)
def test_a_change_is_not_repeated_over_what_came_after_it(name, cutter, store, make):
    straight, cut = store
    change, number, seen = CHANGES[name], 0, 0
    while True:
        number += 1
        scene = Scene(straight, make, f"{name}-{number}")
        halves = change.halves(scene, cut, change.prepare(scene))
        rival = getattr(Rivals, name)(scene)
        was_seen = []
        cutter.between = lambda rival=rival, told=was_seen: told.append(next(rival))
        cutter.arm(number=number)
        next(halves)
        cutter.disarm()
        if not cutter.cuts:
            break
        assert halves.gi_frame.f_locals.get("done", True) is True
        assert next(rival, "end") == "end"
        assert straight.check() == []
        seen += was_seen[0]
    assert seen  # at one of the messages the change was there already


# ------------------------------------------------------------------ stores that move and begin


class Source:
    """A store of which something of every kind goes elsewhere."""

    def __init__(self, make, name):
        self.catalog = SqliteCatalog.memory()
        s = self.scene = Scene(self.catalog, make, name)
        self.catalog.tag(s.one.id, {"a": 1})
        draft = make.draft(s.key, s.bytes("three"), parents=(s.one.id,), run=s.run)
        self.catalog.commit(draft)
        self.catalog.commit(make.draft(s.key, s.bytes("three")))  # unchanged: an outcome
        self.catalog.bind("prefect", s.key, blob_id=s.one.id, record=b"record")
        self.catalog.record([Note(MOMENT, s.run, s.one.id, "cache_hit", s.slot, s.key)])

    def records(self, kind):
        if kind == "tombstone":  # of what arrived while it lived
            self.catalog.delete(Ref(self.scene.key, version=1))
        return self.catalog.scan(kind).records

    def parts(self, kind, records):
        payloads = [p for r in records if kind == "version" for p in self.catalog.payloads(r["id"])]
        return {p.digest: Part(p.part, p.digest, p.size, p.checksum, data=p.data) for p in payloads}


@pytest.mark.parametrize("fate", FATES)
def test_records_that_arrive_are_taken_and_counted_once(fate, cutter, store, make):
    straight, cut = store
    number, cuts = 0, dict.fromkeys(KINDS, 0)
    while True:
        number += 1 + number // 3  # the first messages, and some of the many that follow
        source, model = Source(make, f"moved-{number}"), SqliteCatalog.memory()
        total = 0
        for kind in KINDS:
            records = source.records(kind)
            parts = source.parts(kind, records)
            cutter.arm(fate, number=number)
            taken = cut.absorb(kind, records, parts=parts)
            cutter.disarm()
            assert (kind, taken) == (kind, model.absorb(kind, records, parts=parts))
            assert cut.absorb(kind, records, parts=parts) == 0
            assert straight.check() == []
            cuts[kind] += cutter.cuts
            total += cutter.cuts
        name = source.scene.key
        assert [b.version for b in straight.versions(name)] == [2, 0]
        assert straight.versions(name) == model.versions(name)
        assert straight.find(Ref(name), payload=True).payload.data == source.scene.bytes("three")
        assert straight.bound("prefect", name) == (source.scene.one.id, b"record")
        if not total:
            break
    assert all(cuts.values())


@pytest.mark.parametrize("fate", FATES)
def test_a_store_is_made_once(fate, engine, cutter, request):
    url = request.getfixturevalue(engine.url_of)
    number = 0
    while True:
        number += 1
        engine.wipe(url)
        first, second = engine.open(cutter.url), engine.open(url)
        cutter.arm(fate, pattern=engine.making, number=number)
        made = first.store_id
        cutter.disarm()
        assert made == second.store_id
        assert second.migrate(dry_run=True) == []
        assert second.check() == []
        first.close()
        second.close()
        if not cutter.cuts:
            break
    assert number > 1
