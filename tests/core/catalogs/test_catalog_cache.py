"""Cache entries and reservations, in every order in which they can meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowblob.checks import utc_now
from flowblob.errors import AlreadyExistsError, InvalidInputError, ReservationLostError
from flowblob.model import Read, Ref

TTL, HOLD = timedelta(seconds=30), timedelta(hours=1)
KEY = "fb1:embed"


def acquire(catalog, owner="me", **options):
    return catalog.acquire(KEY, owner, ttl=TTL, max_hold=HOLD, **options)


def reserve(catalog, owner="me", **options):
    got = acquire(catalog, owner, **options)
    assert got.reservation is not None, got
    return got.reservation


def test_an_entry_is_found_with_all_that_belongs_to_it(catalog, make):
    blob = catalog.commit(
        make.draft(
            data=b"value",
            run=make.run(),
            entry=make.entry(
                cost=timedelta(seconds=14.25),
                reads=(Read("x@prod", "id-1"),),
                metadata={"a": [1]},
                outputs={"second": "id-2"},
            ),
        )
    ).blob
    for _ in range(3):
        entry, payload = catalog.entry(KEY)
        assert entry.blob == blob
        assert entry.run == blob.run
        assert (entry.key, entry.name, entry.cost) == (KEY, "embed", timedelta(seconds=14.25))
        assert (entry.reads, entry.metadata) == ((Read("x@prod", "id-1"),), {"a": [1]})
        assert entry.outputs == {"second": "id-2"}
        assert (entry.hits, entry.last_hit_at, entry.pinned) == (0, None, False)
        assert entry.rev > 0
        assert entry.created_at == entry.updated_at == blob.created_at
        assert payload.data == b"value"
    assert catalog.entry("fb1:other") is None


def test_ingredients_are_read_only_where_entries_are_listed(catalog, make):
    catalog.commit(make.draft(run=make.run(), entry=make.entry()))
    entry, _ = catalog.entry(KEY)
    assert entry.ingredients == ()
    [listed] = catalog.entries(filters={"key": KEY})
    assert listed.ingredients == make.cache_key().ingredients
    assert (listed.blob, listed.run, listed.rev) == (entry.blob, entry.run, entry.rev)


def test_an_unchanged_result_names_the_run_that_computed_it(catalog, make):
    first = catalog.commit(make.draft(run=make.run("one"), entry=make.entry()))
    again = catalog.commit(
        make.draft(run=make.run("two", used={"q": 'x"y'}), entry=make.entry(metadata={"n": 2}))
    )
    assert not again.is_new
    for _ in range(3):
        entry, _ = catalog.entry(KEY)
        assert entry.blob.id == first.blob.id
        assert entry.blob.run.task == "one"
        assert (entry.run.task, entry.run.used) == ("two", {"q": 'x"y'})
        assert entry.run.started_at is not None
    catalog.commit(make.draft(entry=make.entry()))
    entry, _ = catalog.entry(KEY)
    assert entry.run is None


def test_an_overwrite_keeps_the_first_moment_and_changes_rev(catalog, make, clock):
    catalog.commit(make.draft(entry=make.entry()))
    before, _ = catalog.entry(KEY)
    clock.move(hours=1)
    catalog.commit(make.draft(data=b"two", entry=make.entry(cost=timedelta(seconds=1))))
    after, payload = catalog.entry(KEY)
    assert after.created_at == before.created_at
    assert after.updated_at == before.updated_at + timedelta(hours=1)
    assert after.rev != before.rev
    assert (payload.data, after.cost) == (b"two", timedelta(seconds=1))


def test_without_overwrite_a_servable_entry_stays(catalog, make, clock):
    end = datetime.fromtimestamp(clock.wall() / 1e6, UTC) + timedelta(days=7)
    catalog.commit(make.draft(entry=make.entry(expires_at=end)))
    with pytest.raises(AlreadyExistsError):
        catalog.commit(make.draft(data=b"two", entry=make.entry(overwrite=False)))
    assert len(catalog.versions("models/churn")) == 1
    clock.move(days=8)
    catalog.commit(make.draft(data=b"two", entry=make.entry(overwrite=False)))
    assert catalog.entry(KEY)[0].blob.version == 1


def test_an_entry_of_a_dropped_version_is_absent(catalog, make):
    blob = catalog.commit(make.draft(entry=make.entry())).blob
    catalog.delete(Ref(id=blob.id))
    assert catalog.entry(KEY) is None
    assert catalog.entries() == []
    reservation = reserve(catalog)
    catalog.commit(
        make.draft(data=b"new", entry=make.entry(reservation=reservation, overwrite=False))
    )
    assert catalog.entry(KEY)[0].blob.version == 1


def test_entries_are_listed_last_updated_first(catalog, make, clock):
    blobs = {}
    for name in ("a", "b", "c"):
        clock.move(seconds=1)
        run = make.run(name, run_id=f"run-{name}")
        blobs[name] = catalog.commit(make.draft(name, run=run, entry=make.entry(name))).blob
    assert [e.name for e in catalog.entries()] == ["c", "b", "a"]
    assert [e.name for e in catalog.entries(limit=1)] == ["c"]
    for filters in (
        {"name": "b"},
        {"run_id": "run-b"},
        {"task_run_id": "r-1/b"},
        {"blob_id": blobs["b"].id},
        {"key": "fb1:b"},
    ):
        assert [e.name for e in catalog.entries(filters=filters)] == ["b"], filters
    with pytest.raises(InvalidInputError, match="colour"):
        catalog.entries(filters={"colour": 1})


def test_entries_are_deleted_and_expired(catalog, make, clock):
    catalog.commit(make.draft(entry=make.entry()))
    moment = utc_now()
    rev = catalog.entry(KEY)[0].rev
    assert catalog.expire_entry(KEY, moment)
    entry, _ = catalog.entry(KEY)
    assert entry.expires_at == moment
    assert entry.rev != rev
    assert catalog.expire_entry(KEY, None)
    assert catalog.entry(KEY)[0].expires_at is None
    assert catalog.delete_entry(KEY)
    assert catalog.entry(KEY) is None
    assert not catalog.delete_entry(KEY)
    assert not catalog.expire_entry(KEY, moment)
    assert catalog.find(Ref("models/churn")) is not None


# ------------------------------------------------------------------ reservations


def test_only_one_owner_holds_a_reservation(catalog, clock):
    held = reserve(catalog)
    assert (held.key, held.owner, held.token, held.entry_rev) == (KEY, "me", 1, 0)
    assert held.expires_in == TTL
    clock.move(seconds=10)
    busy = acquire(catalog, "you")
    assert (busy.reservation, busy.entry, busy.holder) == (None, None, "me")
    assert busy.remaining == timedelta(seconds=20)


def test_the_same_owner_extends_what_it_holds(catalog, clock):
    first = reserve(catalog)
    clock.move(seconds=20)
    second = reserve(catalog)
    assert second.token == first.token
    clock.move(seconds=20)
    assert acquire(catalog, "you").holder == "me"


def test_an_expired_reservation_is_taken_over_with_a_higher_token(catalog, clock):
    mine = reserve(catalog)
    clock.move(seconds=31)
    yours = reserve(catalog, "you")
    assert yours.token == mine.token + 1
    with pytest.raises(ReservationLostError):
        catalog.heartbeat(mine)
    assert catalog.release(mine) is False
    assert catalog.release(yours) is True


def test_a_token_only_grows(catalog, make, clock):
    tokens = []
    for owner in ("a", "a", "b", "a"):
        held = reserve(catalog, owner)
        tokens.append(held.token)
        assert catalog.release(held) is True
        assert catalog.release(held) is False
    assert tokens == [1, 2, 3, 4]
    held = reserve(catalog)
    catalog.commit(make.draft(entry=make.entry(reservation=held)))
    catalog.delete_entry(KEY)
    assert reserve(catalog).token == held.token + 1


def test_a_heartbeat_extends_up_to_max_hold(catalog, clock):
    held = catalog.acquire(KEY, "me", ttl=TTL, max_hold=timedelta(seconds=70)).reservation
    for _ in range(2):
        clock.move(seconds=25)
        held = catalog.heartbeat(held)
    assert held.expires_in == timedelta(seconds=20)
    clock.move(seconds=20)
    with pytest.raises(ReservationLostError, match="as long as it may"):
        catalog.heartbeat(held)
    again = reserve(catalog)
    assert again.token == held.token + 1


def test_a_late_heartbeat_succeeds_while_nobody_took_over(catalog, clock):
    held = reserve(catalog)
    clock.move(minutes=5)
    assert catalog.heartbeat(held).expires_in == TTL
    assert acquire(catalog, "you").holder == "me"


def test_a_heartbeat_after_release_is_refused(catalog):
    held = reserve(catalog)
    catalog.release(held)
    with pytest.raises(ReservationLostError):
        catalog.heartbeat(held)


def test_releasing_what_has_expired_says_it_was_not_held(catalog, clock):
    held = reserve(catalog)
    clock.move(seconds=31)
    assert catalog.release(held) is False
    assert reserve(catalog, "you").token == 2


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


def test_an_owner_has_a_name(catalog):
    with pytest.raises(InvalidInputError):
        acquire(catalog, "")


def test_an_entry_that_nobody_judged_is_returned_instead(catalog, make):
    catalog.commit(make.draft(entry=make.entry()))
    got = acquire(catalog)
    assert (got.reservation, got.holder) == (None, "")
    assert got.entry == catalog.entry(KEY)[0]
    held = reserve(catalog, stale_rev=got.entry.rev)
    assert held.entry_rev == got.entry.rev


# ------------------------------------------------------------------ fencing


def test_a_commit_writes_its_entry_and_ends_its_reservation(catalog, make):
    held = reserve(catalog)
    catalog.commit(make.draft(entry=make.entry(reservation=held)))
    assert acquire(catalog, "you").entry is not None
    assert catalog.release(held) is False


def test_a_commit_after_expiry_succeeds_while_nobody_took_over(catalog, make, clock):
    held = reserve(catalog)
    clock.move(hours=3)
    catalog.commit(make.draft(entry=make.entry(reservation=held)))
    assert catalog.entry(KEY) is not None


def lost(catalog, make, held):
    counts = catalog.facts()["counts"]
    with pytest.raises(ReservationLostError):
        catalog.commit(make.draft(data=b"late", run=make.run(), entry=make.entry(reservation=held)))
    assert catalog.facts()["counts"] == counts
    assert catalog.find(Ref.parse(make.digest(b"late"))) is None


def test_a_commit_after_a_takeover_is_refused_with_all_it_wrote(catalog, make, clock):
    held = reserve(catalog)
    clock.move(seconds=31)
    yours = reserve(catalog, "you")
    lost(catalog, make, held)
    catalog.commit(make.draft(data=b"yours", entry=make.entry(reservation=yours)))
    lost(catalog, make, held)
    assert catalog.entry(KEY)[1].data == b"yours"


def test_a_commit_after_release_is_refused(catalog, make):
    held = reserve(catalog)
    catalog.release(held)
    lost(catalog, make, held)


def test_an_explicit_put_in_between_wins(catalog, make):
    held = reserve(catalog)
    catalog.commit(make.draft(data=b"explicit", entry=make.entry()))
    lost(catalog, make, held)
    assert catalog.entry(KEY)[1].data == b"explicit"


def test_a_refresh_replaces_exactly_the_entry_it_judged(catalog, make):
    catalog.commit(make.draft(data=b"old", entry=make.entry()))
    rev = catalog.entry(KEY)[0].rev
    held = reserve(catalog, stale_rev=rev)
    catalog.commit(make.draft(data=b"fresh", entry=make.entry(reservation=held)))
    assert catalog.entry(KEY)[1].data == b"fresh"
    held = reserve(catalog, stale_rev=catalog.entry(KEY)[0].rev)
    catalog.commit(make.draft(data=b"explicit", entry=make.entry()))
    lost(catalog, make, held)


def test_a_deleted_and_rewritten_entry_is_another_one(catalog, make):
    catalog.commit(make.draft(data=b"old", entry=make.entry()))
    held = reserve(catalog, stale_rev=catalog.entry(KEY)[0].rev)
    catalog.delete_entry(KEY)
    lost(catalog, make, held)
    catalog.commit(make.draft(data=b"old", entry=make.entry()))
    lost(catalog, make, held)


def test_an_entry_expired_by_hand_meanwhile_is_another_one(catalog, make):
    catalog.commit(make.draft(data=b"old", entry=make.entry()))
    held = reserve(catalog, stale_rev=catalog.entry(KEY)[0].rev)
    catalog.expire_entry(KEY, utc_now())
    lost(catalog, make, held)


def test_the_same_op_is_answered_after_its_reservation_ended(catalog, make, clock):
    held = reserve(catalog)
    draft = make.draft(entry=make.entry(reservation=held))
    first = catalog.commit(draft)
    clock.move(seconds=31)
    catalog.delete_entry(KEY)
    reserve(catalog, "you")
    assert catalog.commit(draft) == first
    assert catalog.entry(KEY) is None
