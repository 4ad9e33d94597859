"""Reservations, and the fencing of what is committed under them; on any catalog."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowblob.abc import Catalog
from flowblob.checks import utc_now
from flowblob.drafts import Acquired
from flowblob.errors import InvalidInputError, ReservationLostError
from flowblob.model import Ref, Reservation
from flowblob.testing.caching import KEY, standing
from flowblob.testing.contract import LONG, PAST_SHORT, SHORT, CatalogContract, is_absent
from flowblob.testing.making import Make


def acquire(
    catalog: Catalog,
    owner: str = "me",
    *,
    ttl: timedelta = LONG,
    max_hold: timedelta = 2 * LONG,
    **options: Any,
) -> Acquired:
    """Ask for the reservation."""
    return catalog.acquire(KEY, owner, ttl=ttl, max_hold=max_hold, **options)


def reserve(catalog: Catalog, owner: str = "me", **options: Any) -> Reservation:
    """Take the reservation; it must be free."""
    got = acquire(catalog, owner, **options)
    assert got.reservation is not None, got
    assert (got.entry, got.holder) == (None, "")
    return got.reservation


class ReservationTests(CatalogContract):
    """Time-bound, fenced rights to compute one cache key."""

    def test_only_one_owner_holds_a_reservation(self, catalog: Catalog, second: Catalog) -> None:
        held = reserve(catalog)
        assert (held.key, held.owner, held.entry_rev, held.ttl) == (KEY, "me", 0, LONG)
        assert timedelta() < held.expires_in <= LONG
        busy = acquire(second, "you")
        assert (busy.reservation, busy.entry, busy.holder) == (None, None, "me")
        assert timedelta() < busy.remaining <= LONG
        other = catalog.acquire("fb1:other", "you", ttl=LONG, max_hold=LONG)
        assert other.reservation is not None

    def test_the_same_owner_extends_what_it_holds(self, catalog: Catalog) -> None:
        first = reserve(catalog, ttl=LONG / 60)
        again = reserve(catalog, ttl=LONG)
        assert again.token == first.token
        assert LONG / 60 < again.expires_in <= LONG
        assert acquire(catalog, "you").remaining > LONG / 60

    def test_an_expired_reservation_is_taken_over_with_a_higher_token(
        self, catalog: Catalog
    ) -> None:
        mine = reserve(catalog, ttl=SHORT)
        self.wait(PAST_SHORT)
        yours = reserve(catalog, "you")
        assert yours.token > mine.token
        with pytest.raises(ReservationLostError):
            catalog.heartbeat(mine)
        assert catalog.release(mine) is False
        assert acquire(catalog, "she").holder == "you"
        assert catalog.release(yours) is True

    def test_an_owner_that_comes_back_late_gets_another_token(self, catalog: Catalog) -> None:
        first = reserve(catalog, ttl=SHORT)
        self.wait(PAST_SHORT)
        assert reserve(catalog).token > first.token

    def test_a_token_only_grows(self, catalog: Catalog, make: Make) -> None:
        tokens = []
        for owner in ("a", "a", "b", "a"):
            held = reserve(catalog, owner)
            tokens.append(held.token)
            assert catalog.release(held) is True
            assert catalog.release(held) is False
        assert tokens == sorted(set(tokens))
        held = reserve(catalog)
        catalog.commit(make.draft(entry=make.entry(reservation=held)))
        catalog.delete_entry(KEY)
        assert reserve(catalog).token > held.token > tokens[-1]

    def test_a_heartbeat_extends_from_now(self, catalog: Catalog) -> None:
        held = reserve(catalog, ttl=3 * SHORT)
        for _ in range(3):
            self.wait(SHORT.total_seconds())
            held = catalog.heartbeat(held)
            assert timedelta() < held.expires_in <= 3 * SHORT
        beating = catalog.heartbeat(replace(held, ttl=LONG))
        assert acquire(catalog, "you").holder == "me"
        assert LONG / 2 < beating.expires_in <= LONG

    def test_a_reservation_ends_with_max_hold(self, catalog: Catalog) -> None:
        held = reserve(catalog, ttl=LONG, max_hold=SHORT)
        assert held.expires_in <= SHORT
        self.wait(PAST_SHORT)
        with pytest.raises(ReservationLostError):
            catalog.heartbeat(held)
        assert reserve(catalog, "you").token > held.token

    def test_asking_again_is_a_heartbeat_and_no_new_life(self, catalog: Catalog) -> None:
        first = reserve(catalog, max_hold=LONG / 2)
        again = reserve(catalog, max_hold=9 * LONG)
        assert again.token == first.token
        assert again.expires_in <= LONG / 2

    def test_a_late_heartbeat_succeeds_while_nobody_took_over(self, catalog: Catalog) -> None:
        held = reserve(catalog, ttl=SHORT)
        self.wait(PAST_SHORT)
        catalog.heartbeat(replace(held, ttl=LONG))
        assert acquire(catalog, "you").holder == "me"

    def test_a_heartbeat_after_release_is_refused(self, catalog: Catalog) -> None:
        held = reserve(catalog)
        catalog.release(held)
        with pytest.raises(ReservationLostError):
            catalog.heartbeat(held)
        assert reserve(catalog, "you").token > held.token

    def test_releasing_what_has_expired_says_it_was_not_held(self, catalog: Catalog) -> None:
        held = reserve(catalog, ttl=SHORT)
        self.wait(PAST_SHORT)
        assert catalog.release(held) is False
        assert reserve(catalog, "you").token > held.token

    def test_somebody_elses_reservation_is_not_released_or_extended(self, catalog: Catalog) -> None:
        held = reserve(catalog)
        for forged in (replace(held, owner="you"), replace(held, token=held.token + 1)):
            assert catalog.release(forged) is False
            with pytest.raises(ReservationLostError):
                catalog.heartbeat(forged)
        assert acquire(catalog, "you").holder == "me"

    def test_an_owner_has_a_name(self, catalog: Catalog) -> None:
        with pytest.raises(InvalidInputError):
            acquire(catalog, "")

    def test_an_entry_that_nobody_judged_is_returned_instead(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(entry=make.entry()))
        got = acquire(catalog)
        assert (got.reservation, got.holder) == (None, "")
        assert got.entry == standing(catalog)[0]
        assert got.entry is not None
        held = reserve(catalog, stale_rev=got.entry.rev)
        assert held.entry_rev == got.entry.rev

    def test_an_entry_written_since_it_was_judged_is_returned(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(entry=make.entry()))
        old = standing(catalog)[0].rev
        catalog.commit(make.draft(data=b"two", entry=make.entry()))
        got = acquire(catalog, stale_rev=old)
        assert got.entry is not None
        assert got.entry.blob.version == 1

    # fencing --------------------------------------------------------

    def lost(self, catalog: Catalog, make: Make, held: Reservation) -> None:
        """Commit under a reservation that must be refused, and see that nothing was written."""
        counts = catalog.facts()["counts"]
        entry = make.entry(reservation=held)
        with pytest.raises(ReservationLostError):
            catalog.commit(make.draft("late", b"late", run=make.run(), entry=entry))
        assert catalog.facts()["counts"] == counts
        assert is_absent(catalog, make.digest(b"late"))
        assert is_absent(catalog, "late")

    def test_a_commit_writes_its_entry_and_ends_its_reservation(
        self, catalog: Catalog, make: Make
    ) -> None:
        held = reserve(catalog)
        catalog.commit(make.draft(entry=make.entry(reservation=held)))
        assert acquire(catalog, "you").entry is not None
        assert catalog.release(held) is False

    def test_a_commit_after_expiry_succeeds_while_nobody_took_over(
        self, catalog: Catalog, make: Make
    ) -> None:
        held = reserve(catalog, ttl=SHORT)
        self.wait(PAST_SHORT)
        catalog.commit(make.draft(entry=make.entry(reservation=held)))
        assert catalog.entry(KEY) is not None

    def test_a_commit_after_a_takeover_is_refused_with_all_it_wrote(
        self, catalog: Catalog, make: Make
    ) -> None:
        held = reserve(catalog, ttl=SHORT)
        self.wait(PAST_SHORT)
        yours = reserve(catalog, "you")
        self.lost(catalog, make, held)
        catalog.commit(make.draft(data=b"yours", entry=make.entry(reservation=yours)))
        self.lost(catalog, make, held)
        assert standing(catalog)[1].data == b"yours"

    def test_a_commit_after_release_is_refused(self, catalog: Catalog, make: Make) -> None:
        held = reserve(catalog)
        catalog.release(held)
        self.lost(catalog, make, held)

    def test_an_explicit_put_in_between_wins(self, catalog: Catalog, make: Make) -> None:
        held = reserve(catalog)
        catalog.commit(make.draft(data=b"explicit", entry=make.entry()))
        self.lost(catalog, make, held)
        assert standing(catalog)[1].data == b"explicit"

    def test_a_refresh_replaces_exactly_the_entry_it_judged(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(data=b"old", entry=make.entry()))
        held = reserve(catalog, stale_rev=standing(catalog)[0].rev)
        catalog.commit(make.draft(data=b"fresh", entry=make.entry(reservation=held)))
        assert standing(catalog)[1].data == b"fresh"
        held = reserve(catalog, stale_rev=standing(catalog)[0].rev)
        catalog.commit(make.draft(data=b"explicit", entry=make.entry()))
        self.lost(catalog, make, held)

    def test_a_deleted_and_rewritten_entry_is_another_one(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(data=b"old", entry=make.entry()))
        held = reserve(catalog, stale_rev=standing(catalog)[0].rev)
        catalog.delete_entry(KEY)
        self.lost(catalog, make, held)
        catalog.commit(make.draft(data=b"old", entry=make.entry()))
        self.lost(catalog, make, held)

    def test_an_entry_expired_by_hand_meanwhile_is_another_one(
        self, catalog: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft(data=b"old", entry=make.entry()))
        held = reserve(catalog, stale_rev=standing(catalog)[0].rev)
        catalog.expire_entry(KEY, utc_now())
        self.lost(catalog, make, held)

    def test_the_same_op_is_answered_after_its_reservation_ended(
        self, catalog: Catalog, make: Make
    ) -> None:
        held = reserve(catalog)
        draft = make.draft(entry=make.entry(reservation=held))
        first = catalog.commit(draft)
        catalog.delete_entry(KEY)
        reserve(catalog, "you")
        assert catalog.commit(draft) == first
        assert catalog.entry(KEY) is None

    def test_a_put_under_a_lease_is_fenced_and_keeps_the_lease(
        self, catalog: Catalog, make: Make
    ) -> None:
        held = reserve(catalog, ttl=SHORT)
        catalog.commit(make.draft(reservation=held))
        self.wait(PAST_SHORT)
        yours = reserve(catalog, "you")
        with pytest.raises(ReservationLostError):
            catalog.commit(make.draft(data=b"two", reservation=held))
        assert catalog.find(Ref.parse(make.digest(b"two"))) is None
        catalog.commit(make.draft(data=b"three", reservation=yours))
        assert catalog.release(yours) is True
