"""Records that leave a catalog and come into another one, with nothing lost or bent on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from flowblob.abc import Catalog
from flowblob.checks import new_id
from flowblob.drafts import Note, PlacementLost
from flowblob.errors import ConflictError, InvalidInputError
from flowblob.model import Ref
from flowblob.portable import FIELDS, KINDS
from flowblob.testing.contract import LONG, CatalogContract, found
from flowblob.testing.making import Make
from flowblob.testing.portable import (
    DAY,
    absorb_all,
    fill,
    in_any_order,
    inline_parts,
    scan,
    scan_all,
)


class MovingTests(CatalogContract):
    """scan, known and absorb."""

    @pytest.fixture
    def other(self) -> Iterator[Catalog]:
        """Another catalog, in memory."""
        from flowblob.catalogs.sqlite import SqliteCatalog

        catalog = SqliteCatalog.memory()
        yield catalog
        catalog.close()

    # scan -----------------------------------------------------------

    def test_every_kind_is_scanned_with_its_fields(self, catalog: Catalog, make: Make) -> None:
        fill(catalog, make)
        for kind, records in scan_all(catalog).items():
            assert records, kind
            names = {name.rstrip("?") for name in FIELDS[kind].split()}
            assert all(record.keys() == names for record in records), kind

    def test_records_survive_json(self, catalog: Catalog, make: Make) -> None:
        fill(catalog, make)
        records = scan_all(catalog)
        assert json.loads(json.dumps(records, allow_nan=False)) == records

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_pages_of_any_size_give_the_same(
        self, catalog: Catalog, make: Make, limit: int
    ) -> None:
        fill(catalog, make)
        assert scan_all(catalog, limit=limit) == scan_all(catalog)

    def test_versions_of_a_life_come_in_their_order(self, catalog: Catalog, make: Make) -> None:
        for number in range(5):
            for key in ("b", "a"):
                catalog.commit(make.draft(key, f"{key}{number}".encode()))
        seen: dict[str, list[int]] = {}
        for record in scan(catalog, "version", limit=2):
            seen.setdefault(record["key"], []).append(record["version"])
        assert seen == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4]}

    def test_dropped_versions_and_ended_keys_are_scanned(
        self, catalog: Catalog, make: Make
    ) -> None:
        fill(catalog, make)
        causes = {record["dropped"][2] for record in scan(catalog, "version") if record["dropped"]}
        assert causes == {"dropped", "released", "with its key"}
        assert all(not r["payloads"] for r in scan(catalog, "version") if r["dropped"])
        [ended] = [record for record in scan(catalog, "incarnation") if record["ended_at"]]
        assert (ended["key"], ended["ended_by"]) == ("raw/day", "cy")

    def test_a_scan_can_be_of_one_prefix(self, catalog: Catalog, make: Make) -> None:
        fill(catalog, make)
        catalog.commit(make.draft("rawest", b"x"))
        records = scan_all(catalog, prefix="raw/")
        assert {r["key"] for r in records["incarnation"]} == {"raw/day", "raw/external"}
        assert {r["key"] for r in records["version"]} == {"raw/day", "raw/external"}
        assert (records["run"], records["entry"], records["lookup"]) == ([], [], [])
        assert len(records["parents"]) == len(records["aliases"]) == 1

    def test_a_scan_can_be_of_one_key(self, catalog: Catalog, make: Make) -> None:
        fill(catalog, make)
        catalog.commit(make.draft("results/embed2", b"x"))
        records = scan_all(catalog, key="results/embed")
        assert {r["key"] for r in records["version"]} == {"results/embed"}
        assert [r["key"] for r in records["entry"]] == ["fb1:embed"]
        assert [r["task"] for r in records["run"]] == ["embed"]
        [run] = scan(catalog, "run", key="results/embed")
        assert [use["role"] for use in records["use"]] == ["output"]
        assert records["use"][0]["run"] == [run["system"], run["task_run_id"], run["attempt"]]

    def test_known_versions_are_told_from_others(self, catalog: Catalog, make: Make) -> None:
        fill(catalog, make)
        ids = [record["id"] for record in scan(catalog, "version")]
        assert catalog.known([*ids, new_id()]) == set(ids)
        assert catalog.known([]) == set()

    # absorb ---------------------------------------------------------

    def test_records_come_in_as_they_are(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        fill(other, make)
        assert absorb_all(other, catalog)
        assert in_any_order(scan_all(catalog)) == in_any_order(scan_all(other))

    def test_records_go_out_as_they_are(self, catalog: Catalog, other: Catalog, make: Make) -> None:
        fill(catalog, make)
        assert absorb_all(catalog, other)
        assert in_any_order(scan_all(catalog)) == in_any_order(scan_all(other))

    def test_absorbed_records_are_found_like_any(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        fill(other, make)
        absorb_all(other, catalog)
        for text in ("models/churn", "models/churn@0", "models/churn@prod", "raw/day"):
            assert found(catalog, text) == found(other, text), text
        assert catalog.payloads(found(other, "models/churn@1").id)[1].data == b"file one"
        assert {blob.key for blob in catalog.blobs()} == {blob.key for blob in other.blobs()}
        assert catalog.alias_history("models/churn", "prod") == other.alias_history(
            "models/churn", "prod"
        )
        mine, theirs = catalog.entry("fb1:embed"), other.entry("fb1:embed")
        assert mine is not None
        assert theirs is not None
        assert mine[0] == theirs[0]
        assert catalog.bound("prefect", "key/ü") == other.bound("prefect", "key/ü")
        assert catalog.lookups() == other.lookups()
        assert catalog.runs(filters={"task": "predict"}) == other.runs(filters={"task": "predict"})
        blob = found(other, "models/churn@1")
        assert catalog.parents(blob.id) == other.parents(blob.id)
        assert {u.role for u in catalog.uses(blob_id=blob.id)} == {"output", "input", "cache_hit"}

    def test_absorbing_again_brings_nothing(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        fill(other, make)
        absorb_all(other, catalog)
        before = scan_all(catalog)
        assert absorb_all(other, catalog) == 0
        assert scan_all(catalog) == before

    def test_a_put_goes_on_where_the_records_end(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        fill(other, make)
        absorb_all(other, catalog)
        unchanged = catalog.commit(make.draft("models/churn", b"four"))
        assert (unchanged.is_new, unchanged.blob.version) == (False, 3)
        assert catalog.commit(make.draft("models/churn", b"five")).blob.version == 4
        op = next(r["op"] for r in scan(other, "version") if r["key"] == "raw/external")
        assert catalog.outcome(op) == found(other, "raw/external")
        assert catalog.check() == []

    def test_later_changes_come_with_the_next_call(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        fill(other, make)
        absorb_all(other, catalog)
        blob = other.commit(make.draft("models/churn", b"five")).blob
        other.promote(blob, "prod", by="dee")
        other.tag(found(other, "models/churn@0").id, {"stage": "old"}, by="dee")
        other.delete(Ref("models/churn", version=1))
        other.delete(Ref("raw/day"))
        other.commit(make.draft("raw/day", b"third life"))
        other.touch_entry("fb1:plain")
        assert absorb_all(other, catalog)
        assert in_any_order(scan_all(catalog)) == in_any_order(scan_all(other))
        assert found(catalog, "raw/day").version == 0

    def test_what_was_changed_on_both_sides_stays(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        fill(other, make)
        absorb_all(other, catalog)
        first = found(other, "models/churn@0")
        for side, stage in ((other, "there"), (catalog, "here")):
            side.tag(first.id, {"stage": stage})
            number = 0 if side is catalog else 3
            side.promote(found(side, f"models/churn@{number}"), "prod")
        absorb_all(other, catalog)
        assert found(catalog, "models/churn@prod").version == 0
        assert found(catalog, "models/churn@0").tags["stage"] == "here"

    def test_a_record_whose_life_is_not_here_is_left_out(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        fill(other, make)
        records = scan_all(other)
        parts = inline_parts(other, records["version"])
        for kind in KINDS:
            if kind not in ("run", "incarnation", "lookup"):
                assert catalog.absorb(kind, records[kind], parts=parts) == 0, kind
        assert catalog.check() == []
        assert scan(catalog, "version") == scan(catalog, "use") == []

    def test_only_the_next_version_of_a_life_comes_in(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        for data in (b"a", b"b"):
            other.commit(make.draft(data=data))
        versions = scan(other, "version")
        catalog.absorb("incarnation", scan(other, "incarnation"))
        with pytest.raises(ConflictError, match="models/churn@1"):
            catalog.absorb("version", versions[1:], parts=inline_parts(other, versions))
        assert scan(catalog, "version") == []

    def test_both_sides_appending_is_a_conflict_that_names_the_version(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        other.commit(make.draft(data=b"a"))
        absorb_all(other, catalog)
        catalog.commit(make.draft(data=b"here"))
        other.commit(make.draft(data=b"there"))
        with pytest.raises(ConflictError, match="models/churn@1"):
            absorb_all(other, catalog)
        assert found(catalog, "models/churn").digest == make.digest(b"here")
        assert catalog.check() == []

    def test_a_key_of_both_sides_is_a_conflict_that_names_it(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        for side in (catalog, other):
            side.commit(make.draft())
        with pytest.raises(ConflictError, match="models/churn"):
            absorb_all(other, catalog)
        assert len(scan(catalog, "incarnation")) == 1

    def test_a_key_that_was_deleted_here_gets_no_new_versions(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        other.commit(make.draft(data=b"a"))
        absorb_all(other, catalog)
        catalog.delete(Ref("models/churn"))
        assert absorb_all(other, catalog) == 0
        other.commit(make.draft(data=b"b"))
        with pytest.raises(ConflictError, match="models/churn"):
            absorb_all(other, catalog)
        assert catalog.check() == []

    def test_a_version_under_another_key_is_a_conflict(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        """What was signed for one key must not turn up under another."""
        other.commit(make.draft())
        [life], [version] = scan(other, "incarnation"), scan(other, "version")
        catalog.absorb("incarnation", [life | {"key": "other"}])
        with pytest.raises(ConflictError):
            catalog.absorb("version", [version], parts=inline_parts(other, [version]))

    def test_a_version_never_stands_without_its_payload(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        other.commit(make.draft())
        catalog.absorb("incarnation", scan(other, "incarnation"))
        with pytest.raises(InvalidInputError):
            catalog.absorb("version", scan(other, "version"))
        assert scan(catalog, "version") == []

    def test_placed_payloads_are_committed_with_their_versions(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        other.commit(make.draft(data=b"large"))
        catalog.absorb("incarnation", scan(other, "incarnation"))
        op = new_id()
        [(payload, _)] = catalog.place(op, [make.spooled(b"large")], ttl=LONG)
        part = make.part(b"large", generation=payload.generation)
        versions = scan(other, "version")
        assert catalog.absorb("version", versions, parts={part.digest: part}, op=op) == 1
        [kept] = catalog.payloads(versions[0]["id"])
        assert (kept.generation, kept.state) == (payload.generation, "ok")
        catalog.delete(Ref("models/churn"))
        condemned = catalog.condemned(grace=timedelta(), limit=10)
        assert [item.generation for item in condemned] == [payload.generation]  # no pin is left

    def test_a_payload_condemned_meanwhile_is_placed_again(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        other.commit(make.draft(data=b"large"))
        catalog.absorb("incarnation", scan(other, "incarnation"))
        op = new_id()
        [(payload, _)] = catalog.place(op, [make.spooled(b"large")], ttl=LONG)
        catalog.unpin(op)
        assert catalog.condemned(grace=timedelta(), limit=10)
        part = make.part(b"large", generation=payload.generation)
        versions = scan(other, "version")
        with pytest.raises(PlacementLost):
            catalog.absorb("version", versions, parts={part.digest: part}, op=op)
        assert scan(catalog, "version") == []
        fresh = replace(part, generation="", data=b"large")
        assert catalog.absorb("version", versions, parts={part.digest: fresh}) == 1

    def test_a_version_under_an_alias_is_not_dropped(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        for data in (b"a", b"b"):
            other.commit(make.draft(data=data))
        absorb_all(other, catalog)
        catalog.promote(found(catalog, "models/churn@0"), "mine")
        other.delete(Ref("models/churn", version=0))
        absorb_all(other, catalog)
        assert found(catalog, "models/churn@mine").version == 0
        assert catalog.check() == []

    def test_a_link_comes_when_its_other_end_has(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        parent = other.commit(make.draft("raw")).blob
        child = other.commit(make.draft("clean", b"two", parents=(parent.id,))).blob
        absorb_all(other, catalog, prefix="clean")
        assert catalog.parents(child.id) == []
        absorb_all(other, catalog)
        assert catalog.parents(child.id) == [parent]

    def test_the_entry_that_was_computed_last_stays(
        self, catalog: Catalog, other: Catalog, make: Make
    ) -> None:
        other.commit(make.draft("r", b"1", entry=make.entry()))
        absorb_all(other, catalog)
        self.wait(0.01)
        other.commit(make.draft("r", b"2", entry=make.entry()))
        absorb_all(other, catalog)
        served = catalog.entry("fb1:embed")
        assert served is not None
        assert served[0].blob.version == 1
        self.wait(0.01)
        catalog.commit(make.draft("r2", b"3", entry=make.entry()))
        assert absorb_all(other, catalog) == 0
        served = catalog.entry("fb1:embed")
        assert served is not None
        assert served[0].blob.key == "r2"

    def test_hits_are_not_counted_twice(self, catalog: Catalog, other: Catalog, make: Make) -> None:
        other.commit(make.draft("r", b"1", entry=make.entry()))
        hit = Note(DAY, entry="fb1:embed", name="embed", role="cache_hit", seconds=2.0, size=1)
        for hits in (2, 3):
            other.record([hit] if hits == 3 else [hit, hit])
            for _ in range(2):
                absorb_all(other, catalog)
            served = catalog.entry("fb1:embed")
            assert served is not None
            assert served[0].hits == hits
            assert [stats.hits for stats in catalog.lookups()] == [hits]
