"""The copies of some bytes, who uses them, and one in another's place."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowblob.checks import new_id
from flowblob.errors import ConflictError
from flowblob.model import Ref


@pytest.fixture
def copies(catalog, make):
    """Two versions of the same bytes, each with a copy of its own."""
    blobs, payloads = [], []
    ops = [new_id(), new_id()]
    placed = [
        catalog.place(op, [make.spooled(b"bytes")], ttl=timedelta(minutes=1))[0][0] for op in ops
    ]
    for key, op, payload in zip("ab", ops, placed, strict=True):
        part = make.part(b"bytes", generation=payload.generation)
        blobs.append(catalog.commit(make.draft(key, op=op, parts=(part,))).blob)
        payloads.append(payload.generation)
    return blobs, payloads


def test_the_clock_of_the_catalog_is_told(catalog, clock):
    before = catalog.now()
    clock.move(hours=1)
    assert catalog.now() - before == timedelta(hours=1)
    assert before.utcoffset() == timedelta()


def test_all_copies_are_listed_with_their_state(catalog, make, copies):
    (blob, _), (first, second) = copies
    catalog.commit(make.draft("c", b"bytes"))
    catalog.mark(second, "damaged")
    found = catalog.copies(blob.digest)
    assert [(p.generation, p.state, p.data) for p in found[:2]] == [
        (first, "ok", None),
        (second, "damaged", None),
    ]
    assert (found[2].is_inline, found[2].data) == (True, b"bytes")
    assert catalog.copies("sha256:" + "0" * 64) == []


def test_users_are_the_live_versions(catalog, make, copies):
    (blob, _), (first, _) = copies
    op = new_id()
    catalog.place(op, [make.spooled(b"bytes")], ttl=timedelta(minutes=1))
    part = make.part(b"bytes", generation=first)
    newer = catalog.commit(make.draft("c", op=op, parts=(part,))).blob
    assert [b.ref for b in catalog.users(first)] == ["c@0", "a@0"]
    assert [b.id for b in catalog.users(first, limit=1)] == [newer.id]
    catalog.delete(Ref("c"))
    assert [b.id for b in catalog.users(first)] == [blob.id]
    assert catalog.users(new_id()) == []


def test_versions_move_to_a_healthy_copy(catalog, copies):
    (a, b), (bad, good) = copies
    assert catalog.repoint(bad, good) == 1
    for blob in (a, b):
        assert [p.generation for p in catalog.payloads(blob.id)] == [good]
    assert {p.generation: p.state for p in catalog.generations()} == {bad: "damaged", good: "ok"}
    assert catalog.repoint(bad, good) == 0
    assert catalog.check() == []


def test_a_dropped_version_moves_too(catalog, copies):
    _, (bad, good) = copies
    catalog.delete(Ref("a"))
    assert catalog.repoint(bad, good) == 1
    assert catalog.condemned(grace=timedelta(), limit=9)[0].generation == bad
    assert len(catalog.undelete(Ref("a"))) == 1


@pytest.mark.parametrize("state", ["suspect", "damaged", "condemned", "gone", "other", "itself"])
def test_a_copy_that_is_not_healthy_takes_no_place(catalog, make, copies, state):
    _, (bad, good) = copies
    if state in ("suspect", "damaged"):
        catalog.mark(good, state)
    elif state in ("condemned", "gone"):
        catalog.delete(Ref("b"))
        catalog.condemned(grace=timedelta(), limit=9)
        if state == "gone":
            catalog.forget(good)
    elif state == "itself":
        good = bad
    else:
        catalog.commit(make.draft("c", b"other bytes"))
        [other] = catalog.copies(make.digest(b"other bytes"))
        good = other.generation
    with pytest.raises(ConflictError):
        catalog.repoint(bad, good)
    assert {p.generation: p.state for p in catalog.generations()}[bad] == "ok"


def test_what_an_unchanged_version_leaves_behind_is_kept_for_the_grace(
    catalog, make, copies, clock
):
    _, (first, second) = copies
    clock.move(days=30)
    op = new_id()
    [(placed, _)] = catalog.place(op, [make.spooled(b"bytes")], ttl=timedelta(minutes=1))
    assert placed.generation == first
    part = make.part(b"bytes", generation=first)
    assert not catalog.commit(make.draft("b", op=op, parts=(part,))).is_new
    assert catalog.users(second) == []
    assert catalog.condemned(grace=timedelta(days=1), limit=9) == []
    clock.move(days=2)
    assert [p.generation for p in catalog.condemned(grace=timedelta(days=1), limit=9)] == [second]
