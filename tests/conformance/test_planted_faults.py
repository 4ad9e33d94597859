"""The suite notices what it is there for: every planted fault, by the test that its row names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from planted import FAULTS

TOOL = Path(__file__).parents[2] / "tools" / "plant.py"
#: They run side by side where pytest does.
PARTS = 5


def test_there_are_fifty_faults_and_they_fit_the_code() -> None:
    """One that does not is planted anew, where the code has moved to."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 50
    assert [fault.name for fault in FAULTS if not fault.fits] == []


@pytest.mark.parametrize("part", range(PARTS))
def test_planted_faults_are_noticed(part: int) -> None:
    names = [fault.name for fault in FAULTS[part::PARTS]]
    done = subprocess.run(
        [sys.executable, str(TOOL), "--named", *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
