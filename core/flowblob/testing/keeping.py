"""Dropping by rule, bringing back, and the copies of a payload; on any catalog."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowblob.abc import Catalog
from flowblob.checks import new_id
from flowblob.drafts import Payload
from flowblob.errors import ConflictError, NotFoundError
from flowblob.model import Blob, Ref
from flowblob.testing.contract import (
    LONG,
    PAST_SHORT,
    SHORT,
    TICK,
    CatalogContract,
    found,
    is_absent,
    numbers,
)
from flowblob.testing.making import Make

NO_GRACE = timedelta()


def collect(catalog: Catalog) -> None:
    """Condemn and forget all that nothing uses, with no grace."""
    for payload in catalog.condemned(grace=NO_GRACE, limit=1000):
        catalog.forget(payload.generation)


def place(catalog: Catalog, make: Make, data: bytes, key: str) -> tuple[Blob, Payload]:
    """Commit a version whose payload is on the storage."""
    op = new_id()
    [(payload, _)] = catalog.place(op, [make.spooled(data)], ttl=LONG)
    part = make.part(data, generation=payload.generation)
    return catalog.commit(make.draft(key, op=op, parts=(part,))).blob, payload


class KeepingTests(CatalogContract):
    """What retention, undelete and repair ask of a catalog."""

    # dropping -------------------------------------------------------

    def test_live_versions_are_walked_in_order_of_id(self, catalog: Catalog, make: Make) -> None:
        blobs = [catalog.commit(make.draft(f"k{n % 3}", bytes([n]))).blob for n in range(7)]
        catalog.delete(Ref(id=blobs[0].id))
        wanted = sorted(blob.id for blob in blobs[1:])
        assert [blob.id for blob in catalog.live()] == wanted
        walked: list[str] = []
        while page := catalog.live(after=walked[-1] if walked else "", limit=2):
            assert len(page) <= 2
            walked += [blob.id for blob in page]
        assert walked == wanted

    def test_drop_takes_exactly_what_lives_and_is_not_protected(
        self, catalog: Catalog, make: Make
    ) -> None:
        aliased, pinned, cached, gone, plain, kept = (
            catalog.commit(make.draft(data=bytes([n]), entry=entry)).blob
            for n, entry in enumerate(
                (None, make.entry("pinned"), make.entry("cached"), None, None, None)
            )
        )
        output = catalog.commit(make.draft("output")).blob
        entry = make.entry("pinned", outputs={"second": output.id})
        catalog.commit(make.draft(data=bytes([1]), new_version=True, entry=entry))
        catalog.pin_entry("fb1:pinned", is_pinned=True)
        catalog.promote(aliased, "prod")
        catalog.delete(Ref(id=gone.id))
        newest = found(catalog, "models/churn")
        asked = [b.id for b in (aliased, newest, output, cached, gone, plain)] + [new_id()]
        dropped = catalog.drop(asked, by="rules")
        assert {blob.id for blob in dropped} == {cached.id, plain.id}
        assert numbers(catalog) == [newest.version, kept.version, pinned.version, aliased.version]
        assert catalog.entry("fb1:cached") is None
        assert catalog.entry("fb1:pinned") is not None
        assert catalog.drop(asked) == []

    def test_a_key_that_lost_all_versions_goes_on_with_its_numbers(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        assert len(catalog.drop([blob.id for blob in three])) == 3
        assert is_absent(catalog, "models/churn")
        assert catalog.blobs() == []
        with pytest.raises(NotFoundError):
            catalog.delete(Ref("models/churn"))
        again = catalog.commit(make.draft(data=b"d")).blob
        assert (again.version, again.incarnation) == (3, three[0].incarnation)
        assert catalog.check() == []

    def test_dropping_the_newest_leaves_the_one_before(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        catalog.drop([three[2].id])
        assert found(catalog, "models/churn").version == 1

    # bringing back --------------------------------------------------

    def test_a_dropped_version_comes_back_as_it_was(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        for ref in (Ref("models/churn", version=1), Ref(id=three[1].id)):
            catalog.delete(Ref("models/churn", version=1))
            assert catalog.undelete(ref) == [three[1]]
            assert numbers(catalog) == [2, 1, 0]
            record = catalog.find(Ref("models/churn", version=1), payload=True)
            assert record is not None
            assert record.payload is not None
            assert record.payload.data == b"b"
        assert catalog.check() == []

    def test_the_newest_version_comes_back_as_the_newest(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        catalog.delete(Ref("models/churn", version=2))
        catalog.undelete(Ref("models/churn", version=2))
        assert found(catalog, "models/churn") == three[2]
        assert catalog.commit(make.draft(data=b"c")).is_new is False

    def test_a_deleted_key_comes_back_with_versions_and_aliases(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        catalog.promote(three[1], "prod")
        catalog.delete(Ref("models/churn", version=0))
        self.wait(TICK)
        catalog.delete(Ref("models/churn"))
        back = catalog.undelete(Ref("models/churn"))
        assert [blob.version for blob in back] == [2, 1]
        assert numbers(catalog) == [2, 1]
        assert found(catalog, "models/churn@prod").id == three[1].id
        assert found(catalog, "models/churn").incarnation == three[0].incarnation
        assert catalog.check() == []

    def test_a_name_that_lives_anew_is_not_overrun(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        catalog.delete(Ref("models/churn"))
        catalog.commit(make.draft(data=b"new"))
        for ref in (Ref("models/churn"), Ref(id=three[0].id)):
            with pytest.raises(ConflictError):
                catalog.undelete(ref)
        assert numbers(catalog) == [0]

    def test_what_lives_or_never_did_is_not_brought_back(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        for ref in (
            Ref("models/churn"),
            Ref("models/churn", version=1),
            Ref("models/churn", version=9),
            Ref("none"),
            Ref(id=new_id()),
        ):
            with pytest.raises(NotFoundError):
                catalog.undelete(ref)

    def test_what_was_collected_is_gone_for_good(self, catalog: Catalog, three: list[Blob]) -> None:
        catalog.delete(Ref("models/churn", version=1))
        self.wait(TICK)
        collect(catalog)
        with pytest.raises(NotFoundError):
            catalog.undelete(Ref("models/churn", version=1))
        assert numbers(catalog) == [2, 0]

    def test_what_may_come_back_is_kept_until_its_grace_is_over(
        self, catalog: Catalog, three: list[Blob]
    ) -> None:
        catalog.delete(Ref("models/churn"))
        assert catalog.condemned(grace=LONG, limit=100) == []
        assert len(catalog.undelete(Ref("models/churn"))) == 3
        self.wait(TICK)
        assert catalog.condemned(grace=NO_GRACE, limit=100) == []

    # weighing and copies --------------------------------------------

    def test_what_a_drop_would_free_is_weighed(self, catalog: Catalog, make: Make) -> None:
        one, _ = place(catalog, make, bytes(1000), "a")
        two, _ = place(catalog, make, bytes(1000), "b")
        three, _ = place(catalog, make, bytes(70), "c")
        inline = catalog.commit(make.draft("d", b"inline")).blob
        assert catalog.weigh([]) == (0, 0)
        assert catalog.weigh([one.id]) == (0, 0)  # another version uses it as well
        assert catalog.weigh([one.id, two.id]) == (1, 1000)
        assert catalog.weigh([three.id, inline.id]) == (2, 76)
        catalog.delete(Ref("b"))
        assert catalog.weigh([one.id]) == (1, 1000)

    def test_copies_and_users_of_a_payload(self, catalog: Catalog, make: Make) -> None:
        one, payload = place(catalog, make, b"same", "a")
        two, _ = place(catalog, make, b"same", "b")
        catalog.commit(make.draft("inline", b"same"))
        copies = catalog.copies(one.digest)
        assert {(copy.is_inline, copy.data) for copy in copies} == {(False, None), (True, b"same")}
        assert {blob.id for blob in catalog.users(payload.generation)} == {one.id, two.id}
        assert len(catalog.users(payload.generation, limit=1)) == 1
        catalog.delete(Ref("b"))
        assert [blob.id for blob in catalog.users(payload.generation)] == [one.id]
        assert catalog.copies(make.digest(b"other")) == []
        assert catalog.users(new_id()) == []

    def test_users_of_a_damaged_payload_move_to_another_copy(
        self, catalog: Catalog, make: Make
    ) -> None:
        one, bad = place(catalog, make, b"same", "a")
        two, _ = place(catalog, make, b"same", "b")
        inline = catalog.commit(make.draft("inline", b"same")).blob
        _, other = place(catalog, make, b"other", "c")
        [good] = [copy for copy in catalog.copies(one.digest) if copy.is_inline]
        with pytest.raises(ConflictError):
            catalog.repoint(bad.generation, other.generation)
        assert catalog.repoint(bad.generation, good.generation) == 2
        for blob in (one, two, inline):
            [used] = catalog.payloads(blob.id)
            assert used.generation == good.generation
        states = {payload.generation: payload.state for payload in catalog.generations()}
        assert states[bad.generation] == "damaged"
        assert states[good.generation] == "ok"
        catalog.mark(good.generation, "suspect")
        with pytest.raises(ConflictError):
            catalog.repoint(other.generation, good.generation)

    # asking ---------------------------------------------------------

    def test_who_holds_a_reservation_can_be_asked(self, catalog: Catalog, second: Catalog) -> None:
        assert catalog.holder("fb1:k") is None
        held = catalog.acquire("fb1:k", "me", ttl=LONG, max_hold=LONG).reservation
        assert held is not None
        told = second.holder("fb1:k")
        assert told is not None
        assert told[0] == "me"
        assert timedelta() < told[1] <= LONG
        catalog.release(held)
        assert second.holder("fb1:k") is None
        catalog.acquire("fb1:k", "me", ttl=SHORT, max_hold=LONG)
        self.wait(PAST_SHORT)
        assert second.holder("fb1:k") is None

    def test_the_catalogs_clock_goes_on(self, catalog: Catalog, make: Make) -> None:
        before = catalog.now()
        self.wait(TICK)
        blob = catalog.commit(make.draft()).blob
        self.wait(TICK)
        assert before < blob.created_at < catalog.now()
        assert before.utcoffset() == timedelta()

    def test_a_glance_is_an_entry_as_it_stands_now(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        key = make.cache_key().digest
        assert catalog.glance(key) is None
        for n in range(3):
            second.commit(make.draft(data=bytes([n]), entry=make.entry()))
            for _ in range(3):
                assert catalog.glance(key) == catalog.entry(key)
        second.expire_entry(key, catalog.now())
        assert catalog.glance(key) == catalog.entry(key)
        second.delete_entry(key)
        assert catalog.glance(key) is None

    def test_migrating_what_is_up_to_date_does_nothing(
        self, catalog: Catalog, make: Make, three: list[Blob]
    ) -> None:
        assert catalog.migrate(dry_run=True) == []
        assert catalog.migrate() == []
        assert numbers(catalog) == [2, 1, 0]
