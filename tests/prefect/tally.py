"""Count computations across processes, without anything that a cache key would see."""

from __future__ import annotations

import os
from pathlib import Path


def compute(name: object = "") -> None:
    """Note that something is computed; called by the functions under test."""
    with Path(os.environ["FLOWBLOB_TEST_TALLY"]).open("a") as file:
        file.write(f"{name}\n")


def computed() -> list[str]:
    """Return what was noted, in order."""
    file = Path(os.environ["FLOWBLOB_TEST_TALLY"])
    return file.read_text().splitlines() if file.exists() else []
