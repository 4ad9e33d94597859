"""Runs, uses, notes and parents."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flowblob.checks import new_id
from flowblob.drafts import Note
from flowblob.errors import InvalidInputError
from flowblob.model import Ref

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC)


def test_a_put_records_the_output_of_its_run(catalog, make):
    blob = catalog.commit(make.draft(run=make.run())).blob
    [use] = catalog.uses(blob_id=blob.id)
    assert (use.run.identity, use.role, use.blob) == (make.run().identity, "output", blob)
    assert catalog.uses(run={"run_id": "r-1"}) == [use]
    assert catalog.uses(run={"run_id": "r-1"}, role="input") == []
    assert catalog.uses(run={"run_id": "r-2"}) == []
    assert catalog.uses(blob_id=new_id()) == []


def test_notes_are_written_in_a_batch_and_idempotent(catalog, make):
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


def test_hits_add_up_and_the_last_one_counts(catalog, make):
    key = make.cache_key().digest
    catalog.commit(make.draft(entry=make.entry(cost=timedelta(seconds=2))))
    catalog.record([Note(NOON, entry=key), Note(NOON + timedelta(hours=2), entry=key)])
    catalog.record([Note(NOON + timedelta(hours=1), entry=key), Note(NOON, entry="fb1:none")])
    entry, _ = catalog.entry(key)
    assert (entry.hits, entry.last_hit_at) == (3, NOON + timedelta(hours=2))
    assert entry.saved == timedelta(seconds=6)


def test_a_run_is_one_row_and_learns(catalog, make):
    run = make.run(used={"a": 1})
    catalog.commit(make.draft("a", run=run))
    catalog.commit(make.draft("b", run=replace(run, url="http://host", used={"b": 2})))
    catalog.commit(make.draft("c", run=replace(run, generated={"rows": 7})))
    [found] = catalog.runs()
    assert (found.url, found.used, found.generated) == (
        "http://host",
        {"a": 1, "b": 2},
        {"rows": 7},
    )
    assert found.started_at is not None


def test_another_attempt_is_another_run(catalog, make):
    catalog.commit(make.draft("a", run=make.run()))
    catalog.commit(make.draft("b", run=make.run(attempt=2)))
    assert [run.attempt for run in catalog.runs()] == [2, 1]


def test_a_started_at_given_by_the_host_is_kept(catalog, make):
    catalog.commit(make.draft(run=make.run(started_at=NOON)))
    assert catalog.runs()[0].started_at == NOON


def test_runs_are_filtered_by_their_fields(catalog, make):
    catalog.commit(make.draft("a", run=make.run("one", map_index=2)))
    catalog.commit(make.draft("b", run=make.run("two")))
    assert [run.task for run in catalog.runs()] == ["two", "one"]
    assert [run.task for run in catalog.runs(limit=1)] == ["two"]
    assert [run.task for run in catalog.runs(filters={"task": "one", "flow": "nightly"})] == ["one"]
    assert [run.task for run in catalog.runs(filters={"map_index": 2})] == ["one"]
    with pytest.raises(InvalidInputError, match="colour"):
        catalog.runs(filters={"colour": "red"})
    with pytest.raises(InvalidInputError):
        catalog.uses(run={"seq; DROP TABLE run": 1})


def test_parents_are_linked_both_ways(catalog, make):
    one, two = (catalog.commit(make.draft(key)).blob for key in ("raw/1", "raw/2"))
    child = catalog.commit(make.draft(parents=(one.id, two.id, one.id))).blob
    assert catalog.parents(child.id) == [one, two]
    assert catalog.children(one.id) == [child]
    assert catalog.parents(one.id) == catalog.children(child.id) == []


def test_lineage_outlives_the_versions(catalog, make):
    raw = catalog.commit(make.draft("raw", run=make.run())).blob
    child = catalog.commit(make.draft(parents=(raw.id,))).blob
    catalog.record([Note(NOON, make.run("use"), raw.id)])
    catalog.delete(Ref("raw"))
    assert [blob.id for blob in catalog.parents(child.id)] == [raw.id]
    assert [use.role for use in catalog.uses(blob_id=raw.id)] == ["output", "input"]
