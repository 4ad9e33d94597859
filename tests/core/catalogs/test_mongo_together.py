"""Many clients of one MongoDB store: threads, processes, collectors."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

pytest.importorskip("pymongo")

from flowblob import Store
from flowblob.catalogs.mongo import MongoCatalog
from flowblob.catalogs.mongo import steps as steps_module
from flowblob.checks import new_id
from flowblob.errors import (
    AlreadyExistsError,
    NotFoundError,
    ReservationLostError,
    VersionConflictError,
)
from flowblob.model import Ref

pytestmark = pytest.mark.services

HOUR = timedelta(hours=1)


@pytest.fixture
def catalog(mongo_url):
    opened = MongoCatalog(mongo_url)
    yield opened
    opened.close()


def versions(catalog, key="k"):
    return [blob.version for blob in catalog.versions(key)]


# ------------------------------------------------------------------ one key, many writers


def test_threads_on_one_key_get_dense_numbers(catalog, make):
    def put(n: int) -> int:
        return catalog.commit(make.draft("k", b"%d" % n, new_version=True)).blob.version

    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(put, range(64)))
    assert sorted(numbers) == list(range(64))
    assert versions(catalog) == list(range(63, -1, -1))
    links = {blob.version: blob.prev_version for blob in catalog.versions("k")}
    assert links == {n: n - 1 if n else None for n in range(64)}
    assert catalog.check() == []


def test_compare_and_swap_of_threads_loses_no_update(catalog, make):
    catalog.commit(make.draft("k", b"0"))
    wins = []

    def add() -> None:
        done = 0
        while done < 5:
            head = catalog.find(Ref("k")).blob.version
            try:
                draft = make.draft("k", new_id().encode(), expect_version=head)
                wins.append(catalog.commit(draft).blob.version)
                done += 1
            except VersionConflictError:
                continue

    workers = [threading.Thread(target=add) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(wins) == list(range(1, 31))


_PUTTER = """
    import sys
    from flowblob import Store
    store = Store(sys.argv[2])
    start()
    for n in range(12):
        size = 20 if n % 2 else 200_000
        blob = store.put("k", f"{sys.argv[1]}/{n}".encode().ljust(size), new_version=True)
        print(blob.version)
    store.close()
