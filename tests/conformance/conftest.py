"""Lets the tests import what stands beside them, and keeps the user's own store out of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# pytest runs in importlib mode, which puts no folder of tests on the path.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("FLOWBLOB_")]:
        if not name.startswith("FLOWBLOB_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
