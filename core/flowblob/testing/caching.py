"""Cache entries and their figures, on any catalog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowblob.abc import Catalog
from flowblob.checks import utc_now
from flowblob.drafts import Note, Payload
from flowblob.errors import AlreadyExistsError, InvalidInputError
from flowblob.model import CacheEntry, Read, Ref
from flowblob.testing.contract import LONG, TICK, CatalogContract, numbers
from flowblob.testing.making import Make

KEY = "fb1:embed"
NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)


def standing(catalog: Catalog, key: str = KEY) -> tuple[CacheEntry, Payload]:
    """Return an entry and its payload; there must be one."""
    answer = catalog.entry(key)
    assert answer is not None, key
    entry, payload = answer
    assert payload is not None
    return entry, payload


def names(entries: list[CacheEntry]) -> list[str]:
    """Return the names of entries, in their order."""
    return [entry.name for entry in entries]


class EntryTests(CatalogContract):
    """Writing, reading and dropping entries; fencing stands with the reservations."""

    def test_an_entry_is_found_with_all_that_belongs_to_it(
        self, catalog: Catalog, make: Make
    ) -> None:
        end = datetime(2031, 5, 1, 12, 30, tzinfo=UTC)
        draft = make.entry(
            cost=timedelta(seconds=14.25),
            expires_at=end,
            reads=(Read("x@prod", "id-1"), Read("y", "")),
            metadata={"a": [1]},
            outputs={"second": "id-2"},
        )
        blob = catalog.commit(make.draft(data=b"value", run=make.run(), entry=draft)).blob
        for _ in range(3):
            entry, payload = standing(catalog)
            assert entry.blob == blob
            assert entry.run == blob.run
            assert (entry.key, entry.name, entry.cost) == (KEY, "embed", timedelta(seconds=14.25))
            assert entry.reads == (Read("x@prod", "id-1"), Read("y", ""))
            assert (entry.metadata, entry.outputs) == ({"a": [1]}, {"second": "id-2"})
            assert (entry.hits, entry.last_hit_at, entry.pinned) == (0, None, False)
            assert (entry.expires_at, entry.rev > 0) == (end, True)
            assert entry.created_at == entry.updated_at
            assert payload.data == b"value"
        assert catalog.entry("fb1:other") is None

    def test_ingredients_are_read_only_where_entries_are_listed(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(run=make.run(), entry=make.entry()))
        entry, _ = standing(catalog)
        assert entry.ingredients == ()
        [listed] = catalog.entries(filters={"key": KEY})
        assert listed.ingredients == make.cache_key().ingredients
        assert (listed.blob, listed.run, listed.rev) == (entry.blob, entry.run, entry.rev)

    def test_an_unchanged_result_names_the_run_that_computed_it(
        self, catalog: Catalog, make: Make
    ) -> None:
        first = catalog.commit(make.draft(run=make.run("one"), entry=make.entry()))
        run = make.run("two", used={"q": 'x"y'})
        again = catalog.commit(make.draft(run=run, entry=make.entry(metadata={"n": 2})))
        assert not again.is_new
        for _ in range(3):
            entry, _ = standing(catalog)
            assert entry.blob.id == first.blob.id
            assert entry.blob.run is not None
            assert entry.blob.run.task == "one"
            assert entry.run is not None
            assert (entry.run.task, entry.run.used) == ("two", {"q": 'x"y'})
        catalog.commit(make.draft(entry=make.entry()))
        assert standing(catalog)[0].run is None

    def test_an_overwrite_keeps_the_first_moment_and_changes_rev(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(entry=make.entry()))
        before, _ = standing(catalog)
        self.wait(TICK)
        catalog.commit(make.draft(data=b"two", entry=make.entry(cost=timedelta(seconds=1))))
        after, payload = standing(catalog)
        assert after.created_at == before.created_at
        assert after.updated_at > before.updated_at
        assert after.rev != before.rev
        assert (payload.data, after.cost) == (b"two", timedelta(seconds=1))

    def test_every_write_changes_rev(self, catalog: Catalog, make: Make) -> None:
        seen = set()
        for _ in range(3):
            catalog.commit(make.draft(entry=make.entry()))
            seen.add(standing(catalog)[0].rev)
            catalog.expire_entry(KEY, NOON)
            seen.add(standing(catalog)[0].rev)
            catalog.delete_entry(KEY)
        assert len(seen) == 6

    def test_without_overwrite_a_servable_entry_stays(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(entry=make.entry(expires_at=utc_now() + LONG)))
        with pytest.raises(AlreadyExistsError):
            catalog.commit(make.draft(data=b"two", entry=make.entry(overwrite=False)))
        assert numbers(catalog) == [0]
        catalog.expire_entry(KEY, utc_now() - LONG)
        catalog.commit(make.draft(data=b"two", entry=make.entry(overwrite=False)))
        assert standing(catalog)[0].blob.version == 1
        assert standing(catalog)[0].expires_at is None

    def test_without_overwrite_an_entry_past_max_age_is_replaced(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(entry=make.entry()))
        self.wait(TICK)
        young = make.entry(overwrite=False, max_age=LONG)
        with pytest.raises(AlreadyExistsError):
            catalog.commit(make.draft(data=b"two", entry=young))
        old = make.entry(overwrite=False, max_age=timedelta(milliseconds=1))
        catalog.commit(make.draft(data=b"two", entry=old))
        assert standing(catalog)[1].data == b"two"

    def test_an_entry_of_a_dropped_version_is_absent(self, catalog: Catalog, make: Make) -> None:
        blob = catalog.commit(make.draft(entry=make.entry())).blob
        catalog.delete(Ref(id=blob.id))
        assert catalog.entry(KEY) is None
        assert catalog.entries() == []
        held = catalog.acquire(KEY, "me", ttl=LONG, max_hold=LONG).reservation
        entry = make.entry(reservation=held, overwrite=False)
        catalog.commit(make.draft(data=b"new", entry=entry))
        assert standing(catalog)[0].blob.version == 1

    def test_entries_are_listed_last_updated_first(self, catalog: Catalog, make: Make) -> None:
        blobs = {}
        for name in ("a", "b", "c"):
            self.wait(TICK)
            run = make.run(name, run_id=f"run-{name}")
            blobs[name] = catalog.commit(make.draft(name, run=run, entry=make.entry(name))).blob
        assert names(catalog.entries()) == ["c", "b", "a"]
        assert names(catalog.entries(limit=1)) == ["c"]
        for filters in (
            {"name": "b"},
            {"run_id": "run-b"},
            {"task_run_id": "r-1/b"},
            {"blob_id": blobs["b"].id},
            {"key": "fb1:b"},
        ):
            assert names(catalog.entries(filters=filters)) == ["b"], filters
        assert catalog.entries(filters={"name": "b", "run_id": "run-a"}) == []
        with pytest.raises(InvalidInputError, match="colour"):
            catalog.entries(filters={"colour": 1})

    def test_entries_are_filtered_as_invalidation_asks(self, catalog: Catalog, make: Make) -> None:
        for name, size in (("jobs.embed", 10), ("jobs.score", 1000), ("other_embed", 10)):
            self.wait(TICK)
            draft = make.draft(name, bytes(size), tags={"n": size}, entry=make.entry(name))
            catalog.commit(draft)
        catalog.pin_entry("fb1:jobs.score", is_pinned=True)
        middle = standing(catalog, "fb1:jobs.score")[0].updated_at
        for filters, wanted in (
            ({"pattern": "jobs.*"}, ["jobs.score", "jobs.embed"]),
            ({"pattern": "*_embed"}, ["other_embed"]),
            ({"pattern": "jobs?embed"}, ["jobs.embed"]),
            ({"pattern": "%"}, []),
            ({"pinned": True}, ["jobs.score"]),
            ({"min_size": 11}, ["jobs.score"]),
            ({"max_size": 10}, ["other_embed", "jobs.embed"]),
            ({"older_than": middle}, ["jobs.score", "jobs.embed"]),
            ({"tags": {"n": 1000}}, ["jobs.score"]),
        ):
            assert names(catalog.entries(filters=filters)) == wanted, filters

    def test_what_was_idle_longest_may_come_first(self, catalog: Catalog, make: Make) -> None:
        for name in ("a", "b", "c"):
            self.wait(TICK)
            catalog.commit(make.draft(name, entry=make.entry(name)))
        self.wait(TICK)
        assert catalog.touch_entry("fb1:a")
        assert names(catalog.entries(idle_first=True)) == ["b", "c", "a"]
        touched = standing(catalog, "fb1:a")[0]
        assert touched.hits == 0
        assert touched.last_hit_at is not None
        assert names(catalog.entries(filters={"unused_for": touched.last_hit_at})) == [
            "c",
            "b",
            "a",
        ]
        latest = standing(catalog, "fb1:c")[0].updated_at
        assert names(catalog.entries(filters={"unused_for": latest})) == ["c", "b"]

    def test_entries_are_deleted_and_expired(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(entry=make.entry()))
        rev = standing(catalog)[0].rev
        assert catalog.expire_entry(KEY, NOON) is True
        entry, _ = standing(catalog)
        assert entry.expires_at == NOON
        assert entry.rev != rev
        assert catalog.expire_entry(KEY, None) is True
        assert standing(catalog)[0].expires_at is None
        assert catalog.delete_entry(KEY) is True
        assert catalog.entry(KEY) is None
        assert catalog.delete_entry(KEY) is False
        assert catalog.expire_entry(KEY, NOON) is False
        assert catalog.touch_entry(KEY) is False
        assert catalog.pin_entry(KEY, is_pinned=True) is False
        assert numbers(catalog) == [0]

    def test_a_pin_stands_until_it_is_taken_away(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(entry=make.entry()))
        assert catalog.pin_entry(KEY, is_pinned=True) is True
        assert standing(catalog)[0].pinned is True
        catalog.commit(make.draft(data=b"two", entry=make.entry()))
        assert standing(catalog)[0].pinned is True
        assert catalog.pin_entry(KEY, is_pinned=False) is True
        assert standing(catalog)[0].pinned is False

    def test_the_cache_counts_each_payload_once(self, catalog: Catalog, make: Make) -> None:
        assert catalog.cache_size() == 0
        catalog.commit(make.draft("a", bytes(100), entry=make.entry("a")))
        catalog.commit(make.draft("b", bytes(100), entry=make.entry("b")))
        catalog.commit(make.draft("c", bytes(70), entry=make.entry("c")))
        catalog.commit(make.draft("uncached", bytes(1000)))
        assert catalog.cache_size() == 170
        catalog.delete_entry("fb1:c")
        assert catalog.cache_size() == 100

    def test_hits_add_up_and_the_last_one_counts(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(entry=make.entry(cost=timedelta(seconds=2))))
        catalog.record([Note(NOON, entry=KEY), Note(NOON + timedelta(hours=2), entry=KEY)])
        catalog.record([Note(NOON + timedelta(hours=1), entry=KEY), Note(NOON, entry="fb1:none")])
        entry, _ = standing(catalog)
        assert (entry.hits, entry.last_hit_at) == (3, NOON + timedelta(hours=2))
        assert entry.saved == timedelta(seconds=6)
        assert catalog.entry("fb1:none") is None

    def test_look_ups_are_counted_by_day_and_function(self, catalog: Catalog) -> None:
        later = NOON + timedelta(days=1)
        batch = [
            Note(NOON, role="cache_hit", name="f", seconds=1.5, size=10),
            Note(NOON, role="cache_hit", name="f", seconds=0.5, size=5),
            Note(NOON, role="miss", name="f"),
            Note(later, role="miss", name="f"),
            Note(NOON, role="miss", name="g"),
        ]
        catalog.record(batch)
        catalog.record(batch[:1])
        rows = [(s.day, s.name, s.hits, s.misses, s.seconds, s.size) for s in catalog.lookups()]
        assert rows == [
            ("2027-01-15", "f", 3, 1, 3.5, 25),
            ("2027-01-15", "g", 0, 1, 0.0, 0),
            ("2027-01-16", "f", 0, 1, 0.0, 0),
        ]
        assert [s.day for s in catalog.lookups(since=later)] == ["2027-01-16"]
        assert [s.name for s in catalog.lookups(name="g")] == ["g"]
