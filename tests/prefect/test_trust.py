"""In a store that others can write to, Prefect unpickles nothing that nobody vouches for."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from tally import compute, computed

from flowblob.errors import PayloadUnsafeError
from flowblob_prefect import FLOWBLOB, FlowblobStorage

KEY = "a secret that is long enough"


class Trap:
    """A value whose loading leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture
def shared(url: str) -> str:
    """A store that others can write to: one on a server, or in an open folder."""
    if "://" not in url:
        Path(url).mkdir(mode=0o777)
        Path(url).chmod(0o777)  # whatever the umask
    return url


def _flow(block: FlowblobStorage) -> Callable[[], tuple[str, Any]]:
    @task(cache_policy=FLOWBLOB)
    def score(x: int) -> Any:
        compute(x)
        return {complex(x)}

    @flow(name="daily", result_storage=block)
    def daily() -> tuple[str, Any]:
        state = score(3, return_state=True)
        return state.name, state.result()

    return daily


def test_a_cached_pickle_is_served_where_the_key_is_known_and_computed_elsewhere(
    shared: str, block: FlowblobStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", KEY)
    assert [_flow(block)(), _flow(block)()] == [
        ("Completed", {3 + 0j}),
        ("Cached", {3 + 0j}),
    ]
    monkeypatch.delenv("FLOWBLOB_SIGNING_KEY")
    assert _flow(block)()[0] == "Completed"
    assert computed() == ["3", "3"]


def test_bytes_of_prefect_are_signed_and_checked_like_pickles(
    shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", KEY)
    FlowblobStorage(url=shared).write_path("parameters/x", b"\x80bytes")
    assert FlowblobStorage(url=shared).read_path("parameters/x") == b"\x80bytes"
    monkeypatch.delenv("FLOWBLOB_SIGNING_KEY")
    with pytest.raises(PayloadUnsafeError):
        FlowblobStorage(url=shared).read_path("parameters/x")


def test_a_record_that_points_at_other_bytes_is_not_given_to_prefect(
    shared: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if "://" in shared:
        pytest.skip("forges the catalog of an embedded store")
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", KEY)
    block = FlowblobStorage(url=shared)
    block.write_path("parameters/x", b"\x80bytes")
    # Somebody with access to the catalog, and without the key, lets the record lead elsewhere.
    evil = block.store.put("harmless", pickle.dumps(Trap(tmp_path / "mark")))
    with sqlite3.connect(Path(shared) / "catalog.db") as connection:
        sql = "UPDATE bound SET version = (SELECT seq FROM version WHERE id = ?)"
        assert connection.execute(sql, (evil.id,)).rowcount == 1
    connection.close()
    with pytest.raises(PayloadUnsafeError):
        block.read_path("parameters/x")
    assert not (tmp_path / "mark").exists()
