"""Stores into which others can write, keys, and records that somebody changed."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store

# pytest runs in importlib mode, which puts no folder of tests on the path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def shared(folder: Path) -> Iterator[Callable[..., Store]]:
    """Open the store of a folder into which others can write."""
    opened: list[Store] = []

    def make(**options: Any) -> Store:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        opened.append(Store(folder, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def signing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def use(*keys: str) -> None:
        monkeypatch.delenv("FLOWBLOB_SIGNING_KEY", raising=False)
        if keys:
            monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", ",".join(keys))

    return use


@pytest.fixture
def forge(folder: Path) -> Callable[..., None]:
    """Change rows of the catalog as somebody with access to the database could."""

    def change(sql: str, *values: Any) -> None:
        with sqlite3.connect(folder / "catalog.db") as connection:
            assert connection.execute(sql, values).rowcount
        connection.close()

    return change
