"""One of several processes on a store: `contender.py URL TALLY TOTAL SEED`; prints what it did."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from flowblob import Store
from flowblob.errors import (
    AlreadyExistsError,
    NotFoundError,
    VersionConflictError,
)
from flowblob.model import Ref

KEYS = ("hot/a", "hot/b", "hot/c")


class Contender:
    """Does random operations on few keys and remembers when they ran and what they answered."""

    def __init__(self, store: Store, seed: int) -> None:
        self.store = store
        self.random = random.Random(seed)
        self.seen: dict[str, Any] = {}

    def data(self) -> bytes:
        return os.urandom(16)  # never what stands there already, which would be no new version

    def put(self, key: str) -> tuple[Any, Any]:
        blob = self.store.put(key, self.data())
        self.seen[key] = blob
        return None, (blob.incarnation, blob.version)

    def swap(self, key: str) -> tuple[Any, Any]:
        known = self.seen.get(key)
        expect = 0 if known is None else known.version
        try:
            blob = self.store.put(key, self.data(), expect_version=expect)
        except VersionConflictError:
            return expect, "conflict"
        except NotFoundError:
            return expect, "absent"
        self.seen[key] = blob
        return expect, (blob.incarnation, blob.version)

    def create(self, key: str) -> tuple[Any, Any]:
        try:
            blob = self.store.put(key, self.data(), create=True)
        except AlreadyExistsError:
            return None, "exists"
        return None, (blob.incarnation, blob.version)

    def head(self, key: str) -> tuple[Any, Any]:
        found = self.store.catalog.find(Ref(key))
        if found is None:
            return None, None
        self.seen[key] = found.blob
        return None, (found.blob.incarnation, found.blob.version)

    def delete(self, key: str) -> tuple[Any, Any]:
        try:
            dropped = self.store.delete(key)
        except NotFoundError:
            return None, "absent"
        return None, (dropped[0].incarnation, dropped[0].version)

    def promote(self, key: str) -> tuple[Any, Any]:
        blob = self.seen.get(key)
        if blob is None:
            return self.head(key)
        expect = None if self.random.random() < 0.3 else self.random.randrange(blob.version + 1)
        asked = (blob.incarnation, blob.version, expect)
        try:
            self.store.catalog.promote(blob, "prod", expect=expect)
        except VersionConflictError:
            return asked, "conflict"
        except NotFoundError:
            return asked, "absent"
        return asked, "moved"

    def alias(self, key: str) -> tuple[Any, Any]:
        found = self.store.catalog.find(Ref(key, alias="prod"))
        return None, None if found is None else (found.blob.incarnation, found.blob.version)

    def step(self) -> list[Any]:
        key = self.random.choice(KEYS)
        verb = self.random.choices(
            ("put", "swap", "create", "head", "delete", "promote", "alias"),
            (30, 15, 2, 28, 1, 9, 15),
        )[0]
        if verb == "promote" and key not in self.seen:
            verb = "head"
        action: Callable[[str], tuple[Any, Any]] = getattr(self, verb)
        began = time.monotonic_ns()
        asked, answer = action(key)
        return [key, verb, asked, answer, began, time.monotonic_ns()]


def main(url: str, tally: str, total: str, seed: str) -> None:
    store = Store(url)
    contender = Contender(store, int(seed))
    log = []
    print("ready", flush=True)
    sys.stdin.readline()
    # One byte for each operation: whoever is quicker does more, until all together are done.
    with open(tally, "ab", buffering=0) as done:
        while os.fstat(done.fileno()).st_size < int(total):
            done.write(b".")
            log.append(contender.step())
    store.close()
    json.dump(log, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
