"""What a catalog holds, as portable records, and a catalog that holds something of every kind."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from flowblob.abc import Catalog
from flowblob.drafts import Note, Part
from flowblob.model import Read, Ref
from flowblob.portable import KINDS, Kind, Portable
from flowblob.testing.contract import found
from flowblob.testing.making import Make

Records = dict[Kind, list[Portable]]

DAY = datetime(2026, 11, 21, 8, 30, 0, 123456, tzinfo=UTC)


def scan(catalog: Catalog, kind: Kind, *, limit: int = 100, **scope: str) -> list[Portable]:
    """Return all records of one kind."""
    records: list[Portable] = []
    page = catalog.scan(kind, limit=limit, **scope)
    while True:
        records += page.records
        if not page.after:
            return records
        page = catalog.scan(kind, after=page.after, limit=limit, **scope)


def scan_all(catalog: Catalog, **scope: Any) -> Records:
    """Return all records of a catalog."""
    return {kind: scan(catalog, kind, **scope) for kind in KINDS}


def in_any_order(records: Records) -> dict[Kind, list[str]]:
    """Return records so that two catalogs compare, whatever their orders are."""
    return {
        kind: sorted(json.dumps(record, sort_keys=True) for record in found)
        for kind, found in records.items()
    }


def inline_parts(catalog: Catalog, records: list[Portable]) -> dict[str, Part]:
    """Return the payloads of versions that `fill` made, by digest."""
    return {
        item.digest: Part(item.part, item.digest, item.size, item.checksum, data=item.data)
        for record in records
        for item in catalog.payloads(record["id"])
    }


def absorb_all(source: Catalog, target: Catalog, **scope: str) -> int:
    """Bring everything over, and check the target after every kind."""
    taken = 0
    for kind, records in scan_all(source, **scope).items():
        parts = inline_parts(source, records) if kind == "version" else {}
        taken += target.absorb(kind, records, parts=parts)
        assert target.check() == []
    return taken


def fill(catalog: Catalog, make: Make) -> None:
    """Leave something of every kind, by the ways that people leave it."""
    run = make.run(used={"rate": 0.1}, generated={"rows": [1, None]}, url="http://host/1")
    other = make.run("predict", system="airflow", map_index=3, attempt=2, name="brisk-otter")
    first = catalog.commit(
        make.draft(
            "models/churn", run=run, tags={"n": 1, "x": 1.0, "t": True, "s": "1"},
            partitions={"day": "2026-11-21"}, metadata='{"auc": 0.9, "ü": [1, {"a": null}]}',
            value_digest="fb1:" + "0" * 64, preview='{"mean": NaN}', filename="m.bin",
            kind="ml_model", signature="ab" * 32, signature_key="k1",
        )
    ).blob  # fmt: skip
    parts = (make.part(b"manifest"), make.part(b"file one", "one"), make.part(b"file two", "two"))
    second = catalog.commit(
        make.draft("models/churn", parts=parts, parents=(first.id,), run=other)
    ).blob
    third = catalog.commit(make.draft("models/churn", b"three")).blob
    catalog.commit(make.draft("models/churn", b"three", run=run))  # unchanged: an outcome
    catalog.tag(first.id, {"n": None, "stage": "prod"}, by="ana")
    catalog.promote(first, "prod", by="ana")
    catalog.promote(second, "prod", by="bo")
    catalog.promote(first, "v1.0", immutable=True)
    catalog.promote(third, "tmp")
    catalog.unalias("models/churn", "tmp", by="bo")
    catalog.delete(Ref("models/churn", version=2), by="bo")
    catalog.commit(make.draft("models/churn", b"four"))
    for data in (b"a", b"b"):
        catalog.commit(make.draft("cache/latest", data, history=False))
    for key, data in (("raw/day", b"old"), ("raw/day", b"older")):
        catalog.commit(make.draft(key, data))
    catalog.promote(found(catalog, "raw/day"), "good")
    catalog.delete(Ref("raw/day"), by="cy")
    catalog.commit(make.draft("raw/day", b"reborn", parents=(second.id,)))
    digest = make.digest(b"elsewhere")
    outside = Part("", digest, 9, make.checksum(b"elsewhere"))
    catalog.commit(make.draft("raw/external", parts=(outside,), external="s3://there/x"))
    _fill_cache(catalog, make)


def _fill_cache(catalog: Catalog, make: Make) -> None:
    churn = found(catalog, "models/churn@1")
    entry = make.entry(
        cost=timedelta(seconds=1.000001), expires_at=DAY, metadata={"state": "COMPLETED"},
        reads=(Read("models/churn@prod", churn.id),), outputs={"side": churn.id},
    )  # fmt: skip
    run = make.run("embed")
    catalog.commit(make.draft("results/embed", b"result", run=run, entry=entry))
    catalog.commit(make.draft("results/plain", b"other", entry=make.entry("plain")))
    catalog.pin_entry("fb1:plain", is_pinned=True)
    notes = [
        Note(DAY, run, churn.id, "input"),
        Note(DAY, run, churn.id, "cache_hit", "fb1:embed", "embed", 1.5, 6),
        Note(DAY, None, "", "miss", "", "embed"),
    ]
    catalog.record(notes)
    catalog.bind("prefect", "key/ü", blob_id=churn.id, record=b"\x00\xff record")
