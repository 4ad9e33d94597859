"""Several processes on one SQL catalog: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import json
import time

import pytest
from processes import begin, rest, results

from flowblob.catalogs.postgres import PostgresCatalog
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.model import Ref


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def place(request):
    """Name the file, or the schema of a real server, that all processes open."""
    return request.getfixturevalue("path" if request.param == "sqlite" else "postgres_url")


@pytest.fixture
def catalog(place):
    opened = PostgresCatalog(place) if "://" in str(place) else SqliteCatalog(place)
    yield opened
    opened.close()


def test_eight_writers_of_one_key_get_dense_numbers_and_lose_nothing(catalog, place, start):
    writers = [start("put", place, "one/key", 40) for _ in range(8)]
    begin(writers)
    acknowledged = [(v, id_) for w in writers for v, id_, _ in results(w)]
    assert sorted(version for version, _ in acknowledged) == list(range(320))
    assert {(b.version, b.id) for b in catalog.versions("one/key")} == set(acknowledged)
    assert catalog.check() == []


def test_eight_processes_may_make_the_store_together(place, start):
    makers = [start("create", place) for _ in range(8)]
    begin(makers)
    assert len({store_id for maker in makers for store_id in results(maker)}) == 1


def test_compare_and_swap_counts_without_a_lost_update(catalog, place, start, make):
    catalog.commit(make.draft("counter", b"0"))
    counters = [start("count", place, 25) for _ in range(4)]
    begin(counters)
    for counter in counters:
        results(counter)
    found = catalog.find(Ref("counter"), payload=True)
    assert (found.payload.data, found.blob.version) == (b"100", 100)


def test_promotions_of_several_processes_are_one_chain(catalog, place, start, make):
    first, *_ = [catalog.commit(make.draft(data=bytes([n]))).blob for n in range(61)]
    catalog.promote(first, "prod")
    movers = [start("promote", place, 20) for _ in range(3)]
    begin(movers)
    for mover in movers:
        results(mover)
    moves = [move["version"] for move in catalog.alias_history("models/churn", "prod")]
    assert moves == list(range(60, -1, -1))


def test_one_of_eight_processes_computes(catalog, place, start):
    workers = [start("compute", place, "job") for _ in range(8)]
    begin(workers)
    answers = [tuple(answer) for worker in workers for answer in results(worker)]
    assert sorted(how for how, _ in answers) == ["computed"] + ["hit"] * 7
    assert len({blob_id for _, blob_id in answers}) == 1
    assert len(catalog.versions("job")) == 1


def test_a_writer_killed_inside_its_transaction_leaves_nothing(catalog, place, start, make):
    catalog.commit(make.draft())
    torn = start("stop_inside", place)
    assert torn.stdout.readline() == "ready\n"
    torn.kill()
    torn.wait()
    assert catalog.commit(make.draft(data=b"two")).blob.version == 1
    assert catalog.outcome("torn") is None
    assert catalog.check() == []


@pytest.mark.slow
def test_acknowledged_versions_survive_kills_of_their_writers(catalog, place, start):
    acknowledged = set()
    for round_ in range(6):
        writers = [start("put", place, f"key/{n % 2}", 10_000) for n in range(3)]
        begin(writers)
        for writer in writers:  # on a busy machine the first one takes its time
            acknowledged.add(tuple(json.loads(writer.stdout.readline())[:2]))
        time.sleep(round_ * 0.03)
        for writer in writers:
            writer.kill()
        for writer in writers:
            out, _ = rest(writer)
            for line in out.splitlines():
                if line.endswith("]"):
                    acknowledged.add(tuple(json.loads(line)[:2]))
    assert catalog.check() == []
    kept = {(b.version, b.id) for n in (0, 1) for b in catalog.versions(f"key/{n}")}
    assert acknowledged <= kept
    assert len(acknowledged) >= 18
