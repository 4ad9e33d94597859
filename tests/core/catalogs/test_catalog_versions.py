"""Appending versions, finding them again, and what counts as unchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from flowblob.checks import new_id
from flowblob.drafts import Part
from flowblob.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    VersionConflictError,
)
from flowblob.model import Blob, Ref


def test_everything_given_at_a_put_is_found_again(catalog, make, clock):
    run = make.run(url="http://host/run", name="brisk-otter", map_index=3, used={"a": 1})
    parent = catalog.commit(make.draft("raw/day", b"raw")).blob
    draft = make.draft(
        data=b"model",
        kind="ml_model",
        filename="model.bin",
        metadata='{"auc": 0.9, "über": ["x"]}',
        tags={"stage": "test", "n": 1, "f": 1.0, "yes": True},
        partitions={"day": "2026-11-21"},
        parents=(parent.id,),
        run=run,
        value_digest="v1",
        preview='{"type": "int"}',
        signature="s",
        signature_key="k1",
    )
    blob = catalog.commit(draft).blob
    found = catalog.find(Ref.parse("models/churn"), payload=True)
    assert found is not None
    assert found.blob == blob
    moment = datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert blob == Blob(
        id=blob.id,
        key="models/churn",
        version=0,
        incarnation=blob.incarnation,
        digest=make.digest(b"model"),
        size=5,
        checksum="c" * 32,
        kind="ml_model",
        media_type="application/octet-stream",
        serializer="bytes",
        created_at=moment,
        filename="model.bin",
        metadata={"auc": 0.9, "über": ["x"]},
        tags={"stage": "test", "n": 1, "f": 1.0, "yes": True},
        partitions={"day": "2026-11-21"},
        run=replace(run, started_at=moment),
        value_digest="v1",
        preview={"type": "int"},
        signature="s",
        signature_key="k1",
    )
    assert {name: type(value) for name, value in blob.tags.items()} == {
        "stage": str,
        "n": int,
        "f": float,
        "yes": bool,
    }
    assert found.payload is not None
    assert (found.payload.data, found.payload.is_inline) == (b"model", True)
    assert found.payload.digest == blob.digest


def test_records_from_rows_equal_records_from_their_constructors(catalog, make):
    blob = catalog.commit(make.draft(run=make.run(), metadata='{"a": 1}')).blob
    assert blob == replace(blob)
    assert hash(blob.run and blob.run.identity) == hash(replace(blob.run).identity)
    record = catalog.find(Ref(id=blob.id), payload=True)
    assert record is not None
    assert record.payload == replace(record.payload)


def test_versions_are_dense_and_link_back(catalog, make):
    blobs = [catalog.commit(make.draft(data=bytes([n]))).blob for n in range(4)]
    assert [blob.version for blob in blobs] == [0, 1, 2, 3]
    assert [blob.prev_version for blob in blobs] == [None, 0, 1, 2]
    assert len({blob.incarnation for blob in blobs}) == 1
    assert len({blob.id for blob in blobs}) == 4
    assert [b.version for b in catalog.versions("models/churn")] == [3, 2, 1, 0]
    assert [b.version for b in catalog.versions("models/churn", limit=2)] == [3, 2]
    assert catalog.versions("other") == []


@pytest.mark.parametrize("payload", [False, True])
def test_every_form_of_reference_finds_its_version(catalog, make, payload):
    first, second, third = (
        catalog.commit(make.draft(data=data)).blob for data in (b"a", b"b", b"c")
    )
    catalog.commit(make.draft("other", b"b"))
    catalog.promote(second, "prod")
    for text, wanted in {
        "models/churn": third.id,
        "models/churn@latest": third.id,
        "models/churn@0": first.id,
        "models/churn@prod": second.id,
        f"models/churn@{second.digest}": second.id,
        f"id:{first.id}": first.id,
        first.digest: first.id,
    }.items():
        for _ in range(3):  # first, learning, remembered
            found = catalog.find(Ref.parse(text), payload=payload)
            assert found is not None, text
            assert found.blob.id == wanted, text
            assert (found.payload is not None) is payload
    newest = catalog.find(Ref.parse(second.digest))
    assert newest is not None
    assert newest.blob.key == "other"


@pytest.mark.parametrize(
    "text",
    [
        "none",
        "models/churn@7",
        "models/churn@prod",
        "id:7f3c2b1a-0d9e-4c8b-a765-43210fedcba9",
        "sha256:" + "0" * 64,
    ],
)
def test_nothing_is_found_where_nothing_is(catalog, make, text):
    catalog.commit(make.draft())
    assert catalog.find(Ref.parse(text), payload=True) is None


def test_unchanged_content_appends_nothing(catalog, make):
    first = catalog.commit(make.draft(metadata='{"a":1,"b":2}', value_digest="v1"))
    again = catalog.commit(make.draft(metadata='{"b":2,"a":1}', value_digest="v2"))
    assert (first.is_new, again.is_new) == (True, False)
    assert again.blob == first.blob
    assert len(catalog.versions("models/churn")) == 1


def test_an_unchanged_put_still_links_run_tags_and_parents(catalog, make):
    parent = catalog.commit(make.draft("raw", b"raw")).blob
    blob = catalog.commit(make.draft(run=make.run(), tags={"a": 1, "b": 1})).blob
    again = catalog.commit(make.draft(run=make.run("retrain"), tags={"b": 2}, parents=(parent.id,)))
    assert not again.is_new
    assert again.blob.tags == {"a": 1, "b": 2}
    assert again.blob.run == blob.run
    assert [use.run.task for use in catalog.uses(blob_id=blob.id, role="output")] == [
        "train",
        "retrain",
    ]
    assert [p.key for p in catalog.parents(blob.id)] == ["raw"]


@pytest.mark.parametrize(
    "change",
    [
        {"serializer": "json"},
        {"kind": "dataset"},
        {"media_type": "text/plain"},
        {"filename": "x"},
        {"metadata": '{"a": 1}'},
        {"partitions": {"day": "1"}},
        {"external": "s3://elsewhere"},
        {"new_version": True},
    ],
)
def test_any_other_difference_appends_a_version(catalog, make, change):
    first = catalog.commit(make.draft()).blob
    second = catalog.commit(make.draft(**change))
    assert second.is_new
    assert second.blob.version == 1
    assert second.blob.digest == first.digest


def test_numbers_that_json_tells_apart_are_a_change(catalog, make):
    catalog.commit(make.draft(metadata='{"a": 1}'))
    assert catalog.commit(make.draft(metadata='{"a": 1.0}')).is_new


def test_unchanged_is_judged_against_the_newest_version_only(catalog, make):
    for data in (b"a", b"b", b"a"):
        assert catalog.commit(make.draft(data=data)).is_new


def test_other_parts_are_a_change_even_under_one_main_payload(catalog, make):
    one, two = make.part(b"file one", "sha256:1"), make.part(b"file two", "sha256:2")
    first = catalog.commit(make.draft(parts=(make.part(b"manifest"), one)))
    second = catalog.commit(make.draft(parts=(make.part(b"manifest"), one, two)))
    assert second.is_new
    assert (first.blob.parts, second.blob.parts) == (1, 2)
    names = [payload.part for payload in catalog.payloads(second.blob.id)]
    assert names == ["", "sha256:1", "sha256:2"]
    assert [p.data for p in catalog.payloads(first.blob.id)] == [b"manifest", b"file one"]
    same = catalog.commit(make.draft(parts=(make.part(b"manifest"), one, two)))
    assert not same.is_new


def test_a_version_may_have_no_payload_or_only_a_digest(catalog, make):
    empty = catalog.commit(make.draft("none", parts=())).blob
    assert (empty.digest, empty.size, catalog.payloads(empty.id)) == ("", 0, [])
    only = Part("", make.digest(b"far"), 3, "c")
    blob = catalog.commit(make.draft("far", parts=(only,), external="https://host/far")).blob
    assert (blob.digest, blob.external) == (make.digest(b"far"), "https://host/far")
    found = catalog.find(Ref("far"), payload=True)
    assert found is not None
    assert found.payload is None
    assert catalog.check() == []


def test_inline_bytes_are_kept_once(catalog, make):
    one = catalog.commit(make.draft("a", b"same")).blob
    two = catalog.commit(make.draft("b", b"same")).blob
    assert catalog.payloads(one.id) == catalog.payloads(two.id)
    assert len(catalog.generations()) == 1


def test_expect_version_is_compare_and_swap(catalog, make):
    with pytest.raises(NotFoundError):
        catalog.commit(make.draft(expect_version=0))
    catalog.commit(make.draft(data=b"a"))
    catalog.commit(make.draft(data=b"b", expect_version=0))
    with pytest.raises(VersionConflictError, match="at version 1, not 0"):
        catalog.commit(make.draft(data=b"c", expect_version=0))
    assert [b.version for b in catalog.versions("models/churn")] == [1, 0]


def test_expectations_are_checked_before_unchanged(catalog, make):
    catalog.commit(make.draft(data=b"a"))
    with pytest.raises(VersionConflictError):
        catalog.commit(make.draft(data=b"a", expect_version=3))
    with pytest.raises(AlreadyExistsError):
        catalog.commit(make.draft(data=b"a", create=True))


def test_create_begins_a_key_and_refuses_a_living_one(catalog, make):
    catalog.commit(make.draft(create=True))
    with pytest.raises(AlreadyExistsError, match="version 0"):
        catalog.commit(make.draft(data=b"other", create=True))


def test_a_refused_put_leaves_nothing(catalog, make):
    catalog.commit(make.draft())
    before = catalog.facts()["counts"]
    with pytest.raises(NotFoundError, match="parent"):
        catalog.commit(make.draft(data=b"x", parents=(new_id(),), run=make.run(), tags={"a": 1}))
    assert catalog.facts()["counts"] == before
    assert catalog.find(Ref.parse(make.digest(b"x"))) is None


def test_a_repeated_op_is_one_put(catalog, make):
    draft = make.draft(tags={"a": 1})
    first = catalog.commit(draft)
    assert catalog.outcome(draft.op) == first.blob
    catalog.commit(make.draft(data=b"two"))
    assert catalog.commit(draft) == first
    assert len(catalog.versions("models/churn")) == 2


def test_a_repeated_op_of_an_unchanged_put_answers_the_same(catalog, make):
    catalog.commit(make.draft())
    draft = make.draft()
    first = catalog.commit(draft)
    assert not first.is_new
    catalog.commit(make.draft(data=b"two"))
    assert catalog.commit(draft) == first
    assert catalog.outcome(draft.op) == first.blob
    assert catalog.outcome(new_id()) is None


def test_a_repeated_op_answers_even_after_a_delete(catalog, make):
    draft = make.draft()
    first = catalog.commit(draft)
    catalog.delete(Ref("models/churn"))
    assert catalog.commit(draft).blob.id == first.blob.id
    assert catalog.find(Ref("models/churn")) is None


def test_blobs_lists_the_newest_version_of_each_key(catalog, make):
    for key in ("b/2", "b/1", "a", "b0", "ü"):
        catalog.commit(make.draft(key, b"1"))
        catalog.commit(make.draft(key, b"2"))
    assert [(b.key, b.version) for b in catalog.blobs()] == [
        ("a", 1),
        ("b/1", 1),
        ("b/2", 1),
        ("b0", 1),
        ("ü", 1),
    ]
    assert [b.key for b in catalog.blobs(prefix="b/")] == ["b/1", "b/2"]
    assert [b.key for b in catalog.blobs(prefix="b", limit=2)] == ["b/1", "b/2"]
    catalog.delete(Ref("a"))
    assert "a" not in [b.key for b in catalog.blobs()]


def test_blobs_are_filtered_by_equality(catalog, make):
    run = make.run(flow="daily", run_id="r9")
    blob = catalog.commit(
        make.draft("a", kind="dataset", run=run, tags={"n": 1}, partitions={"day": "1"})
    ).blob
    catalog.promote(blob, "prod")
    catalog.commit(make.draft("b", tags={"n": 1.0}))
    for filters in (
        {"kind": "dataset"},
        {"system": "python"},
        {"flow": "daily"},
        {"task": "train"},
        {"run_id": "r9"},
        {"alias": "prod"},
        {"tags": {"n": 1}},
        {"partitions": {"day": "1"}},
        {"kind": "dataset", "tags": {"n": 1}, "alias": "prod"},
    ):
        assert [b.key for b in catalog.blobs(filters=filters)] == ["a"], filters
    assert catalog.blobs(filters={"kind": "dataset", "tags": {"n": 2}}) == []
    with pytest.raises(InvalidInputError, match="colour"):
        catalog.blobs(filters={"colour": "red"})


def test_the_first_value_digest_stays(catalog, make):
    blob = catalog.commit(make.draft()).blob
    catalog.set_value_digest(blob.id, "v1")
    catalog.set_value_digest(blob.id, "v2")
    found = catalog.find(Ref(id=blob.id))
    assert found is not None
    assert found.blob.value_digest == "v1"


def test_repeated_look_ups_see_every_commit(open_catalog, make):
    reader, writer = open_catalog(), open_catalog()
    ref = Ref("models/churn")
    for number in range(5):
        writer.commit(make.draft(data=bytes([number])))
        for catalog in (reader, writer):
            for _ in range(3):
                found = catalog.find(ref, payload=True)
                assert found is not None
                assert found.blob.version == number
                assert found.payload is not None
                assert found.payload.data == bytes([number])
        writer.tag(found.blob.id, {"n": number})
        seen = reader.find(ref, payload=True)
        assert seen is not None
        assert seen.blob.tags == {"n": number}


def test_a_caller_may_change_the_dicts_of_a_record(catalog, make):
    catalog.commit(make.draft(metadata='{"a": [1]}', tags={"t": 1}, run=make.run()))
    for _ in range(4):
        found = catalog.find(Ref("models/churn"), payload=True)
        assert found is not None
        assert (found.blob.metadata, found.blob.tags) == ({"a": [1]}, {"t": 1})
        found.blob.metadata["a"].append(2)
        found.blob.tags.clear()


def test_text_that_no_database_can_hold_is_refused(catalog, make):
    with pytest.raises(InvalidInputError):
        catalog.commit(make.draft(filename="bad\udcff"))
    with pytest.raises(InvalidInputError):
        catalog.runs(filters={"flow": ["a", "list"]})
    assert catalog.find(Ref("models/churn")) is None


def test_time_is_kept_to_the_microsecond(catalog, make, clock):
    clock.wall_time = 1_800_000_000_123_457
    blob = catalog.commit(make.draft()).blob
    assert blob.created_at.microsecond == 123_457
    assert blob.created_at.utcoffset() == timedelta()
