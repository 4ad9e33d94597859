"""Leases, pins and graces to the microsecond, on a clock that only the test moves.

What holds on every engine is in `flowblob.testing`; here is what only a clock in hand can show.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from flowblob.checks import new_id
from flowblob.errors import ReservationLostError
from flowblob.model import Ref

TTL, HOLD = timedelta(seconds=30), timedelta(hours=1)
GRACE = timedelta(hours=24)
KEY = "fb1:embed"


def acquire(catalog, owner="me", **options):
    return catalog.acquire(KEY, owner, ttl=TTL, max_hold=HOLD, **options)


def reserve(catalog, owner="me", **options):
    got = acquire(catalog, owner, **options)
    assert got.reservation is not None, got
    return got.reservation


@pytest.fixture
def placed(catalog, make):
    """A put that has placed its payload and not committed."""
    [(payload, _)] = catalog.place("op-1", [make.spooled(b"large")], ttl=timedelta(days=9))
    return payload


@pytest.fixture
def put(catalog, make):
    """Do as a put with a storage does: place, write, commit."""

    def put_(data=b"large", key="models/churn"):
        op = new_id()
        [(payload, _)] = catalog.place(op, [make.spooled(data)], ttl=TTL)
        part = make.part(data, generation=payload.generation)
        catalog.commit(make.draft(key, op=op, parts=(part,)))
        return payload

    return put_


def condemn(catalog):
    return [p.generation for p in catalog.condemned(grace=GRACE, limit=100)]


def test_the_time_left_of_a_reservation_is_exact(catalog, clock):
    held = reserve(catalog)
    assert (held.token, held.expires_in) == (1, TTL)
    clock.move(seconds=10)
    assert acquire(catalog, "you").remaining == timedelta(seconds=20)
    again = reserve(catalog)
    assert (again.token, again.expires_in) == (1, TTL)


def test_a_reservation_ends_at_its_last_moment(catalog, clock):
    mine = reserve(catalog)
    clock.move(seconds=29, microseconds=999_999)
    assert acquire(catalog, "you").remaining == timedelta(microseconds=1)
    clock.move(microseconds=1)
    assert reserve(catalog, "you").token == mine.token + 1


def test_a_heartbeat_extends_up_to_max_hold(catalog, clock):
    held = catalog.acquire(KEY, "me", ttl=TTL, max_hold=timedelta(seconds=70)).reservation
    for _ in range(2):
        clock.move(seconds=25)
        held = catalog.heartbeat(held)
    assert held.expires_in == timedelta(seconds=20)
    clock.move(seconds=20)
    with pytest.raises(ReservationLostError, match="as long as it may"):
        catalog.heartbeat(held)
    assert reserve(catalog).token == held.token + 1


def test_asking_for_the_holder_takes_nothing(catalog, clock):
    assert catalog.holder(KEY) is None
    held = reserve(catalog)
    clock.move(seconds=10)
    assert catalog.holder(KEY) == ("me", timedelta(seconds=20))
    clock.move(seconds=20)
    assert catalog.holder(KEY) is None
    assert catalog.heartbeat(held).token == held.token
    catalog.release(held)
    assert catalog.holder(KEY) is None
    held = reserve(catalog)
    clock.boot, clock.tick_time = "boot-2", 5
    assert catalog.holder(KEY) is None


def test_a_reservation_of_another_boot_is_over(catalog, clock):
    held = reserve(catalog)
    clock.boot, clock.tick_time = "boot-2", 5
    yours = reserve(catalog, "you")
    assert yours.token == held.token + 1
    with pytest.raises(ReservationLostError):
        catalog.heartbeat(held)
    assert catalog.release(held) is False


def test_the_wall_clock_decides_nothing_about_leases(catalog, clock):
    reserve(catalog)
    clock.wall_time += 10**15
    assert acquire(catalog, "you").holder == "me"
    clock.wall_time -= 2 * 10**15
    assert acquire(catalog, "you").holder == "me"


def test_a_commit_hours_after_expiry_succeeds_while_nobody_took_over(catalog, make, clock):
    held = reserve(catalog)
    clock.move(hours=3)
    catalog.commit(make.draft(entry=make.entry(reservation=held)))
    assert catalog.entry(KEY) is not None


def test_what_a_put_still_writes_is_not_condemned_while_it_renews(catalog, placed, make, clock):
    for _ in range(3):
        clock.move(days=8)
        catalog.renew("op-1", timedelta(days=9))
    assert condemn(catalog) == []
    part = make.part(b"large", generation=placed.generation)
    catalog.commit(make.draft(op="op-1", parts=(part,)))
    clock.move(days=30)
    assert condemn(catalog) == []


@pytest.mark.parametrize("way", ["pin expired", "unpinned", "another boot"])
def test_an_abandoned_put_is_condemned(catalog, placed, clock, way):
    if way == "unpinned":
        catalog.unpin("op-1")
    clock.move(days=10 if way == "pin expired" else 2)
    if way == "another boot":
        clock.boot = "boot-2"
    assert condemn(catalog) == [placed.generation]


def test_grace_counts_from_the_moment_the_payload_was_given_up(catalog, put, clock):
    payload = put()
    clock.move(days=30)
    catalog.delete(Ref("models/churn"))
    clock.move(hours=23, minutes=59)
    assert condemn(catalog) == []
    clock.move(minutes=1)
    assert condemn(catalog) == [payload.generation]


def test_time_is_kept_to_the_microsecond(catalog, make, clock):
    clock.wall_time = 1_800_000_000_123_457
    blob = catalog.commit(make.draft()).blob
    assert blob.created_at.microsecond == 123_457
    assert blob.created_at.utcoffset() == timedelta()
