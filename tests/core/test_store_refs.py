"""Every form of reference, names that move, and what deleting leaves."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from flowblob import Ref, Store
from flowblob.errors import ConflictError, InvalidInputError, NotFoundError, VersionConflictError


@pytest.fixture
def filled() -> Store:
    store = Store("memory://")
    for number in range(3):
        store.put("models/churn", number)
    store.put("other", 1)
    return store


def test_every_form_of_reference_finds_its_version(filled: Store) -> None:
    blob = filled.versions("models/churn")[1]
    filled.promote(blob, "prod")
    for ref in (
        "models/churn@1", "models/churn@prod", f"models/churn@{blob.digest}", f"id:{blob.id}",
        blob, Ref("models/churn", version=1), Ref.parse(f"id:{blob.id}"),
    ):  # fmt: skip
        assert filled.resolve(ref).id == blob.id
        assert filled.exists(ref)
        assert filled.get(ref) == 1


@pytest.mark.parametrize("ref", ["models/churn", "models/churn@latest", Ref("models/churn")])
def test_a_bare_key_and_latest_mean_the_newest(filled: Store, ref: Any) -> None:
    assert filled.resolve(ref).version == 2
    assert filled.head("models/churn").version == 2


def test_a_bare_digest_finds_a_version_that_holds_it(filled: Store) -> None:
    digest = filled.resolve("models/churn@2").digest
    assert filled.get(digest) == 2


def test_a_digest_within_a_key_is_looked_for_only_there(filled: Store) -> None:
    digest = filled.resolve("models/churn@2").digest
    assert filled.exists(digest)
    assert not filled.exists(f"other@{digest}")


@pytest.mark.parametrize(
    ("ref", "named"),
    [
        ("nothing", "nothing"), ("models/churn@9", "9"), ("models/churn@gold", "gold"),
        ("models/churn@sha256:" + "0" * 64, "0" * 64), ("sha256:" + "1" * 64, "1" * 64),
        (f"id:{uuid.UUID(int=5)}", str(uuid.UUID(int=5))), ("Models/churn", "Models/churn"),
    ],
)  # fmt: skip
def test_an_unknown_reference_is_not_found_and_named(filled: Store, ref: str, named: str) -> None:
    for verb in (filled.get, filled.resolve, filled.open, filled.delete, filled.lineage):
        with pytest.raises(NotFoundError, match=named):
            verb(ref)  # type: ignore[operator]
    assert not filled.exists(ref)


@pytest.mark.parametrize(
    "ref",
    [
        "", "@3", "a@", "a@b@c", "a@03", "a@" + "9" * 19, "id:x", "id:", "sha256:",
        "sha256:" + "0" * 63, "sha256:" + "A" * 64, "a@sha256:00", "a//b", "/a", "a/", "../a",
        "a\x00", "a@\u0661", None, 5, b"a", ["a"],
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_reference_is_invalid(filled: Store, ref: Any) -> None:
    for verb in (filled.get, filled.resolve, filled.exists, filled.delete):
        with pytest.raises(InvalidInputError):
            verb(ref)


def test_a_reference_of_forged_fields_names_nothing(filled: Store) -> None:
    for ref in (Ref(""), Ref("../x"), Ref("a\x00"), Ref(id="x"), Ref(digest="x"), Ref("k", -1)):
        assert not filled.exists(ref)


def test_an_alias_moves_and_leaves_a_history(filled: Store) -> None:
    for version in (0, 2, 1):
        filled.promote(f"models/churn@{version}", "prod")
    assert filled.aliases("models/churn") == {"prod": 1}
    moves = filled.catalog.alias_history("models/churn", "prod")
    assert [move["version"] for move in moves] == [1, 2, 0]
    assert all(move["by"] and move["at"].tzinfo for move in moves)


def test_promote_fails_when_the_alias_moved(filled: Store) -> None:
    filled.promote("models/churn@0", "prod")
    filled.promote("models/churn@1", "prod", expect=0)
    with pytest.raises(VersionConflictError):
        filled.promote("models/churn@2", "prod", expect=0)
    with pytest.raises(VersionConflictError):
        filled.promote("models/churn@2", "new", expect=0)
    assert filled.aliases("models/churn") == {"prod": 1}


def test_an_immutable_alias_never_moves_again(filled: Store) -> None:
    filled.promote("models/churn@0", "v1", immutable=True)
    assert filled.promote("models/churn@0", "v1").aliases == ("v1",)
    with pytest.raises(ConflictError):
        filled.promote("models/churn@1", "v1")
    assert filled.resolve("models/churn@v1").version == 0


def test_an_alias_belongs_to_its_key(filled: Store) -> None:
    filled.promote("models/churn@0", "prod")
    filled.promote("other", "prod")
    filled.unalias("other", "prod")
    assert filled.resolve("models/churn@prod").version == 0
    with pytest.raises(NotFoundError):
        filled.resolve("other@prod")


def test_an_alias_that_is_not_there_cannot_be_taken_away(filled: Store) -> None:
    with pytest.raises(NotFoundError, match="prod"):
        filled.unalias("models/churn", "prod")


def test_tags_are_merged_in_place_and_keep_a_history(filled: Store) -> None:
    before = filled.head("models/churn")
    filled.tag("models/churn", stage="staging", n=1)
    blob = filled.tag("models/churn", n=None, stage="production")
    assert (blob.id, dict(blob.tags)) == (before.id, {"stage": "production"})
    history = filled.catalog.tag_history(blob.id)  # type: ignore[attr-defined]
    assert [(entry["name"], entry["value"]) for entry in history if entry["name"] == "stage"] == [
        ("stage", "production"), ("stage", "staging"),
    ]  # fmt: skip


@pytest.mark.parametrize("values", [(1, 1.0, True, "1"), (0, 0.0, False, "0", "")])
def test_tag_values_of_equal_looks_stay_apart(filled: Store, values: tuple[Any, ...]) -> None:
    for value in values:
        filled.put(f"tagged/{value!r}", 1, tags={"t": value})
    for value in values:
        found = filled.ls("tagged/", tags={"t": value})
        assert [blob.key for blob in found] == [f"tagged/{value!r}"]


def test_ls_lists_the_newest_of_each_key_by_prefix_and_filter(filled: Store) -> None:
    filled.put("models/fraud", 1, kind="ml_model", tags={"team": "risk"})
    assert [blob.ref for blob in filled.ls("models/")] == ["models/churn@2", "models/fraud@0"]
    assert [blob.key for blob in filled.ls(kind="ml_model")] == ["models/fraud"]
    assert [blob.key for blob in filled.ls(limit=1)] == ["models/churn"]
    with pytest.raises(InvalidInputError, match="colour"):
        filled.ls(colour="red")


def test_a_prefix_is_text_and_no_pattern(filled: Store) -> None:
    filled.put("a_b", 1)
    filled.put("a%b", 1)
    filled.put("axb", 1)
    assert [blob.key for blob in filled.ls("a_")] == ["a_b"]
    assert [blob.key for blob in filled.ls("a%")] == ["a%b"]


def test_deleting_one_version_never_frees_its_number(filled: Store) -> None:
    dropped = filled.delete("models/churn@2")
    assert [blob.version for blob in dropped] == [2]
    assert filled.head("models/churn").version == 1
    assert filled.put("models/churn", 99).version == 3
    assert [blob.version for blob in filled.versions("models/churn")] == [3, 1, 0]


def test_deleting_by_latest_drops_one_version_only(filled: Store) -> None:
    filled.delete("models/churn@latest")
    assert [blob.version for blob in filled.versions("models/churn")] == [1, 0]
    filled.delete(Ref.parse("models/churn@latest"))
    assert [blob.version for blob in filled.versions("models/churn")] == [0]


def test_a_version_under_an_alias_is_not_deleted(filled: Store) -> None:
    filled.promote("models/churn@1", "prod")
    with pytest.raises(ConflictError, match="prod"):
        filled.delete("models/churn@1")
    assert filled.get("models/churn@prod") == 1


def test_a_deleted_key_begins_a_new_life(filled: Store) -> None:
    filled.promote("models/churn@0", "prod")
    old = filled.head("models/churn")
    assert len(filled.delete("models/churn")) == 3
    assert not filled.exists("models/churn")
    assert not filled.exists(f"id:{old.id}")
    new = filled.put("models/churn", 2)
    assert (new.version, new.prev_version, new.aliases) == (0, None, ())
    assert new.incarnation != old.incarnation
    assert filled.catalog.check() == []


def test_when_all_versions_are_gone_the_next_number_goes_on(filled: Store) -> None:
    filled.delete("other@0")
    with pytest.raises(NotFoundError):
        filled.head("other")
    assert filled.put("other", 1).version == 1
    assert filled.catalog.check() == []


def test_deleting_twice_is_not_found(filled: Store) -> None:
    filled.delete("other")
    with pytest.raises(NotFoundError, match="other"):
        filled.delete("other")


def test_deleting_a_version_keeps_the_payload_of_others(filled: Store) -> None:
    filled.put("copy", 1)
    filled.delete("models/churn@1")
    assert filled.get("copy") == 1


def test_case_twins_are_two_keys(filled: Store) -> None:
    filled.put("Case", 1)
    filled.put("case", 2)
    assert (filled.get("Case"), filled.get("case")) == (1, 2)
    assert filled.head("case").version == 0
