"""The store's own verbs for upkeep, on one pair of each engine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from engines import ENGINES, STORAGES, fresh_store

from flowblob import Run, Store
from flowblob.errors import ConflictError
from flowblob.retention import Retention, Rule

RUN = Run(flow="etl", run_id="r1", task="load")
LAST_TWO = Retention((Rule(prefix="a", keep_last=2),))
PAIRS = [("memory", "memory"), ("sqlite", "local"), ("postgres", "s3"), ("mongo", "gridfs")]


@pytest.fixture(
    params=[
        pytest.param(
            (ENGINES[engine], STORAGES[storage]),
            id=f"{engine}-{storage}",
            marks=[pytest.mark.services] if ENGINES[engine].needs else [],
        )
        for engine, storage in PAIRS
    ]
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with fresh_store(request.param) as url, Store(url) as opened:
        for number in range(24):
            opened.put("a", os.urandom(70_000 if number % 2 else 50), run=RUN)
        opened.put("b", b"aliased", run=RUN, alias="prod")
        opened.put("c", b"somebody else's", run=Run(flow="other", run_id="r2"))
        yield opened


def test_rules_drop_and_collections_free(store: Store) -> None:
    (told,) = store.gc(retention=LAST_TWO).expired
    assert (told.versions, told.payloads, told.size) == (22, 22, 11 * 70_050)
    with pytest.raises(ConflictError, match="22 of 26"):
        store.gc(retention=LAST_TWO, dry_run=False)
    assert len(store.versions("a")) == 24
    done = store.gc(retention=LAST_TWO, dry_run=False, force=True, grace=0)
    assert (done.payloads, done.size) == (22, 11 * 70_050)
    assert [blob.version for blob in store.versions("a")] == [23, 22]
    assert store.sweep().files == 0
    assert len(list(store.storage.names())) == 1
    assert store.verify().read == 4


def test_what_a_run_made_goes_and_comes_back(store: Store) -> None:
    before = store.versions("a")
    assert len(store.delete(run="r1")) == 24
    assert [blob.key for blob in store.ls()] == ["b", "c"]
    assert store.gc(dry_run=False).payloads == 0
    assert len(store.undelete(flow="etl")) == 24
    assert store.versions("a") == before
    assert store.verify().is_clean
    assert store.catalog.check() == []


def test_damage_is_found_mended_and_healed(store: Store) -> None:
    value = store.get("a@23")
    [payload] = store.catalog.payloads(store.resolve("a@23").id)
    store.put("copy", value, inline=True)
    store.storage.delete(payload.name)
    assert [problem.ref for problem in store.verify(level="presence").damaged] == ["a@23"]
    done = store.repair(dry_run=False)
    assert [(item.ref, item.cure) for item in done.repairs] == [("a@23", "repointed")]
    assert store.get("a@23") == value
    assert store.verify().is_clean
    [payload] = store.catalog.payloads(store.resolve("a@21").id)
    value = store.get("a@21")
    store.storage.delete(payload.name)
    assert [item.cure for item in store.repair(dry_run=False).repairs] == ["marked"]
    store.put("again", value)
    assert store.get("a@21") == value
    assert store.verify().is_clean
