"""The life of a payload: placed, pinned, committed, condemned, forgotten; on any catalog."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowblob.abc import Catalog
from flowblob.checks import new_id
from flowblob.drafts import Payload, PlacementLost
from flowblob.errors import InvalidInputError
from flowblob.model import Blob, Ref
from flowblob.testing.contract import LONG, PAST_SHORT, SHORT, CatalogContract, is_absent
from flowblob.testing.making import Make

NOW = timedelta()
Put = Callable[..., tuple[Blob, Payload, bool]]


def states(catalog: Catalog) -> dict[str, str]:
    """Return the state of every payload row by its generation."""
    return {payload.generation: payload.state for payload in catalog.generations()}


def condemn(catalog: Catalog, **options: Any) -> list[str]:
    """Condemn with zero grace; return the generations."""
    return [p.generation for p in catalog.condemned(grace=NOW, limit=100, **options)]


class PayloadTests(CatalogContract):
    """TXN-A, pins, and the collector's side of the catalog."""

    @pytest.fixture
    def put(self, catalog: Catalog, make: Make) -> Put:
        """Do as a put with a storage does: place, write, commit."""

        def put_(
            data: bytes = b"large", key: str = "models/churn", suspects: Any = (), **fields: Any
        ) -> tuple[Blob, Payload, bool]:
            op = new_id()
            [(payload, must_write)] = catalog.place(
                op, [make.spooled(data)], ttl=LONG, suspects=suspects
            )
            part = make.part(data, generation=payload.generation)
            blob = catalog.commit(make.draft(key, op=op, parts=(part,), **fields)).blob
            return blob, payload, must_write

        return put_

    def test_the_row_of_a_payload_precedes_its_bytes(self, catalog: Catalog, make: Make) -> None:
        [(payload, must_write)] = catalog.place(new_id(), [make.spooled(b"large")], ttl=LONG)
        assert must_write
        assert (payload.state, payload.is_inline, payload.stored_size) == ("uploading", False, 5)
        assert (payload.size, payload.checksum) == (5, make.checksum(b"large"))
        assert payload.name == f"{payload.digest[7:9]}/{payload.digest[7:]}.{payload.generation}"
        assert states(catalog) == {payload.generation: "uploading"}
        assert is_absent(catalog, payload.digest)

    def test_a_committed_payload_is_ok_and_used_again(self, catalog: Catalog, put: Put) -> None:
        blob, payload, must_write = put()
        assert must_write
        [kept] = catalog.payloads(blob.id)
        assert (kept.generation, kept.state, kept.data) == (payload.generation, "ok", None)
        _, again, must_write = put(key="other")
        assert (again.generation, must_write) == (payload.generation, False)

    def test_a_payload_that_is_not_committed_is_nobody_elses(
        self, catalog: Catalog, make: Make
    ) -> None:
        """Another put must not rely on bytes that may never come."""
        one, two = new_id(), new_id()
        [(first, _)] = catalog.place(one, [make.spooled(b"large")], ttl=LONG)
        [(again, must_write)] = catalog.place(one, [make.spooled(b"large")], ttl=LONG)
        assert (again.generation, must_write) == (first.generation, True)
        [(other, must_write)] = catalog.place(two, [make.spooled(b"large")], ttl=LONG)
        assert other.generation != first.generation
        assert must_write

    def test_equal_parts_are_written_once(self, catalog: Catalog, make: Make) -> None:
        parts = [make.spooled(b"x"), make.spooled(b"y"), make.spooled(b"x")]
        placed = catalog.place(new_id(), parts, ttl=LONG)
        assert [must_write for _, must_write in placed] == [True, True, False]
        assert placed[0][0] == placed[2][0]

    def test_an_inline_copy_is_none_for_a_put_to_the_storage(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(data=b"same"))
        [(payload, must_write)] = catalog.place(new_id(), [make.spooled(b"same")], ttl=LONG)
        assert must_write
        assert not payload.is_inline

    def test_inline_bytes_are_compared_before_they_are_shared(
        self, catalog: Catalog, make: Make
    ) -> None:
        """As where a row of the database was damaged: storing the value again heals it."""
        part = replace(make.part(b"one"), data=b"two")
        damaged = catalog.commit(make.draft("damaged", parts=(part,))).blob
        fresh = catalog.commit(make.draft("fresh", b"one")).blob
        for blob in (fresh, damaged):
            assert [payload.data for payload in catalog.payloads(blob.id)] == [b"one"]

    def test_suspects_are_not_used_again_and_what_used_them_is_healed(
        self, catalog: Catalog, put: Put
    ) -> None:
        blob, bad, _ = put()
        other, _, _ = put(key="other")
        again, good, must_write = put(suspects=[bad.generation])
        assert must_write
        assert again.id == blob.id
        assert good.generation != bad.generation
        assert states(catalog) == {bad.generation: "suspect", good.generation: "ok"}
        for blob_id in (blob.id, other.id):
            assert [p.generation for p in catalog.payloads(blob_id)] == [good.generation]

    def test_marks_follow_the_states(self, catalog: Catalog, put: Put) -> None:
        _, payload, _ = put()
        for state in ("suspect", "damaged", "ok"):
            catalog.mark(payload.generation, state)
            assert states(catalog)[payload.generation] == state
        catalog.mark(new_id(), "damaged")
        for state in ("condemned", "uploading", "fine"):
            with pytest.raises(InvalidInputError):
                catalog.mark(payload.generation, state)

    @pytest.mark.parametrize("state", ["suspect", "damaged"])
    def test_what_is_marked_is_written_anew(self, catalog: Catalog, put: Put, state: str) -> None:
        _, bad, _ = put()
        catalog.mark(bad.generation, state)
        _, good, must_write = put(key="other")
        assert must_write
        assert good.generation != bad.generation

    def test_a_generation_cannot_stand_for_other_bytes(self, catalog: Catalog, make: Make) -> None:
        [(payload, _)] = catalog.place(new_id(), [make.spooled(b"x")], ttl=LONG)
        with pytest.raises(InvalidInputError):
            catalog.commit(make.draft(parts=(make.part(b"y", generation=payload.generation),)))
        assert is_absent(catalog, "models/churn")

    # collecting -----------------------------------------------------

    def test_what_is_used_is_never_condemned(self, catalog: Catalog, make: Make, put: Put) -> None:
        put()
        put(key="other")
        catalog.commit(make.draft("inline", b"small"))
        catalog.delete(Ref("other"))
        self.wait(PAST_SHORT)
        assert condemn(catalog) == []

    def test_a_live_pin_protects_until_it_is_dropped(self, catalog: Catalog, make: Make) -> None:
        op = new_id()
        [(payload, _)] = catalog.place(op, [make.spooled(b"large")], ttl=LONG)
        assert condemn(catalog) == []
        catalog.unpin(op)
        catalog.unpin(op)
        assert condemn(catalog) == [payload.generation]

    def test_a_pin_on_a_payload_that_lost_its_last_version_protects(
        self, catalog: Catalog, make: Make, put: Put
    ) -> None:
        """A put that found the bytes stored relies on them although it has not committed."""
        _, payload, _ = put()
        op = new_id()
        [(again, must_write)] = catalog.place(op, [make.spooled(b"large")], ttl=LONG)
        assert (again.generation, must_write) == (payload.generation, False)
        catalog.delete(Ref("models/churn"))
        assert condemn(catalog) == []
        part = make.part(b"large", generation=payload.generation)
        catalog.commit(make.draft("late", op=op, parts=(part,)))
        assert condemn(catalog) == []

    def test_a_pin_that_ran_out_protects_nothing(self, catalog: Catalog, make: Make) -> None:
        [(payload, _)] = catalog.place(new_id(), [make.spooled(b"large")], ttl=SHORT)
        self.wait(PAST_SHORT)
        assert condemn(catalog) == [payload.generation]

    def test_renewing_keeps_a_pin_alive(self, catalog: Catalog, make: Make) -> None:
        op = new_id()
        [(payload, _)] = catalog.place(op, [make.spooled(b"large")], ttl=SHORT)
        catalog.renew(op, LONG)
        self.wait(PAST_SHORT)
        assert condemn(catalog) == []
        part = make.part(b"large", generation=payload.generation)
        catalog.commit(make.draft(op=op, parts=(part,)))
        assert condemn(catalog) == []

    def test_unpin_drops_the_pins_of_one_put_only(self, catalog: Catalog, make: Make) -> None:
        one, two = new_id(), new_id()
        [(mine, _)] = catalog.place(one, [make.spooled(b"a")], ttl=LONG)
        catalog.place(two, [make.spooled(b"b")], ttl=LONG)
        catalog.unpin(one)
        assert condemn(catalog) == [mine.generation]

    def test_a_commit_drops_its_pins(self, catalog: Catalog, put: Put) -> None:
        _, payload, _ = put()
        catalog.delete(Ref("models/churn"))
        assert condemn(catalog) == [payload.generation]

    def test_a_commit_of_a_condemned_payload_is_sent_back(
        self, catalog: Catalog, make: Make
    ) -> None:
        op = new_id()
        [(payload, _)] = catalog.place(op, [make.spooled(b"large")], ttl=SHORT)
        self.wait(PAST_SHORT)
        condemn(catalog)
        part = make.part(b"large", generation=payload.generation)
        draft = make.draft(op=op, parts=(part,))
        with pytest.raises(PlacementLost):
            catalog.commit(draft)
        catalog.forget(payload.generation)
        with pytest.raises(PlacementLost):
            catalog.commit(draft)
        assert is_absent(catalog, "models/churn")
        assert catalog.outcome(op) is None
        [(fresh, must_write)] = catalog.place(op, [make.spooled(b"large")], ttl=LONG)
        assert must_write
        assert fresh.generation != payload.generation
        part = make.part(b"large", generation=fresh.generation)
        assert catalog.commit(make.draft(op=op, parts=(part,))).is_new

    def test_condemned_is_final(self, catalog: Catalog, put: Put) -> None:
        _, payload, _ = put()
        catalog.delete(Ref("models/churn"))
        assert condemn(catalog) == [payload.generation]
        catalog.mark(payload.generation, "ok")
        assert states(catalog) == {payload.generation: "condemned"}
        _, again, must_write = put()
        assert must_write
        assert again.generation != payload.generation
        assert states(catalog)[payload.generation] == "condemned"

    def test_grace_protects_what_was_used_lately(self, catalog: Catalog, put: Put) -> None:
        put()
        catalog.delete(Ref("models/churn"))
        assert catalog.condemned(grace=LONG, limit=100) == []
        assert catalog.condemned(grace=LONG, limit=100, dry_run=True) == []

    def test_grace_counts_from_the_moment_the_payload_was_given_up(
        self, catalog: Catalog, put: Put
    ) -> None:
        grace = timedelta(seconds=0.4)
        for attempt in range(8):  # a slow machine may take longer than the grace by itself
            _, payload, _ = put(data=f"large {attempt}".encode())
            self.wait(0.6)
            began = time.monotonic()
            catalog.delete(Ref("models/churn"))
            early = catalog.condemned(grace=grace, limit=100)
            if time.monotonic() - began < grace.total_seconds():
                assert early == []
                self.wait(0.6)
                late = catalog.condemned(grace=grace, limit=100)
                assert [p.generation for p in late] == [payload.generation]
                return
            for old in early:
                catalog.forget(old.generation)
        pytest.fail("this machine never deleted and listed within the grace")

    def test_a_collector_continues_what_another_began(
        self, catalog: Catalog, second: Catalog, put: Put
    ) -> None:
        _, payload, _ = put()
        catalog.delete(Ref("models/churn"))
        assert condemn(catalog) == condemn(second) == [payload.generation]
        # Even a collector that would have waited longer goes on with what is condemned.
        assert [p.generation for p in second.condemned(grace=LONG, limit=9)] == [payload.generation]
        second.forget(payload.generation)
        catalog.forget(payload.generation)
        assert condemn(catalog) == []
        assert states(catalog) == {}

    def test_a_dry_run_changes_nothing(self, catalog: Catalog, put: Put) -> None:
        _, payload, _ = put()
        put(b"used", key="other")
        catalog.delete(Ref("models/churn"))
        assert condemn(catalog, dry_run=True) == [payload.generation]
        assert states(catalog)[payload.generation] == "ok"
        condemn(catalog)
        assert condemn(catalog, dry_run=True) == [payload.generation]

    def test_what_is_not_condemned_is_not_forgotten(
        self, catalog: Catalog, make: Make, put: Put
    ) -> None:
        _, payload, _ = put()
        [(other, _)] = catalog.place(new_id(), [make.spooled(b"b")], ttl=LONG)
        for generation in (payload.generation, other.generation, new_id()):
            catalog.forget(generation)
        assert states(catalog) == {payload.generation: "ok", other.generation: "uploading"}

    def test_inline_payloads_are_collected_too(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft(data=b"inline"))
        catalog.delete(Ref("models/churn"))
        [payload] = catalog.condemned(grace=NOW, limit=10)
        assert payload.is_inline
        assert payload.size == 6
        catalog.forget(payload.generation)
        assert states(catalog) == {}
        assert catalog.check() == []
        blob = catalog.commit(make.draft(data=b"inline")).blob
        assert [p.data for p in catalog.payloads(blob.id)] == [b"inline"]

    def test_a_payload_is_free_when_the_last_version_has_gone(
        self, catalog: Catalog, put: Put
    ) -> None:
        _, payload, _ = put()
        put(b"between")
        put(b"large")
        catalog.delete(Ref("models/churn", version=0))
        assert condemn(catalog) == []
        catalog.delete(Ref("models/churn", version=2))
        assert condemn(catalog) == [payload.generation]

    def test_generations_are_paged(self, catalog: Catalog, make: Make, put: Put) -> None:
        kept = sorted(put(bytes([n]), key=f"k{n}")[1].generation for n in range(5))
        first = catalog.generations(limit=3)
        rest = catalog.generations(after=first[-1].generation, limit=3)
        assert [p.generation for p in first + rest] == kept
        catalog.commit(make.draft(data=b"inline"))
        assert {p.data for p in catalog.generations()} == {None}

    def test_the_limit_bounds_a_round_of_collecting(self, catalog: Catalog, put: Put) -> None:
        for n in range(5):
            put(bytes([n]), key=f"k{n}")
            catalog.delete(Ref(f"k{n}"))
        seen: set[str] = set()
        for left in (2, 2, 1, 0):
            round_ = [p.generation for p in catalog.condemned(grace=NOW, limit=2)]
            assert len(round_) == left
            for generation in round_:
                catalog.forget(generation)
            seen |= set(round_)
        assert len(seen) == 5

    def test_facts_count_the_payloads(self, catalog: Catalog, make: Make, put: Put) -> None:
        put()
        catalog.commit(make.draft("inline", b"small"))
        facts = catalog.facts()
        assert facts["counts"]["payload"] == 2
        assert facts["store_id"] == catalog.store_id
        assert facts["engine"]
        assert facts["engine_version"]
