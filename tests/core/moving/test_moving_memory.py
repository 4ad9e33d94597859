"""A payload on its way takes a bounded part of the memory, however large it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flowblob import Store

SIZE = 400 << 20
#: What may wait to be hashed, and windows of the source; measured at 50 MiB.
BOUND = 200 << 20

CODE = """
import resource, sys
from flowblob import Store

how, source, target = sys.argv[1:]
with Store(source) as old, Store(target + "/new") as new:
    old.put("small", b"x" * 2_000_000)
    old.copy_to(new, prefix="small")
    old.export_to(target + "/small.tar", key="small")
    new.import_from(target + "/small.tar")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if how == "copy":
        old.copy_to(new)
    else:
        old.export_to(target + "/large.tar", key="large")
        new.import_from(target + "/large.tar")
    assert new.head("large").digest == old.head("large").digest
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.parametrize("how", ["copy", "bundle"])
def test_a_large_payload_is_moved_in_bounded_memory(old: Store, tmp_path: Path, how: str) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(SIZE)
    old.upload("large", tmp_path / "large")
    done = subprocess.run(
        [sys.executable, "-c", CODE, how, str(old.settings.folder), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < BOUND
