"""Tags, aliases, deletes and host keys: what changes in place, and what stays of it."""

from __future__ import annotations

import pytest

from flowblob.checks import new_id
from flowblob.errors import ConflictError, NotFoundError, VersionConflictError
from flowblob.model import Ref


@pytest.fixture
def three(catalog, make):
    return [catalog.commit(make.draft(data=data)).blob for data in (b"a", b"b", b"c")]


def found(catalog, text):
    record = catalog.find(Ref.parse(text))
    return None if record is None else record.blob


def test_tags_are_merged_and_removed_in_place(catalog, three):
    blob = catalog.tag(three[0].id, {"a": 1, "b": "x"})
    assert blob.tags == {"a": 1, "b": "x"}
    blob = catalog.tag(three[0].id, {"a": None, "b": "y", "c": False, "never": None})
    assert blob.tags == {"b": "y", "c": False}
    assert found(catalog, "models/churn@0") == blob
    assert found(catalog, "models/churn").tags == {}


def test_tag_history_says_who_and_when(catalog, three, clock):
    catalog.tag(three[0].id, {"a": 1}, by="ana")
    clock.move(hours=1)
    catalog.tag(three[0].id, {"a": 1}, by="nobody: nothing changed")
    catalog.tag(three[0].id, {"a": 1.0}, by="ben")
    catalog.tag(three[0].id, {"a": None}, by="cleo")
    history = catalog.tag_history(three[0].id)
    assert [(row["value"], row["by"]) for row in history] == [
        (None, "cleo"),
        (1.0, "ben"),
        (1, "ana"),
    ]
    assert (history[0]["at"] - history[2]["at"]).total_seconds() == 3600


def test_tagging_what_is_gone_is_refused(catalog, three):
    catalog.delete(Ref("models/churn", version=0))
    for blob_id in (three[0].id, new_id()):
        with pytest.raises(NotFoundError):
            catalog.tag(blob_id, {"a": 1})


def test_promote_moves_an_alias_and_keeps_its_moves(catalog, three, clock):
    assert catalog.promote(three[0], "prod", by="ana").aliases == ("prod",)
    clock.move(days=1)
    moved = catalog.promote(three[2], "prod", by="ben")
    catalog.promote(three[2], "prod", by="nobody: it stands there")
    assert moved.aliases == ("prod",)
    assert found(catalog, "models/churn@0").aliases == ()
    assert found(catalog, "models/churn@prod").version == 2
    moves = catalog.alias_history("models/churn", "prod")
    assert [(move["version"], move["by"]) for move in moves] == [(2, "ben"), (0, "ana")]
    assert (moves[0]["at"] - moves[1]["at"]).days == 1


def test_promote_fails_when_alias_moved(catalog, three):
    with pytest.raises(VersionConflictError, match="nowhere, not at version 1"):
        catalog.promote(three[0], "prod", expect=1)
    catalog.promote(three[0], "prod")
    catalog.promote(three[1], "prod", expect=0)
    with pytest.raises(VersionConflictError, match="at version 1, not at version 0"):
        catalog.promote(three[2], "prod", expect=0)
    assert found(catalog, "models/churn@prod").version == 1


def test_an_immutable_alias_never_moves(catalog, three):
    catalog.promote(three[1], "v1.0", immutable=True)
    catalog.promote(three[1], "v1.0")
    with pytest.raises(ConflictError, match="immutable"):
        catalog.promote(three[2], "v1.0")
    assert found(catalog, "models/churn@v1.0").version == 1


def test_an_alias_may_become_immutable_where_it_stands(catalog, three):
    catalog.promote(three[1], "rc")
    catalog.promote(three[1], "rc", immutable=True)
    with pytest.raises(ConflictError):
        catalog.promote(three[2], "rc")
    assert len(catalog.alias_history("models/churn", "rc")) == 1


def test_one_version_may_carry_several_aliases(catalog, three):
    for alias in ("prod", "champion", "a.b-c"):
        catalog.promote(three[0], alias)
    assert found(catalog, "models/churn@0").aliases == ("a.b-c", "champion", "prod")


def test_aliases_belong_to_their_key(catalog, make, three):
    other = catalog.commit(make.draft("other")).blob
    catalog.promote(three[0], "prod")
    catalog.promote(other, "prod")
    assert found(catalog, "models/churn@prod").key == "models/churn"
    assert found(catalog, "other@prod").key == "other"


def test_unalias_removes_it_and_says_so_in_the_history(catalog, three):
    catalog.promote(three[0], "prod", immutable=True)
    catalog.unalias("models/churn", "prod", by="ana")
    assert found(catalog, "models/churn@prod") is None
    assert [m["version"] for m in catalog.alias_history("models/churn", "prod")] == [None, 0]
    with pytest.raises(NotFoundError):
        catalog.unalias("models/churn", "prod")
    catalog.promote(three[2], "prod")


def test_a_deleted_key_begins_a_new_life_at_zero(catalog, make, three):
    catalog.promote(three[1], "prod")
    dropped = catalog.delete(Ref("models/churn"), by="ana")
    assert [blob.version for blob in dropped] == [2, 1, 0]
    for text in ("models/churn", "models/churn@1", "models/churn@prod", f"id:{three[0].id}"):
        assert found(catalog, text) is None
    again = catalog.commit(make.draft(data=b"c")).blob
    assert again.version == 0
    assert again.prev_version is None
    assert again.incarnation != three[0].incarnation
    assert found(catalog, "models/churn@prod") is None
    assert [m["version"] for m in catalog.alias_history("models/churn", "prod")] == [None, 1]
    assert catalog.check() == []


