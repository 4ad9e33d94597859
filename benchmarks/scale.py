"""A store of 10,000 versions beside one of a million: each verb should hardly notice."""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Goal, Side, compare, scratch

import flowblob

SMALL, LARGE = 10_000, 1_000_000
PER_KEY = 10
#: Number of the first key that is filled in; those before are the template's.
FIRST = 100
#: Keys that share one tag, in both stores: what a look-up finds must not grow with the store.
PER_TAG = 20
ROUNDS, CALLS = 15, 40
AT_MOST = 2.0

#: Columns of a version that tell it from others; the rest is taken from one that a put has made.
_OWN = {
    "seq": "n",
    "id": "{uuid}",
    "op": "{uuid}",
    "incarnation": "n / {per_key}",
    "version": "n % {per_key}",
    "prev_version": "CASE WHEN n % {per_key} THEN n % {per_key} - 1 END",
    "content": "randomblob(32)",
    "digest": "'sha256:' || lower(hex(randomblob(32)))",
}
_UUID = """lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-'
    || hex(randomblob(2)) || '-' || hex(randomblob(6)))"""
_NUMBERS = """WITH RECURSIVE numbers (n) AS
    (VALUES ({start}) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {end})"""


def filled(folder: Path, versions: int) -> flowblob.Store:
    """Return a store of so many versions, ten to a key, written past its puts."""
    with flowblob.Store(folder) as store:
        store.put("template", {"rows": 1}, kind="dataset", tags={"team": "template"})
        head = store.put("template", {"rows": 2}, kind="dataset")
    connection = sqlite3.connect(folder / "catalog.db", isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -2000000")
    connection.execute("BEGIN")
    _fill(connection, head.id, versions)
    connection.execute("COMMIT")
    assert not connection.execute("PRAGMA foreign_key_check").fetchall()
    connection.close()
    return flowblob.Store(folder)


def _fill(connection: sqlite3.Connection, template: str, versions: int) -> None:
    keys = versions // PER_KEY
    words = {
        "uuid": _UUID,
        "per_key": PER_KEY,
        "tags": max(1, keys // PER_TAG),
        "keys": _NUMBERS.format(start=FIRST, end=FIRST + keys),
        "numbers": _NUMBERS.format(start=FIRST * PER_KEY, end=FIRST * PER_KEY + versions),
    }

    def run(text: str, *values: str) -> None:
        connection.execute(text.format(**words), values)

    run(
        """{keys} INSERT INTO incarnation (seq, id, key, head, newest, created_at)
        SELECT n, {uuid}, printf('data/%07d', n), {per_key} - 1, n * {per_key} + {per_key} - 1, 1
        FROM numbers"""
    )
    columns = [row[1] for row in connection.execute("PRAGMA table_info(version)")]
    picked = ", ".join(_OWN.get(name, f"t.{name}") for name in columns)
    run(
        f"""{{numbers}} INSERT INTO version ({", ".join(columns)}) SELECT {picked}
        FROM numbers JOIN version t ON t.id = ?""",
        template,
    )
    run(
        """{numbers} INSERT INTO payload (seq, generation, digest, size, checksum, state, inline,
        stored_size, created_at, changed_at) SELECT v.seq, {uuid}, v.digest, v.size, v.checksum,
        'ok', 1, v.size, 1, 1 FROM numbers JOIN version v ON v.seq = n"""
    )
    run("{numbers} INSERT INTO inline_payload SELECT n, randomblob(20) FROM numbers")
    run("{numbers} INSERT INTO version_payload SELECT n, '', 0, n FROM numbers")
    run(
        """{numbers} INSERT INTO tag SELECT n, 'team', '"t' || (n / {per_key} % {tags}) || '"'
        FROM numbers WHERE n % {per_key} = {per_key} - 1"""
    )


class Calls:
    """The verbs on keys of one store, in a random order that repeats."""

    def __init__(self, store: flowblob.Store, versions: int) -> None:
        self.store = store
        self._random = random.Random(7)
        self._keys = range(FIRST, FIRST + versions // PER_KEY)
        self._tags = max(1, len(self._keys) // PER_TAG)
        self._count = 0

    def _key(self) -> str:
        return f"data/{self._random.choice(self._keys):07d}"

    def put(self) -> None:
        self._count += 1
        self.store.put(self._key(), {"rows": self._count})

    def head(self) -> None:
        self.store.head(self._key())

    def history(self) -> None:
        assert len(self.store.versions(self._key(), limit=10)) == 10

    def tag(self) -> None:
        team = f"t{self._random.randrange(self._tags)}"
        assert self.store.ls(tags={"team": team}, limit=PER_TAG)


def main(large: int) -> None:
    with scratch() as folder:
        stores = {count: filled(folder / str(count), count) for count in (SMALL, large)}
        calls = {count: Calls(store, count) for count, store in stores.items()}
        for verb in ("put", "head", "history", "tag"):
            sides = {
                count: Side(f"{verb} at {count:,} versions", _method(calls[count], verb), CALLS)
                for count in (large, SMALL)
            }
            for side in sides.values():  # pages that nobody has read yet are the disk's time
                for _ in range(10):
                    side.run()
            goal = Goal(ratio=AT_MOST, peer=sides[SMALL].name)
            compare(f"{verb}, by the size of the store", *sides.values(), rounds=ROUNDS, goal=goal)


def _method(calls: Calls, verb: str) -> Callable[[], Any]:
    return partial(getattr(calls, verb))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LARGE)
