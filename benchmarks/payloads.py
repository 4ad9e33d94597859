"""Durable puts and verified gets on the embedded store, beside the bare operations under them."""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Goal, Side, compare, scratch

import flowblob

SIZES = {"1 KB": 1000, "1 MB": 1 << 20, "256 MB": 256 << 20, "1 GiB": 1 << 30}
#: Rounds and repetitions of each size.
EFFORT = {"1 KB": (9, 50), "1 MB": (9, 10), "256 MB": (5, 1), "1 GiB": (3, 1)}
BLOCK = 1 << 20


class Fresh:
    """Bytes that no store has seen: the same ones again would not be written a second time."""

    def __init__(self, size: int) -> None:
        self._base = bytearray(os.urandom(min(size, BLOCK)) * max(1, size // BLOCK))
        self._count = 0
        self.value = b""
        self.many: list[bytes] = []

    def renew(self, number: int) -> None:
        self.many = [self._next() for _ in range(number)]
        self.value = self.many[0]
        os.sync()  # what others wrote must not be written back during our turn

    def _next(self) -> bytes:
        self._count += 1
        self._base[:8] = self._count.to_bytes(8, "big")
        return bytes(self._base)


class Bench:
    """One size in one folder."""

    def __init__(self, folder: Path, label: str) -> None:
        self.folder, self.label = folder, label
        self.rounds, self.number = EFFORT[label]
        self.fresh = Fresh(SIZES[label])
        self.store = flowblob.Store(folder / "store")
        self.reader = self.store
        self.source = folder / "source"

    # ------------------------------------------------------------ puts

    def put(self) -> None:
        self.store.put("object", self.fresh.many.pop())

    def upload(self) -> None:
        self.store.upload("object", self.source)

    def write(self) -> None:
        self._write(self.folder / "plain", self.fresh.many.pop())

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("wb", buffering=0) as out:
            view = memoryview(data)
            for start in range(0, len(view), BLOCK):
                out.write(view[start : start + BLOCK])
            os.fsync(out.fileno())

    def safe_write(self) -> None:
        """Write as one must who wants all or nothing: beside, synced, renamed, folder synced."""
        draft = self.folder / "draft"
        self._write(draft, self.fresh.many.pop())
        draft.rename(self.folder / "plain")
        descriptor = os.open(self.folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def sha256(self) -> None:
        hashlib.sha256(self.fresh.many.pop()).hexdigest()

    def copy(self) -> None:
        shutil.copyfile(self.source, self.folder / "copy")

    def make_source(self) -> None:
        self.fresh.renew(1)
        self.source.write_bytes(self.fresh.value)
        os.sync()

    def clean(self) -> None:
        for name in ("plain", "copy", "draft"):
            (self.folder / name).unlink(missing_ok=True)
        if self.store.exists("object"):
            self.store.delete("object")
        if SIZES[self.label] > BLOCK:
            self.store.gc(grace="1ms", dry_run=False, force=True)

    def compare_puts(self) -> None:
        renew = partial(self.fresh.renew, self.number)

        def side(name: str, run: Any) -> Side:
            return Side(name, run, self.number, renew, self.clean)

        large = SIZES[self.label] > BLOCK
        goal = Goal(ratio=1 / 0.95, peer="sha256 alone") if self.label == "1 GiB" else None
        compare(
            f"put of {self.label}, durable",
            side("flowblob put", self.put),
            side("sha256 alone", self.sha256),
            side("write + fsync", self.write),
            side("write + fsync + rename + fsync", self.safe_write),
            rounds=self.rounds,
            goal=goal,
        )
        if large:
            source, clean = self.make_source, self.clean
            compare(
                f"upload of a file of {self.label}, durable",
                Side("flowblob upload", self.upload, 1, source, clean),
                Side("cp, not synced", self.copy, 1, source, clean),
                rounds=self.rounds,
            )

    # ------------------------------------------------------------ gets

    def reopen(self) -> None:
        """Open the store anew, so that nothing counts as verified."""
        self.reader = flowblob.Store(self.folder / "store")
        self.reader.head("object")

    def compare_gets(self) -> None:
        self.fresh.renew(1)
        self.store.put("object", self.fresh.value)
        (self.folder / "plain").write_bytes(self.fresh.value)
        path = self.folder / "plain"
        self.fresh.value, self.fresh.many = b"", []
        get = Side("flowblob get, verified", self._get, self.number, self.reopen)
        plain = Side("open().read()", path.read_bytes, self.number)
        goal = Goal(ratio=1.15, peer=plain.name) if self.label == "1 GiB" else None
        compare(f"get of {self.label}, first of the process", get, plain, rounds=9, goal=goal)
        again = Side("flowblob get, verified before", self._get, self.number)
        again_plain = Side("open().read()", path.read_bytes, self.number)
        compare(f"get of {self.label}, later", again, again_plain, rounds=9)
        self.clean()

    def _get(self) -> int:
        return len(self.reader.get("object"))


def main() -> None:
    for label in SIZES:
        with scratch() as folder:
            bench = Bench(folder, label)
            bench.compare_puts()
            bench.compare_gets()


if __name__ == "__main__":
    main()
