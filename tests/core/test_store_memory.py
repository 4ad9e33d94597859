"""Peak memory while large values move, as the kernel counts it.

FLOWBLOB_TEST_HUGE=1 moves 4 GiB instead of 1 GiB.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MIB = 1 << 20
SIZE = (4 if os.environ.get("FLOWBLOB_TEST_HUGE") else 1) << 30

#: Prints how much the peak grew over what stood before, in bytes.
MEASURE = """
import os, sys
from pathlib import Path
from flowblob import Store

def status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024

def peak():
    return status("VmHWM")

class Measured:
    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.before = status("VmRSS")
    def __exit__(self, *_):
        print(peak() - self.before)

store = Store(sys.argv[1])
store.put("warm", os.urandom(3_000_000))
store.get("warm")
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc/self/clear_refs"
)


def _bytes(printed: str) -> list[int]:
    return [int(line) for line in printed.split()]


def test_a_huge_file_goes_in_and_out_in_constant_memory(
    folder: Path, tmp_path: Path, python: Callable[..., Any]
) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        for position in (0, SIZE // 3, SIZE - 4 * MIB):  # sparse, so that the disk is not the test
            file.seek(position)
            file.write(os.urandom(4 * MIB))
    code = """
    with Measured():
        blob = store.upload("huge", sys.argv[2])
    with Measured():
        store.download("huge", sys.argv[2] + ".out")
    print(peak())
    """
    done = python(MEASURE + _flush_left(code), folder, source)
    into, out, total = _bytes(done.stdout)
    assert total < 100 * MIB
    assert into < 40 * MIB
    assert out < 40 * MIB
    assert (tmp_path / "source.out").stat().st_size == SIZE
    with source.open("rb") as one, (tmp_path / "source.out").open("rb") as other:
        for position in (0, SIZE // 3, SIZE - 4 * MIB):
            one.seek(position)
            other.seek(position)
            assert one.read(4 * MIB) == other.read(4 * MIB)


def _flush_left(code: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in code.splitlines())


def test_a_huge_stream_goes_in_and_out_in_constant_memory(
    folder: Path, python: Callable[..., Any]
) -> None:
    code = """
    class Source:
        left = int(sys.argv[2])
        block = os.urandom(1 << 20)
        def read(self, size):
            given = self.block[:min(size, self.left)]
            self.left -= len(given)
            return given
    with Measured():
        store.upload("huge", Source())
    with Measured():
        total = 0
        with store.open("huge") as stream:
            while block := stream.read(1 << 20):
                total += len(block)
    assert total == int(sys.argv[2])
    print(peak())
    """
    done = python(MEASURE + _flush_left(code), folder, 512 * MIB)
    into, out, total = _bytes(done.stdout)
    assert total < 100 * MIB
    assert into < 90 * MIB  # the queue between writer and hasher is bounded
    assert out < 40 * MIB


def test_a_large_array_is_put_without_a_copy_and_mapped_for_nothing(
    folder: Path, python: Callable[..., Any]
) -> None:
    code = """
    import numpy
    array = numpy.random.default_rng(0).integers(0, 255, 200_000_000, dtype="u1")
    store.put("warm array", array[:1_000_000])
    with Measured():
        store.put("array", array)
    with Measured():
        pickled = store.put("within", {"a": array, "b": 1})
    total = int(array.sum())
    del array
    store.get("array", mmap=True)      # verified once
    with Measured():
        mapped = store.get("array", mmap=True)
    with Measured():
        got = store.get("within")["a"]
    assert int(mapped.sum()) == int(got.sum()) == total
    """
    done = python(MEASURE + _flush_left(code), folder)
    put, within, mapped, got = _bytes(done.stdout)
    assert put < 12 * MIB
    assert within < 12 * MIB
    assert mapped < 4 * MIB
    assert got < 24 * MIB


def test_a_folder_of_many_files_is_stored_in_bounded_memory(
    folder: Path, tmp_path: Path, python: Callable[..., Any]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(2400):
        (source / str(number)).write_bytes(os.urandom(30_000))  # 72 MB, each below the inline limit
    code = """
    with Measured():
        store.upload("tree", sys.argv[2])
    """
    done = python(MEASURE + _flush_left(code), folder, source)
    assert _bytes(done.stdout)[0] < 180 * MIB
