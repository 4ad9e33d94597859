"""Runs one put, gc or repair in a process under strace, which kills it or fails its calls.

Executed as a script it is the driver: it has everything imported and forks a child per request, so
that no import stands between the first system call that counts and what is tested.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: System calls that change something, under the names of every architecture.
_CALLS = """openat open creat write pwrite64 writev pwritev fsync fdatasync rename renameat
    renameat2 link linkat unlink unlinkat mkdir mkdirat rmdir ftruncate fallocate fcntl flock
    copy_file_range fchmod symlink symlinkat sendfile"""
WRITING = frozenset(_CALLS.split())
#: Not only a sample of the calls.
EVERY = bool(os.environ.get("FLOWBLOB_TEST_EVERY_CALL"))
READY, GO, ACKNOWLEDGED, FAILED, AGAIN = range(5)
_CALL = re.compile(r"(\d+) +(\w+)\(")


def usable() -> str:
    """Say why strace cannot be used here; empty if it can."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    tried = subprocess.run(
        ["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"strace does not work here: {tried.stderr[:200]}"


def points(counted: dict[str, int], sample: int) -> list[tuple[str, int]]:
    """Choose (call, how often it is made before it is the one)."""
    found = [(call, number) for call in sorted(counted) for number in range(1, counted[call] + 1)]
    if EVERY or len(found) <= sample:
        return found
    # One of each call at least: a rename is made once, an open hundreds of times.
    rare = [(call, counted[call]) for call in sorted(counted)]
    step = len(found) / sample
    return sorted({*rare, *(found[int(position * step)] for position in range(sample))})


class Harness:
    """The driver process, and what it shares with the test."""

    def __init__(self, folder: Path) -> None:
        self._flags = folder / "flags"
        self._flags.write_bytes(bytes(4096))
        self._log = folder / "strace"
        with self._flags.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 4096)
        self._driver = subprocess.Popen(
            [sys.executable, __file__, str(self._flags)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        assert self._driver.stdin is not None
        self._driver.stdin.close()
        self._driver.wait()
        assert self._driver.stdout is not None
        self._driver.stdout.close()
        self._shared.close()

    def count(self, scenario: str, store: Path) -> Counter[str]:
        """Run it unharmed; return how often each thread at most makes each call that writes."""
        self.run(scenario, store)
        assert self.acknowledged
        by_thread = Counter(_CALL.findall(self.log))
        most: Counter[str] = Counter()
        for (_, call), number in by_thread.items():
            if call in WRITING:
                most[call] = max(most[call], number)
        return most

    def run(self, scenario: str, store: Path, inject: str = "") -> None:
        """Run a scenario in a child under strace."""
        self._shared[:4096] = bytes(4096)
        pid = int(self._ask(f"{scenario} {store}"))
        command = ["strace", "-f", "-y", "-o", str(self._log), "-p", str(pid)]
        command += ["-e", f"trace=?{',?'.join(sorted(WRITING))}"]
        if inject:
            command += ["-e", f"inject={inject}"]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        self._shared[GO] = 1
        self.status = int(self._ask("wait"))
        tracer.communicate()

    def _ask(self, line: str) -> str:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(line + "\n")
        self._driver.stdin.flush()
        return self._driver.stdout.readline()

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def acknowledged(self) -> bool:
        return bool(self._shared[ACKNOWLEDGED])

    @property
    def again(self) -> bool:
        return bool(self._shared[AGAIN])

    @property
    def error(self) -> str:
        return self._shared[64 : 64 + self._shared[FAILED]].decode()


@contextmanager
def harness(folder: Path) -> Iterator[Harness]:
    made = Harness(folder)
    try:
        yield made
    finally:
        made.close()


# ------------------------------------------------------------------ in the driver


def value(scenario: str, salt: str) -> bytes:
    """Return what a scenario stores."""
    size = {"inline": 2_000, "out": 100_000, "large": 5_000_000}.get(scenario, 100_000)
    return salt.encode() * (size // len(salt))


def _put(scenario: str, folder: Path, store: Any, salt: str) -> None:
    if scenario == "folder":
        source = folder.with_name("source")
        store.upload("k", source, new_version=True)
    elif scenario == "gc":
        store.gc(grace=0, dry_run=False, force=True)
    elif scenario == "repair":
        store.repair(dry_run=False)
    elif scenario == "dedup":
        store.put("k", value(scenario, "the same"), new_version=True)
    else:
        store.put("k", value(scenario, salt))


def _child(scenario: str, folder: Path, shared: mmap.mmap) -> None:
    from flowblob import Store
    from flowblob.errors import FlowblobError, UnavailableError

    opened = None if scenario == "opening" else Store(folder)
    salt = str(time.time_ns())
    if scenario == "folder":
        (folder.with_name("source") / "large").write_bytes(value("large", salt))
    shared[READY] = 1
    while not shared[GO]:
        time.sleep(0.0005)
    try:
        _put(scenario, folder, opened or Store(folder), salt)
        shared[ACKNOWLEDGED] = 1
    except Exception as error:  # noqa: BLE001 - told to the test
        kind = type(error).__name__ if isinstance(error, FlowblobError) else repr(error)
        text = kind.encode()[:200]
        shared[64 : 64 + len(text)] = text
        shared[FAILED] = len(text)
    for _ in range(2):  # the failure that is injected may meet the first of them
        try:
            store = opened or Store(folder)
            store.put("again", salt)
            shared[AGAIN] = store.get("again") == salt
            store.close()
            break
        except UnavailableError:
            continue


def _drive(shared: mmap.mmap) -> None:
    import multiprocessing.util  # noqa: F401 - imported before the fork, as is all below

    import xxhash  # noqa: F401

    import flowblob.catalogs.sqlite
    import flowblob.collecting
    import flowblob.repairing
    import flowblob.serializers.plain
    import flowblob.serializers.trees
    import flowblob.storages.local
    import flowblob.store  # noqa: F401

    pid = 0
    for line in sys.stdin:
        if line.startswith("wait"):
            print(os.waitpid(pid, 0)[1], flush=True)
            continue
        scenario, _, folder = line.strip().partition(" ")
        pid = os.fork()
        if pid == 0:
            _child(scenario, Path(folder), shared)
            os._exit(0)
        while not shared[READY]:
            time.sleep(0.0005)
        print(pid, flush=True)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("r+b") as flags:
        _drive(mmap.mmap(flags.fileno(), 4096))
