"""What the SQL catalogs keep beneath the contract, and how `check` names a broken promise."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flowblob.checks import new_id
from flowblob.model import Ref

NOW = timedelta()


def test_records_from_rows_equal_records_from_their_constructors(catalog, make):
    blob = catalog.commit(make.draft(run=make.run(), metadata='{"a": 1}')).blob
    assert blob == replace(blob)
    assert hash(blob.run and blob.run.identity) == hash(replace(blob.run).identity)
    record = catalog.find(Ref(id=blob.id), payload=True)
    assert record is not None
    assert record.payload == replace(record.payload)


def test_forgetting_an_inline_payload_frees_its_bytes(catalog, make):
    catalog.commit(make.draft(data=b"inline"))
    catalog.delete(Ref("models/churn"))
    [payload] = catalog.condemned(grace=NOW, limit=10)
    catalog.forget(payload.generation)
    assert catalog._query("SELECT count(*) FROM inline_payload") == [(0,)]
    assert catalog.check() == []


def test_the_base_of_a_patch_is_a_reference(catalog, make):
    placed = {}
    for key in ("base", "models/churn"):
        op = new_id()
        [(payload, _)] = catalog.place(op, [make.spooled(key.encode())], ttl=timedelta(hours=1))
        part = make.part(key.encode(), generation=payload.generation)
        catalog.commit(make.draft(key, op=op, parts=(part,)))
        placed[key] = payload.generation
    catalog._write(
        lambda c: c.execute(
            "UPDATE payload SET base = ?, encoding = 'patch' WHERE generation = ?",
            (placed["base"], placed["models/churn"]),
        )
    )
    catalog.delete(Ref("base"))
    assert catalog.condemned(grace=NOW, limit=10) == []
    found = catalog.find(Ref("models/churn"), payload=True)
    assert (found.payload.base, found.payload.encoding) == (placed["base"], "patch")


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
