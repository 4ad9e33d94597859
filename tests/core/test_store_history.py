"""Versions are dense, history is never destroyed, and what is lazy stays pinned."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowblob import Lazy, Store
from flowblob.errors import NotFoundError


def test_versions_are_listed_newest_first(store: Store) -> None:
    for number in range(5):
        store.put("k", number)
    assert [blob.version for blob in store.versions("k")] == [4, 3, 2, 1, 0]
    assert [blob.version for blob in store.versions("k", limit=2)] == [4, 3]
    assert [blob.prev_version for blob in store.versions("k")] == [3, 2, 1, 0, None]
    with pytest.raises(NotFoundError):
        store.versions("nothing")


def test_every_earlier_version_stays_readable(store: Store) -> None:
    for number in range(5):
        store.put("k", [number] * 10_000)
    assert [store.get(f"k@{number}")[0] for number in range(5)] == list(range(5))


def test_a_return_to_earlier_content_is_a_version(store: Store) -> None:
    for number in (1, 2, 1):
        store.put("k", number)
    assert [store.get(blob) for blob in store.versions("k")] == [1, 2, 1]


def test_without_history_the_last_version_is_replaced(store: Store) -> None:
    for number in range(3):
        store.put("k", number, history=False)
    assert [blob.version for blob in store.versions("k")] == [2]
    assert store.get("k") == 2
    assert store.catalog.check() == []


def test_a_version_put_with_history_survives_one_without(store: Store) -> None:
    store.put("k", 0)
    store.put("k", 1, history=False)
    store.put("k", 2)
    store.put("k", 3, history=False)
    store.put("k", 4, history=False)
    assert [blob.version for blob in store.versions("k")] == [4, 2, 1, 0]


def test_an_alias_holds_a_version_without_history(store: Store) -> None:
    store.put("k", 0, history=False, alias="prod")
    store.put("k", 1, history=False)
    assert store.get("k@prod") == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "put_same", "forget", "promote", "delete", "delete_key"]),
            st.integers(0, 4),
        ),
        max_size=25,
    )
)
def test_a_dict_of_lists_behaves_the_same(steps: list[tuple[str, int]]) -> None:
    store = Store("memory://")
    model: dict[int, Any] = {}
    aliased: int | None = None
    count = 0
    for verb, argument in steps:
        newest = max(model, default=None)
        if verb in ("put", "put_same", "forget"):
            same = verb == "put_same" and newest is not None
            content = model[newest][0] if same else argument
            is_new = newest is None or model[newest][0] != content
            blob = store.put("k", content, history=verb != "forget")
            if is_new:
                replaced = newest is not None and not model[newest][1] and verb == "forget"
                if replaced and newest != aliased:
                    del model[newest]
                model[count] = (content, verb != "forget")
                count += 1
            assert blob.version == max(model)
        elif verb == "promote" and argument in model:
            store.promote(f"k@{argument}", "prod")
            aliased = argument
        elif verb == "delete" and argument in model and argument != aliased:
            store.delete(f"k@{argument}")
            del model[argument]
        elif verb == "delete_key" and model:
            store.delete("k")
            model, aliased, count = {}, None, 0
    found = {blob.version: store.get(blob) for blob in store.versions("k")} if model else {}
    assert found == {version: content for version, (content, _) in model.items()}
    assert store.catalog.check() == []


# ------------------------------------------------------------------ lazy values


def test_a_lazy_value_loads_the_version_it_was_made_of(store: Store) -> None:
    store.put("k", [1])
    lazy = store.get("k", lazy=True)
    store.put("k", [2])
    assert isinstance(lazy, Lazy)
    assert (lazy.load(), lazy.blob.version) == ([1], 0)


def test_making_a_lazy_value_reads_no_payload(
    store: Store, payload_files: Callable[[], list[Path]]
) -> None:
    store.put("k", bytes(100_000))
    for path in payload_files():
        path.unlink()
    assert store.get("k", lazy=True).digest == store.head("k").digest


def test_lazy_values_are_equal_where_they_mean_the_same_version(store: Store) -> None:
    store.put("k", 1)
    one, two = store.get("k", lazy=True), store.get("k@0", lazy=True)
    assert one == two
    assert len({one, two}) == 1
    store.put("k", 2)
    assert store.get("k", lazy=True) != one


def test_a_pickled_lazy_value_names_the_store_by_its_id_alone(store: Store, folder: Path) -> None:
    store.put("k", 1)
    assert str(folder).encode() not in pickle.dumps(store.get("k", lazy=True))


def test_a_lazy_value_loads_in_another_process(
    store: Store, folder: Path, tmp_path: Path, python: Callable[..., Any]
) -> None:
    store.put("k", {"a": [1, 2]})
    (tmp_path / "lazy").write_bytes(pickle.dumps(store.get("k", lazy=True)))
    code = """
        import pickle, sys
        from pathlib import Path
        from flowblob import Store
        if sys.argv[3] == "open":
            store = Store(sys.argv[1])
        print(pickle.loads(Path(sys.argv[2]).read_bytes()).load())
    """
    assert python(code, folder, tmp_path / "lazy", "open").stdout == "{'a': [1, 2]}\n"
    refused = python(code, folder, tmp_path / "lazy", "other", returncode=1)
    assert "NotFoundError" in refused.stderr
    assert "FLOWBLOB_URL" in refused.stderr


def test_a_lazy_value_finds_the_default_store(
    store: Store, folder: Path, tmp_path: Path, python: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    store.put("k", 5)
    (tmp_path / "lazy").write_bytes(pickle.dumps(store.get("k", lazy=True)))
    monkeypatch.setenv("FLOWBLOB_URL", str(folder))
    code = """
        import pickle, sys
        print(pickle.load(open(sys.argv[1], "rb")).load())
    """
    assert python(code, tmp_path / "lazy").stdout == "5\n"


def test_a_lazy_value_of_a_deleted_and_recreated_key_refuses(store: Store) -> None:
    store.put("k", 1)
    lazy = store.get("k", lazy=True)
    arrived = pickle.loads(pickle.dumps(lazy))
    store.delete("k")
    store.put("k", 1)
    for stale in (lazy, arrived):
        with pytest.raises(NotFoundError):
            stale.load()
