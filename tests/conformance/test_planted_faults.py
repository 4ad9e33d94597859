"""The suite notices what it is there for. `tools/plant.py` plants all faults; here are some."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from planted import FAULTS, Fault

TOOL = Path(__file__).parents[2] / "tools" / "plant.py"
#: Each is found within seconds, and each by another part of the suite.
SAMPLE = (
    "lost update: a wrong expectation passes",
    "alias moved without comparing",
    "pins are ignored by the collector",
    "an entry is fenced by its token alone",
    "a corrupt byte is given out",
)


def test_there_are_fifty_faults_and_they_fit_the_code() -> None:
    """One that does not is planted anew, where the code has moved to."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 50
    assert [fault.name for fault in FAULTS if not fault.fits] == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", [f for f in FAULTS if f.name in SAMPLE], ids=lambda f: f.name)
def test_a_planted_fault_is_noticed(fault: Fault) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), fault.name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
