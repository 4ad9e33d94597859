"""Runs, uses, notes and parents, on any catalog."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flowblob.abc import Catalog
from flowblob.checks import new_id
from flowblob.drafts import Note
from flowblob.errors import InvalidInputError
from flowblob.model import Ref
from flowblob.testing.contract import TICK, CatalogContract
from flowblob.testing.making import Make

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)


class LineageTests(CatalogContract):
    """Who wrote and read which version."""

    def test_a_put_records_the_output_of_its_run(self, catalog: Catalog, make: Make) -> None:
        blob = catalog.commit(make.draft(run=make.run())).blob
        [use] = catalog.uses(blob_id=blob.id)
        assert (use.run.identity, use.role, use.blob) == (make.run().identity, "output", blob)
        assert use.at.utcoffset() == timedelta()
        assert catalog.uses(run={"run_id": "r-1"}) == [use]
        assert catalog.uses(run={"run_id": "r-1"}, role="input") == []
        assert catalog.uses(run={"run_id": "r-2"}) == []
        assert catalog.uses(blob_id=new_id()) == []

    def test_notes_are_written_in_a_batch_and_idempotent(
        self, catalog: Catalog, make: Make
    ) -> None:
        blob = catalog.commit(make.draft()).blob
        other = catalog.commit(make.draft("other")).blob
        notes = [
            Note(NOON, make.run(), blob.id),
            Note(NOON, make.run(), other.id),
            Note(NOON + timedelta(seconds=1), make.run(), blob.id),
            Note(NOON, make.run(), blob.id, "cache_hit"),
            Note(NOON, make.run(), new_id()),
            Note(NOON, None, blob.id),
        ]
        catalog.record(notes)
        catalog.record(notes)
        catalog.record([])
        uses = catalog.uses(run={"task": "train"})
        assert sorted((use.blob.key, use.role) for use in uses) == [
            ("models/churn", "cache_hit"),
            ("models/churn", "input"),
            ("other", "input"),
        ]
        assert {use.at for use in uses} == {NOON}
        assert len(catalog.runs()) == 1

    def test_a_run_is_one_row_and_learns(self, catalog: Catalog, make: Make) -> None:
        run = make.run(used={"a": 1})
        catalog.commit(make.draft("a", run=run))
        catalog.commit(make.draft("b", run=replace(run, url="http://host", used={"b": 2})))
        catalog.commit(make.draft("c", run=replace(run, generated={"rows": 7})))
        [known] = catalog.runs()
        assert (known.url, known.used, known.generated) == (
            "http://host",
            {"a": 1, "b": 2},
            {"rows": 7},
        )
        assert known.started_at is not None

    def test_values_of_a_run_that_used_nothing_are_kept(self, catalog: Catalog, make: Make) -> None:
        catalog.record([Note(NOON, make.run(generated={"auc": 0.9}))])
        [known] = catalog.runs()
        assert (known.task, known.generated) == ("train", {"auc": 0.9})
        assert catalog.uses(run={"task": "train"}) == []

    def test_another_attempt_is_another_run(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft("a", run=make.run()))
        self.wait(TICK)
        catalog.commit(make.draft("b", run=make.run(attempt=2)))
        assert [run.attempt for run in catalog.runs()] == [2, 1]

    def test_systems_do_not_share_runs(self, catalog: Catalog, make: Make) -> None:
        for system in ("python", "prefect", "airflow"):
            catalog.commit(make.draft(system, run=make.run(system=system)))
        assert {run.system for run in catalog.runs()} == {"python", "prefect", "airflow"}
        [use] = catalog.uses(run={"system": "airflow"})
        assert use.blob.key == "airflow"

    def test_a_started_at_given_by_the_host_is_kept(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(run=make.run(started_at=NOON)))
        assert catalog.runs()[0].started_at == NOON

    def test_runs_are_filtered_by_their_fields(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft("a", run=make.run("one", map_index=2)))
        self.wait(TICK)
        catalog.commit(make.draft("b", run=make.run("two")))
        for filters, wanted in (
            ({}, ["two", "one"]),
            ({"task": "one", "flow": "nightly"}, ["one"]),
            ({"map_index": 2}, ["one"]),
            ({"task_run_id": "r-1/two"}, ["two"]),
            ({"task": "one", "map_index": -1}, []),
        ):
            assert [run.task for run in catalog.runs(filters=filters)] == wanted, filters
        assert [run.task for run in catalog.runs(limit=1)] == ["two"]
        with pytest.raises(InvalidInputError, match="colour"):
            catalog.runs(filters={"colour": "red"})
        with pytest.raises(InvalidInputError):
            catalog.uses(run={"seq; DROP TABLE run": 1})

    def test_parents_are_linked_both_ways(self, catalog: Catalog, make: Make) -> None:
        one, two = (catalog.commit(make.draft(key)).blob for key in ("raw/1", "raw/2"))
        child = catalog.commit(make.draft(parents=(one.id, two.id, one.id))).blob
        assert {blob.id for blob in catalog.parents(child.id)} == {one.id, two.id}
        assert len(catalog.parents(child.id)) == 2
        assert catalog.children(one.id) == [child]
        assert catalog.parents(one.id) == catalog.children(child.id) == []

    def test_lineage_outlives_the_versions(self, catalog: Catalog, make: Make) -> None:
        raw = catalog.commit(make.draft("raw", run=make.run())).blob
        child = catalog.commit(make.draft(parents=(raw.id,))).blob
        catalog.record([Note(NOON + timedelta(days=9999), make.run("use"), raw.id)])
        catalog.delete(Ref("raw"))
        assert [blob.id for blob in catalog.parents(child.id)] == [raw.id]
        assert [use.role for use in catalog.uses(blob_id=raw.id)] == ["output", "input"]