def test_numbers_of_dropped_versions_are_not_given_again(catalog, make, three):
    assert [b.id for b in catalog.delete(Ref("models/churn", version=2))] == [three[2].id]
    assert found(catalog, "models/churn").version == 1
    fourth = catalog.commit(make.draft(data=b"d", expect_version=1)).blob
    assert (fourth.version, fourth.prev_version) == (3, 1)
    assert [b.version for b in catalog.versions("models/churn")] == [3, 1, 0]
    assert found(catalog, "models/churn@2") is None
    assert catalog.check() == []


def test_content_of_a_dropped_newest_version_is_new_again(catalog, make, three):
    catalog.delete(Ref("models/churn", version=2))
    assert catalog.commit(make.draft(data=b"b")).blob.version == 1
    assert catalog.commit(make.draft(data=b"c")).blob.version == 3


def test_a_key_without_a_living_version_does_not_live(catalog, make):
    only = catalog.commit(make.draft()).blob
    catalog.delete(Ref(id=only.id))
    assert found(catalog, "models/churn") is None
    assert catalog.blobs() == []
    with pytest.raises(NotFoundError):
        catalog.commit(make.draft(expect_version=0))
    again = catalog.commit(make.draft(create=True)).blob
    assert (again.version, again.incarnation) == (1, only.incarnation)


def test_a_version_with_an_alias_cannot_be_deleted_alone(catalog, three):
    catalog.promote(three[1], "prod")
    for text in ("models/churn@1", "models/churn@prod", f"id:{three[1].id}", three[1].digest):
        with pytest.raises(ConflictError, match="prod"):
            catalog.delete(Ref.parse(text))
    catalog.unalias("models/churn", "prod")
    catalog.delete(Ref("models/churn", version=1))


@pytest.mark.parametrize("text", ["none", "models/churn@9", "models/churn@prod"])
def test_deleting_nothing_is_not_found(catalog, three, text):
    with pytest.raises(NotFoundError):
        catalog.delete(Ref.parse(text))


def test_deleting_twice_is_not_found(catalog, three):
    catalog.delete(Ref("models/churn", version=1))
    with pytest.raises(NotFoundError):
        catalog.delete(Ref("models/churn", version=1))
    catalog.delete(Ref("models/churn"))
    with pytest.raises(NotFoundError):
        catalog.delete(Ref("models/churn"))


def test_without_history_only_the_newest_version_stays(catalog, make):
    for data in (b"a", b"b", b"c"):
        catalog.commit(make.draft(data=data, history=False))
    assert [b.version for b in catalog.versions("models/churn")] == [2]
    assert found(catalog, "models/churn@0") is None
    assert catalog.check() == []


def test_history_that_was_asked_for_is_never_destroyed(catalog, make):
    catalog.commit(make.draft(data=b"kept"))
    catalog.commit(make.draft(data=b"passing", history=False))
    catalog.commit(make.draft(data=b"last", history=False))
    assert [b.version for b in catalog.versions("models/churn")] == [2, 0]
    catalog.commit(make.draft(data=b"with history"))
    assert [b.version for b in catalog.versions("models/churn")] == [3, 2, 0]


def test_an_alias_keeps_a_passing_version(catalog, make):
    first = catalog.commit(make.draft(data=b"a", history=False)).blob
    catalog.promote(first, "prod")
    catalog.commit(make.draft(data=b"b", history=False))
    assert found(catalog, "models/churn@prod").id == first.id


def test_a_host_key_keeps_a_passing_version(catalog, make):
    first = catalog.commit(make.draft(data=b"a", history=False)).blob
    catalog.bind("prefect", "key", blob_id=first.id)
    catalog.commit(make.draft(data=b"b", history=False))
    assert found(catalog, f"id:{first.id}") is not None


def test_an_entry_that_may_still_be_served_keeps_a_passing_version(catalog, make, clock):
    keep = make.entry("long")
    first = catalog.commit(make.draft(data=b"a", history=False, entry=keep)).blob
    catalog.commit(make.draft(data=b"b", history=False, entry=make.entry("other")))
    assert catalog.entry(keep.key.digest)[0].blob.id == first.id
    catalog.delete_entry(make.cache_key("other").digest)
    catalog.commit(make.draft(data=b"c", history=False, entry=keep))
    assert [b.version for b in catalog.versions("models/churn")] == [2, 0]


def test_a_refreshed_entry_lets_go_of_the_version_before(catalog, make):
    for data in (b"a", b"b"):
        catalog.commit(make.draft(data=data, history=False, entry=make.entry()))
    assert [b.version for b in catalog.versions("models/churn")] == [1]


def test_a_host_key_points_at_a_blob_with_a_record(catalog, three):
    assert catalog.bound("prefect", "a/b") is None
    catalog.bind("prefect", "a/b", blob_id=three[0].id, record=b"\x00\xff")
    assert catalog.bound("prefect", "a/b") == (three[0].id, b"\x00\xff")
    catalog.bind("prefect", "a/b", blob_id=three[1].id)
    assert catalog.bound("prefect", "a/b") == (three[1].id, b"")
    assert catalog.bound("airflow", "a/b") is None
    with pytest.raises(NotFoundError):
        catalog.bind("prefect", "x", blob_id=new_id())
