"""The quick starts as the type checker sees them. Checked by `make test`, never run."""

from __future__ import annotations

from typing import assert_type

from flowblob import Blob, Store, cached


def versions(store: Store) -> None:
    blob = store.put("reports/daily", {"rows": 1204}, tags={"team": "growth"})
    assert_type(blob, Blob)
    assert_type(store.versions("reports/daily"), list[Blob])
    store.promote("reports/daily@0", "prod", expect=None)
    store.tag("reports/daily@0", reviewed=True)


@cached
def plain(day: str, scale: float = 1.0) -> list[float]:
    return [len(day) * scale]


@cached(ttl="7d", ignore=["verbose"])
def with_options(day: str, verbose: bool = False) -> int:
    return len(day)


def signatures_survive() -> None:
    assert_type(plain("2026-11-20", scale=2.0), list[float])
    assert_type(with_options("2026-11-20", verbose=True), int)
    plain(1)  # type: ignore[arg-type]  # the wrong argument is still seen
    with_options.explain("2026-11-20")