"""


def test_processes_on_one_key_get_dense_numbers(mongo_url, together):
    url = f"{mongo_url}&storage=gridfs" if "?" in mongo_url else f"{mongo_url}?storage=gridfs"
    printed = together(_PUTTER, url, count=4)
    numbers = [int(line) for out in printed for line in out.split()]
    assert sorted(numbers) == list(range(48))
    for out in printed:  # a process sees its own puts in their order
        mine = [int(line) for line in out.split()]
        assert mine == sorted(mine)
    with Store(url) as store:
        assert store.catalog.check() == []
        for blob in store.versions("k"):
            assert len(store.get(blob)) in (20, 200_000)


def test_a_key_that_is_deleted_and_put_again_at_once_stays_whole(catalog, make):
    stop, lives = threading.Event(), []

    def put() -> None:
        while not stop.is_set():
            catalog.commit(make.draft("k", new_id().encode()))

    def read() -> None:
        while not stop.is_set():
            lives.append({blob.incarnation for blob in catalog.versions("k")})

    threads = [threading.Thread(target=work) for work in (put, put, put, read)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        with contextlib.suppress(NotFoundError):
            catalog.delete(Ref("k"))
    stop.set()
    for thread in threads:
        thread.join()
    assert lives
    assert all(len(seen) <= 1 for seen in lives)
    assert catalog.check() == []


def test_one_alias_moves_for_one_of_several_promoters(catalog, make):
    blobs = [catalog.commit(make.draft("k", b"%d" % n)).blob for n in range(6)]
    catalog.promote(blobs[0], "prod")

    def promote(blob) -> bool:
        try:
            catalog.promote(blob, "prod", expect=0)
        except VersionConflictError:
            return False
        return True

    with ThreadPoolExecutor(5) as threads:
        won = list(threads.map(promote, blobs[1:]))
    assert won.count(True) == 1
    at = catalog.find(Ref.parse("k@prod")).blob
    assert at.version == 1 + won.index(True)
    assert [move["version"] for move in catalog.alias_history("k", "prod")] == [at.version, 0]


# ------------------------------------------------------------------ fences


def test_one_of_several_creators_of_an_entry_wins(catalog, make):
    def create(n: int) -> bool:
        entry = make.entry(overwrite=False)
        try:
            catalog.commit(make.draft(f"k{n}", b"%d" % n, entry=entry))
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(create, range(6)))
    assert won.count(True) == 1
    assert catalog.entry("fb1:embed")[0].blob.key == f"k{won.index(True)}"
    assert [blob.key for blob in catalog.blobs()] == [f"k{won.index(True)}"]


def test_a_token_is_given_to_one_owner_at_a_time(catalog):
    def acquire(n: int):
        got = catalog.acquire("f", f"owner-{n}", ttl=HOUR, max_hold=HOUR)
        return got.reservation and (got.reservation.owner, got.reservation.token)

    tokens = []
    for _ in range(5):
        with ThreadPoolExecutor(6) as threads:
            held = [got for got in threads.map(acquire, range(6)) if got]
        assert len(held) == 1
        tokens.append(held[0][1])
        owner = held[0][0]
        again = catalog.acquire("f", owner, ttl=HOUR, max_hold=HOUR).reservation
        assert catalog.release(again)
    assert tokens == [1, 2, 3, 4, 5]


def test_racing_computations_leave_one_entry_and_no_lost_version(catalog, make):
    """Owners whose leases run out at once, again and again: what they could not commit is gone."""
    visible = []

    def compute(n: int) -> None:
        for turn in range(6):
            stale = catalog.entry("fb1:embed")
            got = catalog.acquire(
                "fb1:embed", f"w{n}", ttl=timedelta(milliseconds=1 + n), max_hold=HOUR,
                stale_rev=stale[0].rev if stale else 0,
            )  # fmt: skip
            if got.reservation is None:
                continue
            draft = make.draft(
                "k", f"{n}/{turn}".encode(), entry=make.entry(reservation=got.reservation)
            )
            try:
                visible.append(catalog.commit(draft).blob.id)
            except ReservationLostError:
                continue

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(compute, range(5)))
    assert visible
    assert {blob.id for blob in catalog.versions("k")} == set(visible)
    newest = catalog.find(Ref("k")).blob
    assert catalog.entry("fb1:embed")[0].blob.id in visible
    assert newest.version == len(set(visible)) - 1
    assert catalog._tables.slots.many({"mark": {"$ne": None}}) == []
    assert catalog.check() == []


def test_a_put_that_stalls_before_its_decision_is_cancelled_and_begins_again(
    catalog, make, monkeypatch
):
    monkeypatch.setattr(steps_module, "PATIENCE", 0.0)
    other = pickle.loads(pickle.dumps(catalog))
    real, stalls = MongoCatalog._decide, []

    def stall(self, step, fields):
        if self is catalog and not stalls:
            stalls.append(step["attempt"])
            other.commit(make.draft("other", b"quick", entry=make.entry()))
        return real(self, step, fields)

    monkeypatch.setattr(MongoCatalog, "_decide", stall)
    blob = catalog.commit(make.draft("slow", b"slow", entry=make.entry())).blob
    other.close()
    assert stalls
    assert catalog.entry("fb1:embed")[0].blob.id == blob.id  # it came last
    assert versions(catalog, "slow") == versions(catalog, "other") == [0]


def test_a_fenced_put_that_was_overtaken_while_it_stalled_leaves_nothing(
    catalog, make, monkeypatch
):
    monkeypatch.setattr(steps_module, "PATIENCE", 0.0)
    held = catalog.acquire("fb1:embed", "me", ttl=HOUR, max_hold=HOUR).reservation
    other = pickle.loads(pickle.dumps(catalog))
    real, stalls = MongoCatalog._decide, []

    def stall(self, step, fields):
        if self is catalog and not stalls:
            stalls.append(step["attempt"])
            other.commit(make.draft("other", b"explicit", entry=make.entry()))
        return real(self, step, fields)

    monkeypatch.setattr(MongoCatalog, "_decide", stall)
    with pytest.raises(ReservationLostError):
        catalog.commit(make.draft("late", b"late", entry=make.entry(reservation=held)))
    other.close()
    assert catalog.find(Ref("late")) is None
    assert catalog.entry("fb1:embed")[0].blob.key == "other"


# ------------------------------------------------------------------ collectors


def test_collectors_without_grace_take_nothing_from_running_puts(mongo_url):
    joined = "&" if "?" in mongo_url else "?"
    store = Store(f"{mongo_url}{joined}storage=gridfs")
    stop, collected = threading.Event(), []

    def put(n: int) -> None:
        for turn in range(8):
            # Two threads share each payload, and every version of it is dropped again.
            value = f"{n // 2}/{turn % 2}".encode().ljust(50_000 if turn % 3 else 100)
            blob = store.put(f"k{n}", value, new_version=True)
            assert store.get(blob) == value
            if turn % 2:
                store.delete(f"k{n}@{blob.version}")

    def collect() -> None:
        while not stop.is_set():
            collected.append(store.gc(grace=timedelta(microseconds=1), dry_run=False, force=True))

    collectors = [threading.Thread(target=collect) for _ in range(2)]
    for thread in collectors:
        thread.start()
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(put, range(4)))  # which raises what a put raised
    stop.set()
    for thread in collectors:
        thread.join()
    assert sum(one.payloads for one in collected) > 0
    assert store.catalog.check() == []
    for blob in store.catalog.live():
        assert store.get(blob)
    store.gc(grace=timedelta(microseconds=1), dry_run=False, force=True)
    used = {p.name for b in store.catalog.live() for p in store.catalog.payloads(b.id)}
    assert {name for name, _, _ in store.storage.names()} <= used
    store.close()


@pytest.mark.parametrize("is_inline", [True, False])
def test_a_put_between_the_look_of_a_collector_and_its_verdict_is_noticed(
    catalog, make, monkeypatch, is_inline
):
    """It takes a payload that the collector has found to be nobody's a moment ago."""

    def put(key: str):
        op, part = new_id(), make.part(b"data")
        if not is_inline:
            [(payload, _)] = catalog.place(op, [make.spooled(b"data")], ttl=HOUR)
            part = make.part(b"data", generation=payload.generation)
        return catalog.commit(make.draft(key, op=op, parts=(part,))).blob

    put("old")
    catalog.delete(Ref("old"))
    real, taken = MongoCatalog._condemn, []

    def condemn(self, payload):
        if not taken:
            taken.append(put("new"))
        return real(self, payload)

    monkeypatch.setattr(MongoCatalog, "_condemn", condemn)
    assert catalog.condemned(grace=timedelta(), limit=10) == []
    [payload] = catalog.payloads(taken[0].id)
    assert payload.state == "ok"
    assert len(catalog.generations()) == 1  # it was the same one
    assert catalog.check() == []


# ------------------------------------------------------------------ processes


def _in_child(catalog, results) -> None:
    blob = catalog.find(Ref("k")).blob
    results.put((blob.version, os.getpid()))
    catalog.close()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_makes_its_own_connections(catalog, make):
    catalog.commit(make.draft("k"))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_in_child, args=(catalog, results))
    child.start()
    assert results.get()[0] == 0
    child.join()
    assert child.exitcode == 0
    assert catalog.commit(make.draft("k", b"two")).blob.version == 1  # the parent's still work


def test_a_closed_catalog_opens_again(catalog, make):
    for n in range(3):
        catalog.close()
        assert catalog.commit(make.draft("k", b"%d" % n)).blob.version == n
