"""What happens to tasks when the store fails, and to stored results that cannot be used."""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS
from tally import compute, computed

from flowblob import Store
from flowblob.errors import StorageUnavailableError
from flowblob.model import Ref
from flowblob_prefect import FLOWBLOB, FlowblobStorage

BIG = 200_000


@task(cache_policy=FLOWBLOB)
def score(x: int) -> list[int]:
    compute(x)
    return list(range(x))


def run(block: FlowblobStorage, made: Any, x: int = 3) -> tuple[str, Any]:
    @flow(name="daily", result_storage=block, persist_result=False)
    def daily():
        state = made(x, return_state=True)
        return state.name, state.result(raise_on_failure=False)

    return daily()


def warnings_of(log: pytest.LogCaptureFixture) -> list[str]:
    """What people see at WARNING in the log of the task run."""
    return [
        record.getMessage()
        for record in log.records
        if record.levelno == logging.WARNING and record.name == "prefect.task_runs"
    ]


@pytest.fixture
def unreachable(tmp_path: Path) -> FlowblobStorage:
    """A block whose store cannot be opened: a file stands where its folder should."""
    (tmp_path / "file").write_text("")
    made = FlowblobStorage(url=str(tmp_path / "file"))
    made.save(f"test-{uuid.uuid4().hex[:12]}")
    return made


def test_an_unreachable_store_costs_the_cache_and_nothing_else(
    unreachable: FlowblobStorage, log: pytest.LogCaptureFixture
) -> None:
    assert run(unreachable, score) == ("Completed", [0, 1, 2])
    told = warnings_of(log)
    assert any("this is an outage, not a miss" in line for line in told)
    assert any("is not stored" in line for line in told)


def broken_writes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailableError("The disk is full")

    monkeypatch.setattr(store.storage, "write", fail)


@pytest.mark.parametrize("policy", [FLOWBLOB, INPUTS], ids=["flowblob", "inputs"])
def test_a_failed_write_leaves_the_task_and_its_hooks_alone(
    block: FlowblobStorage,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
    policy: Any,
) -> None:
    undone = []
    made = task(_big, cache_policy=policy)
    made.on_rollback(undone.append)
    broken_writes(store, monkeypatch)
    name, value = run(block, made)
    assert (name, len(value)) == ("Completed", BIG)
    assert undone == []
    assert any("The disk is full" in line and "is not stored" in line for line in warnings_of(log))


def test_a_failed_write_rolls_back_where_that_was_asked_for(
    block: FlowblobStorage, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone = []
    made = task(_big, cache_policy=FLOWBLOB)
    made.on_rollback(undone.append)
    block.on_write_error = "raise"
    block.save(block._block_document_name, overwrite=True)
    broken_writes(store, monkeypatch)
    run(block, made)
    assert len(undone) == 1


def _big(x: int) -> bytes:
    return bytes(BIG)


@pytest.mark.parametrize("damage", ["gone", "short", "flipped"])
def test_a_lost_payload_is_a_miss_that_heals(
    block: FlowblobStorage, store: Store, damage: str
) -> None:
    made = task(_counted_big, cache_policy=FLOWBLOB)
    assert run(block, made)[0] == "Completed"
    record = store.objects.resolve(Ref.parse("daily/_counted_big"), payload=True)
    file = store.storage.path(record.payload.name)
    file.chmod(0o600)
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        content[1000] ^= 1
        file.write_bytes(content if damage == "flipped" else content[:1000])
    assert run(block, made) == ("Completed", bytes(BIG))
    assert run(block, made) == ("Cached", bytes(BIG))
    assert len(computed()) == 2


def _counted_big(x: int) -> bytes:
    compute(x)
    return bytes(BIG)


class Unloadable:
    """Pickles here, and cannot be loaded while a variable is set."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, ())


def _restore() -> Unloadable:
    if os.environ.get("FLOWBLOB_TEST_UNLOADABLE"):
        raise ModuleNotFoundError("No module named 'gone'")
    return Unloadable()


def test_a_result_that_cannot_be_loaded_here_is_a_miss_that_keeps_the_entry(
    block: FlowblobStorage, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(_unloadable, cache_policy=FLOWBLOB)
    assert run(block, made)[0] == "Completed"
    [entry] = store.cache.entries()
    monkeypatch.setenv("FLOWBLOB_TEST_UNLOADABLE", "1")
    assert run(block, made)[0] == "Completed"
    monkeypatch.delenv("FLOWBLOB_TEST_UNLOADABLE")
    assert store.cache.entries()[0].rev == entry.rev
    assert run(block, made)[0] == "Cached"


def _unloadable(x: int) -> Unloadable:
    compute(x)
    return Unloadable()


def test_a_result_that_cannot_be_stored_leaves_the_task_completed(
    block: FlowblobStorage, store: Store, log: pytest.LogCaptureFixture
) -> None:
    made = task(_generator_like, cache_policy=FLOWBLOB)
    name, _ = run(block, made)
    assert name == "Completed"
    assert any("serializing result" in line for line in warnings_of(log))
    assert not store.exists("daily/_generator_like")
    assert store.cache.entries() == []


def _generator_like(x: int) -> Any:
    import threading

    return threading.Lock()


def test_a_state_says_where_its_lost_result_was(block: FlowblobStorage, store: Store) -> None:
    with pytest.raises(LookupError, match=r"Nothing is stored under 'abc' in sqlite"):
        block.read_path("abc")


def test_an_address_in_the_url_is_masked(tmp_path: Path) -> None:
    block = FlowblobStorage(url="postgresql://ana:secret@db/flow?storage=s3://b")
    assert "secret" not in repr(block)
    assert "secret" not in str(block)
    with pytest.raises(Exception, match="relative path"):
        FlowblobStorage(url="some/folder").store.put("a", 1)
