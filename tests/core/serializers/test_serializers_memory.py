"""What a dump and a load of 100 MB add to the memory of a fresh process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("numpy")

PRELUDE = """
import mmap, os, resource, sys
import numpy as np
from flowblob import serializers

class Out:
    def __init__(self): self.file = open(sys.argv[1], "wb", buffering=0)
    def write(self, data):
        view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        for start in range(0, len(view), 1 << 20):
            self.file.write(view[start : start + (1 << 20)])
        return len(view)

class In:
    is_foreign = False
    filename = ""
    def __init__(self):
        file = open(sys.argv[1], "rb")
        self.size = os.fstat(file.fileno()).st_size
        self.map = mmap.mmap(file.fileno(), self.size, access=mmap.ACCESS_COPY)
    def view(self): return memoryview(self.map)

def peak():
    # VmHWM counts pages of the mapping only once they are touched.
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

def small():
    value = make(10)
    serializers.for_value(value).dump(value, Out())
    serializers.by_id(serializers.for_value(value).id).load(In())
small()
value = make(12_500_000)
chosen = serializers.for_value(value)
before = peak()
chosen.dump(value, Out())
dumped = peak() - before
del value
# The peak of the process stands at its 100 MB: a load that copies would have to go beyond.
filler = np.ones(12_500_000)
before = peak()
found = chosen.load(In())
print(chosen.id, dumped, peak() - before, os.path.getsize(sys.argv[1]) >= 100_000_000)
"""
VALUES = {
    "npy": "np.ones(n)",
    "pickle5": "{'weights': [np.ones(n // 2), np.ones((n // 20, 10), order='F')]}",
    "arrow": "__import__('pyarrow').table({'a': np.ones(n)})",
    "pandas": "__import__('pandas').DataFrame({'a': np.ones(n // 2), 'b': np.arange(n // 2)})",
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("id_", VALUES)
def test_neither_a_dump_nor_a_load_of_100_mb_makes_a_copy(id_: str, tmp_path: Path) -> None:
    if id_ in ("arrow", "pandas"):
        pytest.importorskip("pyarrow")
        pytest.importorskip("pandas")
    script = f"def make(n): return {VALUES[id_]}\n" + textwrap.dedent(PRELUDE)
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "payload")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    chosen, dumped, loaded, is_whole = run.stdout.split()
    assert (chosen, is_whole) == (id_, "True")
    assert float(dumped) <= 5
    assert float(loaded) <= 5
