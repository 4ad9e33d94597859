"""Appending versions and finding them again, on any catalog."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowblob.abc import Catalog
from flowblob.checks import new_id
from flowblob.drafts import Part
from flowblob.errors import (
    AlreadyExistsError,
    InvalidInputError,
    NotFoundError,
    VersionConflictError,
)
from flowblob.model import Blob, Ref
from flowblob.testing.contract import CatalogContract, found, is_absent, numbers
from flowblob.testing.making import Make

_GIVEN: dict[str, Any] = {
    "kind": "ml_model",
    "media_type": "application/x-model",
    "serializer": "pickle",
    "filename": "model.bin",
    "tags": {"stage": "test", "n": 1, "f": 1.0, "yes": True},
    "partitions": {"day": "2026-11-21"},
    "value_digest": "v1",
    "external": "",
    "signature": "s",
    "signature_key": "k1",
}


class VersionTests(CatalogContract):
    """Commits, references, and what counts as unchanged."""

    def test_everything_given_at_a_put_is_found_again(self, catalog: Catalog, make: Make) -> None:
        run = make.run(
            url="http://host/run", name="brisk-otter", map_index=3,
            used={"a": 1}, generated={"b": 2},
        )  # fmt: skip
        draft = make.draft(
            metadata='{"auc": 0.9, "über": ["x", null, {"deep": true}]}',
            parents=(catalog.commit(make.draft("raw/day", b"raw")).blob.id,),
            run=run,
            preview='{"type": "int"}',
            **_GIVEN,
        )
        blob = catalog.commit(draft).blob
        assert found(catalog, "models/churn") == blob
        assert {name: getattr(blob, name) for name in _GIVEN} == _GIVEN
        assert blob.metadata == {"auc": 0.9, "über": ["x", None, {"deep": True}]}
        assert blob.preview == {"type": "int"}
        assert blob.run is not None
        assert blob.run.started_at is not None
        assert replace(blob.run, started_at=None) == run
        assert {name: type(value) for name, value in blob.tags.items()} == {
            "stage": str,
            "n": int,
            "f": float,
            "yes": bool,
        }

    def test_a_put_is_found_with_its_number_and_payload(self, catalog: Catalog, make: Make) -> None:
        blob = catalog.commit(make.draft(data=b"model")).blob
        record = catalog.find(Ref.parse("models/churn"), payload=True)
        assert record is not None
        assert record.blob == blob
        assert (blob.key, blob.version, blob.prev_version) == ("models/churn", 0, None)
        assert (blob.parts, blob.history, blob.aliases) == (0, True, ())
        assert (blob.digest, blob.size) == (make.digest(b"model"), 5)
        assert blob.checksum == make.checksum(b"model")
        assert blob.created_at.utcoffset() == timedelta()
        assert record.payload is not None
        assert (record.payload.data, record.payload.is_inline) == (b"model", True)
        assert (record.payload.digest, record.payload.size) == (blob.digest, 5)
        assert record.payload.checksum == blob.checksum

    def test_a_record_stays_as_it_was_told(self, catalog: Catalog, make: Make) -> None:
        """Times and ids of a commit's answer are those that every later reader sees."""
        blob = catalog.commit(make.draft(run=make.run(), metadata='{"a": 1}')).blob
        for _ in range(3):
            assert found(catalog, "models/churn") == blob
            assert catalog.versions("models/churn") == [blob]
            assert catalog.blobs() == [blob]

    def test_the_put_chooses_the_id_of_its_version(self, catalog: Catalog, make: Make) -> None:
        draft = make.draft()
        blob = catalog.commit(draft).blob
        assert blob.id == draft.blob_id
        again = make.draft()
        assert catalog.commit(again).blob.id == blob.id
        assert is_absent(catalog, f"id:{again.blob_id}")

    def test_versions_are_dense_and_link_back(self, catalog: Catalog, make: Make) -> None:
        blobs = [catalog.commit(make.draft(data=bytes([n]))).blob for n in range(4)]
        assert [blob.version for blob in blobs] == [0, 1, 2, 3]
        assert [blob.prev_version for blob in blobs] == [None, 0, 1, 2]
        assert len({blob.incarnation for blob in blobs}) == 1
        assert len({blob.id for blob in blobs}) == 4
        assert catalog.versions("models/churn") == blobs[::-1]
        assert [b.version for b in catalog.versions("models/churn", limit=2)] == [3, 2]
        assert catalog.versions("other") == []

    @pytest.mark.parametrize("payload", [False, True])
    def test_every_form_of_reference_finds_its_version(
        self, catalog: Catalog, make: Make, three: list[Blob], payload: Any
    ) -> None:
        first, second, third = three
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
            for _ in range(3):  # an engine may remember look-ups that repeat
                record = catalog.find(Ref.parse(text), payload=payload)
                assert record is not None, text
                assert record.blob.id == wanted, text
                assert (record.payload is not None) is payload
        assert found(catalog, second.digest).key == "other"

    def test_the_newest_of_equal_contents_is_what_a_digest_means(
        self, catalog: Catalog, make: Make
    ) -> None:
        for data in (b"a", b"b", b"a"):
            catalog.commit(make.draft(data=data))
        assert found(catalog, f"models/churn@{make.digest(b'a')}").version == 2
        catalog.delete(Ref("models/churn", version=2))
        assert found(catalog, f"models/churn@{make.digest(b'a')}").version == 0

    @pytest.mark.parametrize(
        "text",
        [
            "none",
            "models/churn@7",
            "models/churn@prod",
            "models/churn@sha256:" + "0" * 64,
            "id:7f3c2b1a-0d9e-4c8b-a765-43210fedcba9",
            "sha256:" + "0" * 64,
        ],
    )
    def test_nothing_is_found_where_nothing_is(
        self, catalog: Catalog, make: Make, text: str
    ) -> None:
        catalog.commit(make.draft())
        assert catalog.find(Ref.parse(text), payload=True) is None

    def test_unchanged_content_appends_nothing(self, catalog: Catalog, make: Make) -> None:
        first = catalog.commit(make.draft(metadata='{"a":1,"b":2}', value_digest="v1"))
        again = catalog.commit(make.draft(metadata='{"b":2,"a":1}', value_digest="v2"))
        assert (first.is_new, again.is_new) == (True, False)
        assert again.blob == first.blob
        assert numbers(catalog) == [0]

    def test_an_unchanged_put_still_links_run_tags_and_parents(
        self, catalog: Catalog, make: Make
    ) -> None:
        parent = catalog.commit(make.draft("raw", b"raw")).blob
        blob = catalog.commit(make.draft(run=make.run(), tags={"a": 1, "b": 1})).blob
        self.wait(0.005)
        again = catalog.commit(
            make.draft(run=make.run("retrain"), tags={"b": 2}, parents=(parent.id,))
        )
        assert not again.is_new
        assert again.blob.tags == {"a": 1, "b": 2}
        assert again.blob.run == blob.run
        outputs = catalog.uses(blob_id=blob.id, role="output")
        assert [use.run.task for use in outputs] == ["train", "retrain"]
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
        ids=lambda change: next(iter(change)),
    )
    def test_a_changed_fact_is_a_new_version_of_the_same_payload(
        self, catalog: Catalog, make: Make, change: dict[str, Any]
    ) -> None:
        first = catalog.commit(make.draft()).blob
        second = catalog.commit(make.draft(**change))
        assert second.is_new
        assert second.blob.version == 1
        assert second.blob.digest == first.digest
        kept = [catalog.payloads(blob.id)[0].generation for blob in (first, second.blob)]
        assert kept[0] == kept[1]

    def test_a_version_that_nobody_here_believes_is_signed_anew(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(signature="old", signature_key="k1"))
        for signers, is_new in ((("k1", "k2"), False), ((), False), (("k2",), True)):
            draft = make.draft(signature="new", signature_key="k2", signers=signers)
            assert catalog.commit(draft).is_new is is_new, signers
        assert found(catalog, "models/churn").signature == "new"

    def test_unchanged_is_judged_against_the_newest_version_only(
        self, catalog: Catalog, make: Make
    ) -> None:
        for data in (b"a", b"b", b"a"):
            assert catalog.commit(make.draft(data=data)).is_new

    def test_other_parts_are_a_change_even_under_one_main_payload(
        self, catalog: Catalog, make: Make
    ) -> None:
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

    def test_a_version_may_have_no_payload_or_only_a_digest(
        self, catalog: Catalog, make: Make
    ) -> None:
        empty = catalog.commit(make.draft("none", parts=())).blob
        assert (empty.digest, empty.size, catalog.payloads(empty.id)) == ("", 0, [])
        only = Part("", make.digest(b"far"), 3, "c")
        blob = catalog.commit(make.draft("far", parts=(only,), external="https://host/far")).blob
        assert (blob.digest, blob.external) == (make.digest(b"far"), "https://host/far")
        record = catalog.find(Ref("far"), payload=True)
        assert record is not None
        assert record.payload is None
        assert catalog.check() == []

    def test_an_empty_payload_is_a_payload(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(data=b""))
        record = catalog.find(Ref("models/churn"), payload=True)
        assert record is not None
        assert record.payload is not None
        assert (record.payload.data, record.blob.size) == (b"", 0)

    def test_inline_bytes_are_kept_once(self, catalog: Catalog, make: Make) -> None:
        one = catalog.commit(make.draft("a", b"same")).blob
        two = catalog.commit(make.draft("b", b"same")).blob
        assert catalog.payloads(one.id) == catalog.payloads(two.id)
        assert len(catalog.generations()) == 1

    def test_expect_version_is_compare_and_swap(self, catalog: Catalog, make: Make) -> None:
        with pytest.raises(NotFoundError):
            catalog.commit(make.draft(expect_version=0))
        catalog.commit(make.draft(data=b"a"))
        catalog.commit(make.draft(data=b"b", expect_version=0))
        for wrong in (0, 2):
            with pytest.raises(VersionConflictError, match="1"):
                catalog.commit(make.draft(data=b"c", expect_version=wrong))
        assert numbers(catalog) == [1, 0]

    def test_expectations_are_checked_before_unchanged(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(data=b"a"))
        with pytest.raises(VersionConflictError):
            catalog.commit(make.draft(data=b"a", expect_version=3))
        with pytest.raises(AlreadyExistsError):
            catalog.commit(make.draft(data=b"a", create=True))

    def test_create_begins_a_key_and_refuses_a_living_one(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(create=True))
        with pytest.raises(AlreadyExistsError):
            catalog.commit(make.draft(data=b"other", create=True))
        assert numbers(catalog) == [0]

    def test_a_refused_put_leaves_nothing(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft())
        before = catalog.facts()["counts"]
        with pytest.raises(NotFoundError, match="parent"):
            catalog.commit(
                make.draft(data=b"x", parents=(new_id(),), run=make.run(), tags={"a": 1})
            )
        with pytest.raises(VersionConflictError):
            catalog.commit(make.draft(data=b"y", expect_version=9, run=make.run(), tags={"a": 1}))
        assert catalog.facts()["counts"] == before
        assert is_absent(catalog, make.digest(b"x"))
        assert found(catalog, "models/churn").tags == {}
        assert catalog.runs() == []

    def test_a_repeated_op_is_one_put(self, catalog: Catalog, make: Make) -> None:
        draft = make.draft(tags={"a": 1})
        first = catalog.commit(draft)
        assert catalog.outcome(draft.op) == first.blob
        catalog.commit(make.draft(data=b"two"))
        assert catalog.commit(draft) == first
        assert numbers(catalog) == [1, 0]

    def test_a_repeated_op_answers_before_any_condition(self, catalog: Catalog, make: Make) -> None:
        """A retry after a lost reply must not meet its own first success as a conflict."""
        create, swap = make.draft(create=True), make.draft(data=b"two", expect_version=0)
        for draft in (create, swap):
            first = catalog.commit(draft)
            assert catalog.commit(draft) == first
        assert numbers(catalog) == [1, 0]

    def test_a_repeated_op_of_an_unchanged_put_answers_the_same(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft())
        draft = make.draft()
        first = catalog.commit(draft)
        assert not first.is_new
        catalog.commit(make.draft(data=b"two"))
        assert catalog.commit(draft) == first
        assert catalog.outcome(draft.op) == first.blob
        assert catalog.outcome(new_id()) is None

    def test_a_repeated_op_does_not_repeat_its_tags(self, catalog: Catalog, make: Make) -> None:
        draft = make.draft(tags={"stage": "test"})
        blob = catalog.commit(draft).blob
        catalog.tag(blob.id, {"stage": "prod"})
        assert catalog.commit(draft).blob.tags == {"stage": "prod"}

    def test_a_repeated_op_answers_even_after_a_delete(self, catalog: Catalog, make: Make) -> None:
        draft = make.draft()
        first = catalog.commit(draft)
        catalog.delete(Ref("models/churn"))
        assert catalog.commit(draft).blob.id == first.blob.id
        assert is_absent(catalog, "models/churn")

    def test_the_first_value_digest_stays(self, catalog: Catalog, make: Make) -> None:
        blob = catalog.commit(make.draft()).blob
        catalog.set_value_digest(blob.id, "v1")
        catalog.set_value_digest(blob.id, "v2")
        assert found(catalog, f"id:{blob.id}").value_digest == "v1"

    def test_another_handle_sees_every_commit_at_once(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        ref = Ref("models/churn")
        for number in range(5):
            blob = catalog.commit(make.draft(data=bytes([number]))).blob
            for handle in (second, catalog):
                for _ in range(3):
                    record = handle.find(ref, payload=True)
                    assert record is not None
                    assert record.blob.version == number
                    assert record.payload is not None
                    assert record.payload.data == bytes([number])
            catalog.tag(blob.id, {"n": number})
            assert found(second, "models/churn").tags == {"n": number}
            catalog.promote(blob, "prod")
            assert found(second, "models/churn@prod").version == number
        second.delete(ref)
        assert is_absent(catalog, "models/churn")

    def test_a_caller_may_change_the_dicts_of_a_record(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(metadata='{"a": [1]}', tags={"t": 1}, run=make.run()))
        for _ in range(4):
            record = catalog.find(Ref("models/churn"), payload=True)
            assert record is not None
            assert (record.blob.metadata, record.blob.tags) == ({"a": [1]}, {"t": 1})
            record.blob.metadata["a"].append(2)
            dict.clear(record.blob.tags)  # type: ignore[arg-type]

    def test_an_unknown_filter_is_refused(self, catalog: Catalog) -> None:
        with pytest.raises(InvalidInputError, match="colour"):
            catalog.blobs(filters={"colour": "red"})
