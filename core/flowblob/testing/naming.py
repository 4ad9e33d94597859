"""Tags, aliases, deletions, host keys and listings, on any catalog."""

from __future__ import annotations

import pytest

from flowblob.abc import Catalog
from flowblob.checks import new_id
from flowblob.errors import ConflictError, NotFoundError, VersionConflictError
from flowblob.model import Blob, Ref
from flowblob.testing.contract import TICK, CatalogContract, found, is_absent, numbers
from flowblob.testing.making import Make


class NameTests(CatalogContract):
    """What changes in place, and what stays of it."""

    def test_tags_are_merged_and_removed_in_place(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        blob = catalog.tag(three[0].id, {"a": 1, "b": "x"})
        assert blob.tags == {"a": 1, "b": "x"}
        blob = catalog.tag(three[0].id, {"a": None, "b": "y", "c": False, "never": None})
        assert blob.tags == {"b": "y", "c": False}
        assert found(catalog, "models/churn@0") == blob
        assert found(catalog, "models/churn").tags == {}

    def test_tag_values_of_equal_looks_stay_apart(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        for value in (1, True, 1.0, "1", 0, False, "", 0.1, 2**62, -(2**62)):
            kept = catalog.tag(three[0].id, {"t": value}).tags["t"]
            assert (kept, type(kept)) == (value, type(value))
            listed = catalog.blobs(filters={"tags": {"t": value}})
            assert listed == []  # only the newest version of a key is listed
            catalog.tag(three[2].id, {"t": value})
            assert [b.key for b in catalog.blobs(filters={"tags": {"t": value}})] == [
                "models/churn"
            ]
        catalog.tag(three[2].id, {"t": 1})
        assert catalog.blobs(filters={"tags": {"t": True}}) == []
        assert catalog.blobs(filters={"tags": {"t": "1"}}) == []

    def test_tag_history_says_who_and_when(self, catalog: Catalog, three: list[Blob]) -> None:
        catalog.tag(three[0].id, {"a": 1}, by="ana")
        catalog.tag(three[0].id, {"a": 1}, by="nobody: nothing changed")
        self.wait(TICK)
        catalog.tag(three[0].id, {"a": 1.0}, by="ben")
        self.wait(TICK)
        catalog.tag(three[0].id, {"a": None}, by="cleo")
        history = catalog.tag_history(three[0].id)
        assert [(row["name"], row["value"], row["by"]) for row in history] == [
            ("a", None, "cleo"),
            ("a", 1.0, "ben"),
            ("a", 1, "ana"),
        ]
        assert history[0]["at"] > history[1]["at"] > history[2]["at"]
        assert catalog.tag_history(three[1].id) == []

    def test_tagging_what_is_gone_is_refused(self, catalog: Catalog, three: list[Blob]) -> None:
        catalog.delete(Ref("models/churn", version=0))
        for blob_id in (three[0].id, new_id()):
            with pytest.raises(NotFoundError):
                catalog.tag(blob_id, {"a": 1})

    # aliases --------------------------------------------------------

    def test_promote_moves_an_alias_and_keeps_its_moves(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        assert catalog.promote(three[0], "prod", by="ana").aliases == ("prod",)
        self.wait(TICK)
        moved = catalog.promote(three[2], "prod", by="ben")
        catalog.promote(three[2], "prod", by="nobody: it stands there")
        assert moved.aliases == ("prod",)
        assert found(catalog, "models/churn@0").aliases == ()
        assert found(catalog, "models/churn@prod").version == 2
        moves = catalog.alias_history("models/churn", "prod")
        assert [(move["version"], move["by"]) for move in moves] == [(2, "ben"), (0, "ana")]
        assert moves[0]["at"] > moves[1]["at"]

    def test_promote_fails_when_the_alias_moved(self, catalog: Catalog, three: list[Blob]) -> None:
        with pytest.raises(VersionConflictError):
            catalog.promote(three[0], "prod", expect=1)
        assert is_absent(catalog, "models/churn@prod")
        catalog.promote(three[0], "prod")
        catalog.promote(three[1], "prod", expect=0)
        with pytest.raises(VersionConflictError):
            catalog.promote(three[2], "prod", expect=0)
        with pytest.raises(VersionConflictError):  # even where it would not move
            catalog.promote(three[1], "prod", expect=0)
        assert found(catalog, "models/churn@prod").version == 1
        assert len(catalog.alias_history("models/churn", "prod")) == 2

    def test_promoting_what_is_gone_is_refused(self, catalog: Catalog, three: list[Blob]) -> None:
        catalog.delete(Ref("models/churn", version=0))
        with pytest.raises(NotFoundError):
            catalog.promote(three[0], "prod")
        catalog.delete(Ref("models/churn"))
        with pytest.raises(NotFoundError):
            catalog.promote(three[1], "prod")

    def test_an_immutable_alias_never_moves(self, catalog: Catalog, three: list[Blob]) -> None:
        catalog.promote(three[1], "v1.0", immutable=True)
        catalog.promote(three[1], "v1.0")
        with pytest.raises(ConflictError, match="immutable"):
            catalog.promote(three[2], "v1.0")
        with pytest.raises(ConflictError):
            catalog.promote(three[2], "v1.0", expect=1)
        assert found(catalog, "models/churn@v1.0").version == 1

    def test_an_alias_may_become_immutable_where_it_stands(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        catalog.promote(three[1], "rc")
        catalog.promote(three[1], "rc", immutable=True)
        with pytest.raises(ConflictError):
            catalog.promote(three[2], "rc")
        assert len(catalog.alias_history("models/churn", "rc")) == 1

    def test_one_version_may_carry_several_aliases(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        for alias in ("prod", "champion", "a.b-c"):
            catalog.promote(three[0], alias)
        assert found(catalog, "models/churn@0").aliases == ("a.b-c", "champion", "prod")

    def test_aliases_belong_to_their_key(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        other = catalog.commit(make.draft("other")).blob
        catalog.promote(three[0], "prod")
        catalog.promote(other, "prod")
        assert found(catalog, "models/churn@prod").key == "models/churn"
        assert found(catalog, "other@prod").key == "other"

    def test_unalias_removes_it_and_says_so_in_the_history(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        catalog.promote(three[0], "prod", immutable=True)
        self.wait(TICK)
        catalog.unalias("models/churn", "prod", by="ana")
        assert is_absent(catalog, "models/churn@prod")
        assert found(catalog, "models/churn@0").aliases == ()
        moves = catalog.alias_history("models/churn", "prod")
        assert [m["version"] for m in moves] == [None, 0]
        assert moves[0]["by"] == "ana"
        for key, alias in (("models/churn", "prod"), ("models/churn", "never"), ("none", "prod")):
            with pytest.raises(NotFoundError):
                catalog.unalias(key, alias)
        catalog.promote(three[2], "prod")

    # deletions ------------------------------------------------------

    def test_a_deleted_key_begins_a_new_life_at_zero(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        catalog.promote(three[1], "prod")
        self.wait(TICK)
        dropped = catalog.delete(Ref("models/churn"), by="ana")
        assert [blob.version for blob in dropped] == [2, 1, 0]
        for text in ("models/churn", "models/churn@1", "models/churn@prod", f"id:{three[0].id}"):
            assert is_absent(catalog, text), text
        assert is_absent(catalog, three[0].digest)
        assert (catalog.versions("models/churn"), catalog.blobs()) == ([], [])
        again = catalog.commit(make.draft(data=b"c", create=True)).blob
        assert (again.version, again.prev_version) == (0, None)
        assert again.incarnation != three[0].incarnation
        assert is_absent(catalog, "models/churn@prod")
        moves = catalog.alias_history("models/churn", "prod")
        assert [m["version"] for m in moves] == [None, 1]
        assert catalog.check() == []

    def test_numbers_of_dropped_versions_are_not_given_again(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        dropped = catalog.delete(Ref("models/churn", version=2))
        assert [blob.id for blob in dropped] == [three[2].id]
        assert found(catalog, "models/churn").version == 1
        fourth = catalog.commit(make.draft(data=b"d", expect_version=1)).blob
        assert (fourth.version, fourth.prev_version) == (3, 1)
        assert numbers(catalog) == [3, 1, 0]
        assert is_absent(catalog, "models/churn@2")
        assert catalog.check() == []

    def test_deleting_drops_what_was_named_and_nothing_else(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        for key in ("models/churn/x", "models/chur", "models"):
            catalog.commit(make.draft(key))
        catalog.delete(Ref("models/churn", version=1))
        assert numbers(catalog) == [2, 0]
        catalog.delete(Ref("models/churn"))
        assert [b.key for b in catalog.blobs()] == ["models", "models/chur", "models/churn/x"]

    def test_content_of_a_dropped_newest_version_is_new_again(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        catalog.delete(Ref("models/churn", version=2))
        assert catalog.commit(make.draft(data=b"b")).blob.version == 1
        assert catalog.commit(make.draft(data=b"c")).blob.version == 3

    def test_a_key_without_a_living_version_does_not_live(
        self, catalog: Catalog, make: Make
    ) -> None:
        only = catalog.commit(make.draft()).blob
        catalog.delete(Ref(id=only.id))
        assert is_absent(catalog, "models/churn")
        assert catalog.blobs() == []
        with pytest.raises(NotFoundError):
            catalog.commit(make.draft(expect_version=0))
        again = catalog.commit(make.draft(create=True)).blob
        assert (again.version, again.incarnation) == (1, only.incarnation)

    def test_a_version_with_an_alias_cannot_be_deleted_alone(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        catalog.promote(three[1], "prod")
        for text in (
            "models/churn@1",
            "models/churn@prod",
            f"id:{three[1].id}",
            three[1].digest,
            f"models/churn@{three[1].digest}",
        ):
            with pytest.raises(ConflictError, match="prod"):
                catalog.delete(Ref.parse(text))
        assert numbers(catalog) == [2, 1, 0]
        catalog.unalias("models/churn", "prod")
        catalog.delete(Ref("models/churn", version=1))

    @pytest.mark.parametrize("text", ["none", "models/churn@9", "models/churn@prod", "none@0"])
    def test_deleting_nothing_is_not_found(
        self, catalog: Catalog, three: list[Blob], text: str
    ) -> None:
        with pytest.raises(NotFoundError):
            catalog.delete(Ref.parse(text))

    def test_deleting_twice_is_not_found(self, catalog: Catalog, three: list[Blob]) -> None:
        for ref in (Ref("models/churn", version=1), Ref("models/churn")):
            catalog.delete(ref)
            with pytest.raises(NotFoundError):
                catalog.delete(ref)

    # history=False --------------------------------------------------

    def test_without_history_only_the_newest_version_stays(
        self, catalog: Catalog, make: Make
    ) -> None:
        for data in (b"a", b"b", b"c"):
            catalog.commit(make.draft(data=data, history=False))
        assert numbers(catalog) == [2]
        assert is_absent(catalog, "models/churn@0")
        assert catalog.check() == []

    def test_history_that_was_asked_for_is_never_destroyed(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(data=b"kept"))
        catalog.commit(make.draft(data=b"passing", history=False))
        catalog.commit(make.draft(data=b"last", history=False))
        assert numbers(catalog) == [2, 0]
        catalog.commit(make.draft(data=b"with history"))
        assert numbers(catalog) == [3, 2, 0]

    def test_an_alias_keeps_a_passing_version(self, catalog: Catalog, make: Make) -> None:
        first = catalog.commit(make.draft(data=b"a", history=False)).blob
        catalog.promote(first, "prod")
        catalog.commit(make.draft(data=b"b", history=False))
        assert found(catalog, "models/churn@prod").id == first.id

    def test_a_host_key_keeps_a_passing_version(self, catalog: Catalog, make: Make) -> None:
        first = catalog.commit(make.draft(data=b"a", history=False)).blob
        catalog.bind("prefect", "key", blob_id=first.id)
        catalog.commit(make.draft(data=b"b", history=False))
        assert found(catalog, f"id:{first.id}").id == first.id

    def test_an_entry_that_may_still_be_served_keeps_a_passing_version(
        self, catalog: Catalog, make: Make
    ) -> None:
        keep = make.entry("long")
        first = catalog.commit(make.draft(data=b"a", history=False, entry=keep)).blob
        catalog.commit(make.draft(data=b"b", history=False, entry=make.entry("other")))
        entry = catalog.entry(keep.key.digest)
        assert entry is not None
        assert entry[0].blob.id == first.id
        catalog.delete_entry(make.cache_key("other").digest)
        catalog.commit(make.draft(data=b"c", history=False, entry=keep))
        assert numbers(catalog) == [2, 0]

    def test_a_refreshed_entry_lets_go_of_the_version_before(
        self, catalog: Catalog, make: Make
    ) -> None:
        for data in (b"a", b"b"):
            catalog.commit(make.draft(data=data, history=False, entry=make.entry()))
        assert numbers(catalog) == [1]

    # host keys ------------------------------------------------------

    def test_a_host_key_points_at_a_blob_with_a_record(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        assert catalog.bound("prefect", "a/b") is None
        catalog.bind("prefect", "a/b", blob_id=three[0].id, record=b"\x00\xff")
        assert catalog.bound("prefect", "a/b") == (three[0].id, b"\x00\xff")
        catalog.bind("prefect", "a/b", blob_id=three[1].id)
        assert catalog.bound("prefect", "a/b") == (three[1].id, b"")
        assert catalog.bound("airflow", "a/b") is None
        assert catalog.bound("prefect", "a") is None
        with pytest.raises(NotFoundError):
            catalog.bind("prefect", "x", blob_id=new_id())
        assert catalog.bound("prefect", "x") is None

    # listings -------------------------------------------------------

    def test_blobs_lists_the_newest_version_of_each_key(self, catalog: Catalog, make: Make) -> None:
        for key in ("b/2", "b/1", "a", "b0", "B", "ü", "\U0001f9ca", "\uffee"):
            catalog.commit(make.draft(key, b"1"))
            catalog.commit(make.draft(key, b"2"))
        assert [(b.key, b.version) for b in catalog.blobs()] == [
            (key, 1) for key in ("B", "a", "b/1", "b/2", "b0", "ü", "\uffee", "\U0001f9ca")
        ]
        assert [b.key for b in catalog.blobs(prefix="b/")] == ["b/1", "b/2"]
        assert [b.key for b in catalog.blobs(prefix="b", limit=2)] == ["b/1", "b/2"]
        catalog.delete(Ref("a"))
        assert "a" not in [b.key for b in catalog.blobs()]

    def test_a_prefix_is_text_and_no_pattern(self, catalog: Catalog, make: Make) -> None:
        for key in ("a%b", "a_b", "axb", "a.b", "a*b", "a[x]b", "a\u00e9b"):
            catalog.commit(make.draft(key))
        for prefix in ("a%", "a_", "a.", "a*", "a[x]", "a\u00e9"):
            assert [b.key for b in catalog.blobs(prefix=prefix)] == [f"{prefix}b"]
        assert catalog.blobs(prefix="^a") == []

    def test_a_prefix_may_be_followed_by_any_character(self, catalog: Catalog, make: Make) -> None:
        last = "\U0010ffff"
        keys = ["a", "a\ud7ff", f"a{last}", f"a{last}{last}", f"a{last * 255}"]
        for key in [*keys, "b", last]:
            catalog.commit(make.draft(key, kind="any"))
        assert [b.key for b in catalog.blobs(prefix="a")] == keys
        assert [b.key for b in catalog.blobs(prefix="a", filters={"kind": "any"})] == keys
        assert [b.key for b in catalog.blobs(prefix=f"a{last}")] == keys[2:]
        assert [b.key for b in catalog.blobs(prefix=last)] == [last]
        scanned = catalog.scan("incarnation", prefix="a").records
        assert sorted(record["key"] for record in scanned) == keys

    def test_blobs_are_filtered_by_equality(self, catalog: Catalog, make: Make) -> None:
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
