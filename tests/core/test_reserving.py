"""Leases: one owner at a time, fenced, decided by the catalog's clock alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.errors import InvalidInputError, ReservationHeldError, ReservationLostError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def test_another_owner_is_told_who_holds_it_and_for_how_long(store: Store) -> None:
    with store.reserve("nightly/features", owner="w1", ttl="30s"):
        with pytest.raises(ReservationHeldError) as caught:
            store.reserve("nightly/features", owner="w2")
        assert caught.value.holder == "w1"
        assert 0 < caught.value.remaining.total_seconds() <= 30


def test_the_same_owner_extends_and_keeps_its_token(store: Store) -> None:
    first = store.reserve("job", owner="w1", ttl="30s")
    again = store.reserve("job", owner="w1", ttl="30s")
    assert again.token == first.token


def test_releasing_twice_is_no_error(store: Store) -> None:
    lease = store.reserve("job")
    assert lease.release() is True
    assert lease.release() is False


def test_a_free_name_is_taken_with_a_higher_token(store: Store) -> None:
    first = store.reserve("job", owner="w1")
    first.release()
    second = store.reserve("job", owner="w2")
    assert second.token > first.token
    with pytest.raises(ReservationLostError):
        first.heartbeat()


def test_a_put_is_fenced_by_its_lease(store: Store) -> None:
    lease = store.reserve("job", owner="w1")
    assert store.put("result", 1, reservation=lease).version == 0
    lease.release()
    store.reserve("job", owner="w2")
    with pytest.raises(ReservationLostError):
        store.put("result", 2, reservation=lease)
    assert store.head("result").version == 0


def test_names_never_meet_cache_keys_or_each_other(store: Store) -> None:
    with store.reserve("a/b"), store.reserve("a/B"), store.reserve("a"):
        pass
    with pytest.raises(InvalidInputError):
        store.reserve("../x")
    with pytest.raises(InvalidInputError):
        store.reserve("job", ttl="-1s")


def test_waiting_takes_over_from_a_killed_holder(store: Store, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "store"), held))
    holder.start()
    assert held.wait(60)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with store.reserve("job", owner="heir", ttl="30s", wait="60s") as lease:
        assert lease.owner == "heir"


def _hold(url: str, held: Any) -> None:
    with Store(url).reserve("job", owner="victim", ttl="500ms"):
        held.set()
        signal.pause()


def test_max_hold_ends_what_heartbeats_would_keep(store: Store) -> None:
    lease = store.reserve("job", owner="w1", ttl="1ms", max_hold="1ms")
    with store.reserve("job", owner="w2", wait="30s"), pytest.raises(ReservationLostError):
        lease.heartbeat()
