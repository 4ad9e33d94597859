"""The one function that all three hosts call, and the meeting point before they do."""

from __future__ import annotations

import os
import time
from pathlib import Path


def square(number: int, scale: int = 1) -> dict[str, int]:
    """Take a while, and leave a line for each time it really ran."""
    with Path(os.environ["CROSS_TALLY"]).open("a") as tally:
        tally.write(f"{number}\n")
    time.sleep(float(os.environ.get("CROSS_SECONDS", "0")))
    return {"square": number * number * scale}


def meet(name: str) -> None:
    """Wait until all hosts are about to call, so that they do so at the same moment."""
    folder = Path(os.environ["CROSS_MEETING"])
    (folder / name).touch()
    deadline = time.monotonic() + 240
    while len(list(folder.iterdir())) < int(os.environ["CROSS_GUESTS"]):
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {sorted(f.name for f in folder.iterdir())} came")
        time.sleep(0.01)
