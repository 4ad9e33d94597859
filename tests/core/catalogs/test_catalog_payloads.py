"""The life of a payload: placed, pinned, committed, condemned, forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowblob.checks import new_id
from flowblob.drafts import PlacementLost
from flowblob.errors import InvalidInputError
from flowblob.model import Ref

TTL, GRACE = timedelta(minutes=5), timedelta(hours=24)


@pytest.fixture
def put(catalog, make):
    """Do as a put with a storage does: place, write, commit."""

    def put_(data=b"large", key="models/churn", suspects=(), **fields):
        op = new_id()
        [(payload, must_write)] = catalog.place(
            op, [make.spooled(data)], ttl=TTL, suspects=suspects
        )
        part = make.part(data, generation=payload.generation)
        blob = catalog.commit(make.draft(key, op=op, parts=(part,), **fields)).blob
        return blob, payload, must_write

    return put_


def states(catalog):
    return {payload.generation: payload.state for payload in catalog.generations()}


def condemn(catalog, **options):
    return [p.generation for p in catalog.condemned(grace=GRACE, limit=100, **options)]


def test_the_row_of_a_payload_precedes_its_bytes(catalog, make):
    [(payload, must_write)] = catalog.place("op-1", [make.spooled(b"large")], ttl=TTL)
    assert must_write
    assert (payload.state, payload.is_inline, payload.stored_size) == ("uploading", False, 5)
    assert payload.name == f"{payload.digest[7:9]}/{payload.digest[7:]}.{payload.generation}"
    assert states(catalog) == {payload.generation: "uploading"}


def test_a_committed_payload_is_ok_and_used_again(catalog, put):
    blob, payload, must_write = put()
    assert must_write
    [kept] = catalog.payloads(blob.id)
    assert (kept.generation, kept.state, kept.data) == (payload.generation, "ok", None)
    _, again, must_write = put(key="other")
    assert (again.generation, must_write) == (payload.generation, False)


def test_a_repeated_place_gives_back_its_own_generation(catalog, make):
    [(first, _)] = catalog.place("op-1", [make.spooled(b"large")], ttl=TTL)
    [(second, must_write)] = catalog.place("op-1", [make.spooled(b"large")], ttl=TTL)
    assert (second.generation, must_write) == (first.generation, True)
    [(other, must_write)] = catalog.place("op-2", [make.spooled(b"large")], ttl=TTL)
    assert other.generation != first.generation
    assert must_write


def test_equal_parts_are_written_once(catalog, make):
    placed = catalog.place(
        "op-1", [make.spooled(b"x"), make.spooled(b"y"), make.spooled(b"x")], ttl=TTL
    )
    assert [must_write for _, must_write in placed] == [True, True, False]
    assert placed[0][0] == placed[2][0]


def test_suspects_are_not_used_again_and_what_used_them_is_healed(catalog, put):
    blob, bad, _ = put()
    other, _, _ = put(key="other")
    again, good, must_write = put(suspects=[bad.generation])
    assert must_write
    assert again.id == blob.id
    assert good.generation != bad.generation
    assert states(catalog) == {bad.generation: "suspect", good.generation: "ok"}
    for blob_id in (blob.id, other.id):
        assert [p.generation for p in catalog.payloads(blob_id)] == [good.generation]


def test_marks_follow_the_states(catalog, put):
    _, payload, _ = put()
    for state in ("suspect", "damaged", "ok"):
        catalog.mark(payload.generation, state)
        assert states(catalog)[payload.generation] == state
    catalog.mark(new_id(), "damaged")
    for state in ("condemned", "uploading", "fine"):
        with pytest.raises(InvalidInputError):
            catalog.mark(payload.generation, state)


def test_a_generation_cannot_stand_for_other_bytes(catalog, make):
    [(payload, _)] = catalog.place("op-1", [make.spooled(b"x")], ttl=TTL)
    with pytest.raises(InvalidInputError):
        catalog.commit(make.draft(parts=(make.part(b"y", generation=payload.generation),)))


def test_what_is_used_is_never_condemned(catalog, put, clock):
    put()
    clock.move(days=30)
    assert condemn(catalog) == []


def test_what_a_put_still_writes_is_not_condemned_while_it_renews(catalog, make, clock):
    [(payload, _)] = catalog.place("op-1", [make.spooled(b"large")], ttl=timedelta(days=2))
    clock.move(days=1.5)
    catalog.renew("op-1", timedelta(days=2))
    clock.move(days=1.5)
    assert condemn(catalog) == []
    part = make.part(b"large", generation=payload.generation)
    catalog.commit(make.draft(op="op-1", parts=(part,)))
    clock.move(days=30)
    assert condemn(catalog) == []


@pytest.mark.parametrize("way", ["pin expired", "unpinned", "another boot"])
def test_an_abandoned_put_is_condemned(catalog, make, clock, way):
    [(payload, _)] = catalog.place("op-1", [make.spooled(b"large")], ttl=timedelta(days=9))
    if way == "unpinned":
        catalog.unpin("op-1")
        catalog.unpin("op-1")
    clock.move(days=10 if way == "pin expired" else 2)
    if way == "another boot":
        clock.boot = "boot-2"
    assert condemn(catalog) == [payload.generation]


def test_a_commit_of_a_condemned_payload_is_sent_back(catalog, make, clock):
    [(payload, _)] = catalog.place("op-1", [make.spooled(b"large")], ttl=TTL)
    clock.move(days=2)
    condemn(catalog)
    part = make.part(b"large", generation=payload.generation)
    draft = make.draft(op="op-1", parts=(part,))
    with pytest.raises(PlacementLost):
        catalog.commit(draft)
    catalog.forget(payload.generation)
    with pytest.raises(PlacementLost):
        catalog.commit(draft)
    [(fresh, must_write)] = catalog.place("op-1", [make.spooled(b"large")], ttl=TTL)
    assert must_write
    assert fresh.generation != payload.generation
    part = make.part(b"large", generation=fresh.generation)
    assert catalog.commit(make.draft(op="op-1", parts=(part,))).is_new


def test_condemned_is_final(catalog, make, put, clock):
    blob, payload, _ = put()
    catalog.delete(Ref("models/churn"))
    clock.move(days=2)
    assert condemn(catalog) == [payload.generation]
    catalog.mark(payload.generation, "ok")
    assert states(catalog) == {payload.generation: "condemned"}
    _, again, must_write = put()
    assert must_write
    assert again.generation != payload.generation
    assert catalog.payloads(blob.id) == []


def test_grace_counts_from_the_moment_the_payload_was_given_up(catalog, put, clock):
    _, payload, _ = put()
    clock.move(days=30)
    catalog.delete(Ref("models/churn"))
    assert condemn(catalog) == []
    clock.move(hours=25)
    assert condemn(catalog) == [payload.generation]


def test_a_collector_continues_what_another_began(catalog, put, clock):
    _, payload, _ = put()
    catalog.delete(Ref("models/churn"))
    clock.move(days=2)
    assert condemn(catalog) == condemn(catalog) == [payload.generation]
    catalog.forget(payload.generation)
    catalog.forget(payload.generation)
    assert condemn(catalog) == []
    assert states(catalog) == {}


def test_a_dry_run_changes_nothing(catalog, put, clock):
    _, payload, _ = put()
    put(b"used", key="other")
    catalog.delete(Ref("models/churn"))
    clock.move(days=2)
    assert condemn(catalog, dry_run=True) == [payload.generation]
    assert states(catalog)[payload.generation] == "ok"
    condemn(catalog)
    assert condemn(catalog, dry_run=True) == [payload.generation]


def test_a_live_payload_is_not_forgotten(catalog, put):
    _, payload, _ = put()
    catalog.forget(payload.generation)
    assert states(catalog) == {payload.generation: "ok"}


def test_inline_payloads_are_collected_with_their_bytes(catalog, make, clock):
    catalog.commit(make.draft(data=b"inline"))
    catalog.delete(Ref("models/churn"))
    clock.move(days=2)
    [payload] = catalog.condemned(grace=GRACE, limit=10)
    assert payload.is_inline
    catalog.forget(payload.generation)
    assert catalog._query("SELECT count(*) FROM inline_payload") == [(0,)]
    assert catalog.check() == []


def test_the_base_of_a_patch_is_a_reference(catalog, put, clock):
    _, base, _ = put(b"base", key="base")
    _, patch, _ = put(b"patch")
    catalog._write(
        lambda c: c.execute(
            "UPDATE payload SET base = ?, encoding = 'patch' WHERE generation = ?",
            (base.generation, patch.generation),
        )
    )
    catalog.delete(Ref("base"))
    clock.move(days=2)
    assert condemn(catalog) == []
    found = catalog.find(Ref("models/churn"), payload=True)
    assert (found.payload.base, found.payload.encoding) == (base.generation, "patch")


def test_generations_are_paged(catalog, put):
    kept = sorted(put(bytes([n]), key=f"k{n}")[1].generation for n in range(5))
    first = catalog.generations(limit=3)
    rest = catalog.generations(after=first[-1].generation, limit=3)
    assert [p.generation for p in first + rest] == kept
    assert condemn(catalog) == []


def test_the_limit_bounds_a_round_of_collecting(catalog, put, clock):
    for n in range(5):
        put(bytes([n]), key=f"k{n}")
        catalog.delete(Ref(f"k{n}"))
    clock.move(days=2)
    seen = set()
    for left in (2, 2, 1, 0):
        round_ = [p.generation for p in catalog.condemned(grace=GRACE, limit=2)]
        assert len(round_) == left
        for generation in round_:
            catalog.forget(generation)
        seen |= set(round_)
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE incarnation SET head = 7", "versions are not dense"),
        ("UPDATE incarnation SET newest = NULL", "newest is not the newest live version"),
        ("UPDATE payload SET state = 'uploading'", "is not committed"),
        ("UPDATE payload SET digest = 'sha256:x'", "another digest"),
        ("DELETE FROM inline_payload", "lacks its bytes"),
        ("INSERT INTO tombstone VALUES (1, 0, '', 0)", "alias points at a dropped version"),
        ("UPDATE incarnation SET ended_at = 1", "an ended key has a live version"),
    ],
)
def test_check_names_a_broken_promise(catalog, make, damage, problem):
    blob = catalog.commit(make.draft()).blob
    catalog.promote(blob, "prod")
    assert catalog.check() == []
    catalog._write(lambda c: c.execute(damage))
    assert any(problem in found for found in catalog.check())
