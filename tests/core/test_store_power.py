"""The power goes: what was acknowledged is on the disk, and nothing dangles.

The store stands on a file system in a loop device. While writers put, replace, delete and collect,
they are stopped and the device is copied, which is what a disk holds at that moment: all that was
synced, and nothing that still waited in memory. The copy is mounted, and read as after a restart.
"""

from __future__ import annotations

import hashlib
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flowblob import Store

CUTS = 6
SIZE = 96 << 20

_WRITER = """
    import os, sys
    from pathlib import Path
    from flowblob import Store

    folder, seed = sys.argv[1], int(sys.argv[2])
    store = Store(folder)

    def say(text):
        os.write(1, (text + "\\n").encode())

    for number in range(100_000):
        size = (200, 60_000, 300_000)[number % 3]
        value = f"{seed}/{number}/".encode() * (size // 8)
        blob = store.put(f"writer{seed}", value)
        say(f"put {blob.version} {blob.digest}")
        store.put(f"scratch{seed}", value[::-1])
        if number % 4 == 3:
            store.delete(f"scratch{seed}")
            store.gc(grace="1ms", dry_run=False, force=True)
        # What is not synced must be gone after a cut, or the cuts cut nothing.
        Path(folder, f"unsynced-{seed}-{number}").write_bytes(value)
        say(f"unsynced {number} {len(value)}")
"""


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)


@contextmanager
def _mounted(image: Path, point: Path) -> Iterator[Path]:
    point.mkdir(exist_ok=True)
    # Without the periodic commit of the file system nothing but a sync brings data to the disk.
    _run("mount", "-o", "loop,commit=300", image, point)
    try:
        yield point
    finally:
        _run("umount", point)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A file system of its own, and the file it lives in."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root can mount a file system, and mkfs.ext4 must be there")
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE)
    _run("mkfs.ext4", "-q", image)
    try:
        with _mounted(image, tmp_path / "disk.d") as point:
            yield image, point
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine mounts no loop device: {error.stderr.decode()[:200]}")


@dataclass
class _Writer:
    """A process that says what was acknowledged."""

    process: subprocess.Popen[bytes]
    seed: int
    text: bytes = b""
    said: list[list[str]] = field(default_factory=list)

    def listen(self) -> None:
        """Take in everything that was said so far."""
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        while select.select([pipe], [], [], 0)[0] and (more := os.read(pipe, 1 << 16)):
            self.text += more
        *lines, self.text = self.text.split(b"\n")
        self.said += [line.decode().split() for line in lines]

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        until = time.monotonic() + 300
        # A process in the middle of a sync stops only at its end.
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < until, "it does not stop"
            assert self.process.poll() is None
        self.listen()


@pytest.fixture
def write() -> Iterator[Callable[[Path, int], _Writer]]:
    started: list[_Writer] = []

    def start(folder: Path, seed: int) -> _Writer:
        command = [sys.executable, "-c", textwrap.dedent(_WRITER), str(folder), str(seed)]
        made = _Writer(subprocess.Popen(command, stdout=subprocess.PIPE), seed)
        started.append(made)
        return made

    yield start
    for writer in started:
        writer.process.kill()
        writer.process.wait()
        assert writer.process.stdout is not None
        writer.process.stdout.close()


@pytest.mark.slow
def test_a_power_cut_takes_nothing_that_was_acknowledged(
    disk: tuple[Path, Path], tmp_path: Path, write: Callable[[Path, int], _Writer]
) -> None:
    image, point = disk
    with Store(point / "store"):
        pass
    _run("sync", "-f", point)
    writers = [write(point / "store", seed) for seed in (1, 2)]
    lost = 0
    for cut in range(CUTS):
        time.sleep(random.uniform(0.05, 0.6) + (cut == 0))
        for writer in writers:
            writer.freeze()
        copy = tmp_path / f"cut-{cut}"
        shutil.copyfile(image, copy)
        for writer in writers:
            writer.process.send_signal(signal.SIGCONT)
        with _mounted(copy, tmp_path / "after.d") as after:
            for writer in writers:
                lost += _check_what_was_said(after / "store", writer)
            _check_that_nothing_dangles(after / "store")
        copy.unlink()
    assert all(len(writer.said) > CUTS for writer in writers)
    assert lost > 0, "nothing unsynced was ever lost: the cuts cut nothing"


def _check_what_was_said(folder: Path, writer: _Writer) -> int:
    """Read every acknowledged version; return how many files that nobody synced are gone."""
    lost = 0
    with Store(folder) as store:
        for kind, number, told in writer.said:
            if kind == "put":
                value = store.get(f"writer{writer.seed}@{number}")
                assert f"sha256:{hashlib.sha256(value).hexdigest()}" == told
            else:
                file = folder / f"unsynced-{writer.seed}-{number}"
                lost += not file.exists() or file.stat().st_size != int(told)
    return lost


def _check_that_nothing_dangles(folder: Path) -> None:
    """Whatever lives loads, the catalog is sound, and the store goes on."""
    with Store(folder) as store:
        assert store.catalog.check() == []
        for newest in store.ls():
            for blob in store.versions(newest.key):
                store.verify(blob)
        store.put("after", b"the restart" * 20_000)
        store.gc(grace="1ms", dry_run=False, force=True)
        assert store.get("after") == b"the restart" * 20_000
        known = {
            payload.name: payload.state
            for payload in store.catalog.generations()
            if not payload.is_inline
        }
        files = {name for name, _, _ in store.storage.names()}
        assert files <= known.keys()
        # What a put has announced may lack its file: no machine restarts here, so its pin stands.
        assert {known[name] for name in known.keys() - files} <= {"uploading"}
