"""StoreTests: what a catalog and a storage must do together."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from flowblob import Dir, File, Store
from flowblob.abc import Catalog
from flowblob.checks import new_id
from flowblob.drafts import Payload
from flowblob.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PayloadError,
    UnavailableError,
)
from flowblob.testing.faults import Fault, FlakyCatalog, Plan, open_flaky
from flowblob.testing.making import Make

T = TypeVar("T")

LARGE = 3 << 20
NO_GRACE = timedelta(microseconds=1)
_READ = "import sys; from flowblob import Store; print(len(Store(sys.argv[1]).get('k')))"


def until_it_works(action: Callable[[], T]) -> T:
    """Repeat an action as a patient caller does."""
    for _ in range(200):
        try:
            return action()
        except UnavailableError:
            continue
    raise AssertionError("it never worked")


class StoreTests:
    """Tests that every pair of a catalog and a storage must pass.

    A subclass brings the fixture `url`: the URL of an empty store, removed after the test.
    """

    @pytest.fixture
    def url(self) -> Iterator[str]:
        """Bring the URL of an empty store, and remove the store after the test."""
        raise NotImplementedError("Override the fixture `url`: yield the URL of an empty store")

    @pytest.fixture
    def store(self, url: str) -> Iterator[Store]:
        """The store, opened."""
        with Store(url) as store:
            yield store

    @pytest.fixture
    def second(self, url: str, store: Store) -> Iterator[Store]:
        """The store as another process would open it; itself if it is in memory."""
        if url.startswith("memory:"):
            yield store
            return
        with Store(url) as other:
            yield other

    @pytest.fixture
    def make(self) -> Make:
        """Maker of spooled payloads."""
        return Make()

    def collect(self, store: Store) -> None:
        """Collect with no grace."""
        time.sleep(0.005)  # the coarsest clock of an engine has gone on
        store.gc(grace=NO_GRACE, dry_run=False, force=True)

    def stored(self, store: Store) -> set[str]:
        """Return the physical names on the storage."""
        return {name for name, _, _ in store.storage.names()}

    def outside(self, store: Store) -> list[Payload]:
        """Return the rows of payloads that are on the storage."""
        return [payload for payload in store.catalog.generations() if not payload.is_inline]

    # values ---------------------------------------------------------

    @pytest.mark.parametrize("inline", [None, True, False])
    @pytest.mark.parametrize("size", [0, 1, 100_000])
    def test_bytes_come_back(self, store: Store, second: Store, size: int, inline: Any) -> None:
        data = os.urandom(size)
        blob = store.put("k", data, inline=inline)
        for handle in (store, second):
            assert handle.get("k") == data
            assert handle.get(blob) == data
            with handle.open("k") as stream:
                assert stream.read() == data
        if inline is not None:
            assert len(self.stored(store)) == int(not inline)

    def test_a_large_payload_comes_back(self, store: Store, second: Store, tmp_path: Path) -> None:
        data = os.urandom(LARGE)
        (tmp_path / "in").write_bytes(data)
        store.put("k", data)
        store.upload("f", tmp_path / "in")
        assert second.get("k") == data
        assert second.download("f", tmp_path / "out").read_bytes() == data
        assert len(self.stored(store)) == 1
        second.verify("k")

    def test_files_and_folders_come_back(self, store: Store, second: Store, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        (folder / "deep").mkdir(parents=True)
        (folder / "a").write_bytes(b"a" * 100_000)
        (folder / "deep" / "b").write_bytes(b"b")
        store.put("d", Dir(folder))
        store.put("f", File(folder / "a"))
        out = second.download("d", tmp_path / "out")
        assert (out / "a").read_bytes() == b"a" * 100_000
        assert (out / "deep" / "b").read_bytes() == b"b"
        assert len(self.stored(store)) == 1  # the large file is stored once for both

    def test_every_version_is_read_by_another_process(self, url: str, store: Store) -> None:
        if url.startswith("memory:"):
            return
        store.put("k", bytes(70_000))
        done = subprocess.run(
            [sys.executable, "-c", _READ, url], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.returncode) == ("70000\n", 0), done.stderr

    def test_equal_bytes_are_stored_once(self, store: Store, second: Store) -> None:
        data = os.urandom(50_000)
        for key in ("a", "b"):
            store.put(key, data)
            second.put(f"{key}/second", data)
        assert len(self.stored(store)) == 1
        store.delete("a")
        self.collect(store)
        assert second.get("b/second") == data

    @pytest.mark.parametrize(
        "key", ["a\x00b", "a\n", "", "a//b", "../a", "a/..", "x" * 1025, "e\u0301", "id:x", "a@b"]
    )
    def test_a_key_that_is_none_is_refused_and_nothing_stored(self, store: Store, key: str) -> None:
        with pytest.raises(InvalidInputError):
            store.put(key, b"x", inline=False)
        assert store.ls() == []
        assert self.stored(store) == set()

    @pytest.mark.parametrize("field", ["kind", "media_type", "filename"])
    def test_text_with_a_nul_is_refused(self, store: Store, field: str) -> None:
        options: dict[str, Any] = {field: "a\x00b"}
        with pytest.raises(InvalidInputError):
            store.put("k", b"x", **options)
        assert store.ls() == []

    def test_inline_beyond_the_limit_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidInputError, match="inline"):
            store.put("k", bytes(min(store.catalog.inline_limit, 1 << 27) + 1), inline=True)
        assert store.ls() == []

    # damage ---------------------------------------------------------

    @pytest.mark.parametrize("how", ["flip", "truncate", "lengthen", "empty", "remove", "replace"])
    def test_damaged_bytes_are_never_given_out_and_heal(
        self, store: Store, second: Store, make: Make, how: str
    ) -> None:
        data = os.urandom(40_000)
        blobs = [store.put(key, data, inline=False) for key in ("a", "b")]
        [payload] = self.outside(store)
        store.storage.delete(payload.name)
        changed = {
            "flip": data[:-1] + bytes([data[-1] ^ 1]),
            "truncate": data[:-1],
            "lengthen": data + b"x",
            "empty": b"",
            "replace": os.urandom(len(data)),
        }
        if how != "remove":
            store.storage.write(payload.name, make.spooled(changed[how]), op=new_id())
        for handle in (second, store):
            for blob in blobs:
                with pytest.raises(PayloadError, match=blob.ref):
                    handle.get(blob)
                assert [payload.state for payload in self.outside(store)] == ["suspect"]
                with pytest.raises(PayloadError):
                    handle.verify(blob)
        assert store.put("c", data, inline=False).version == 0
        for blob in blobs:
            assert store.get(blob) == data
            assert second.get(blob) == data

    def test_what_was_read_once_is_verified_again_when_it_changes(
        self, store: Store, make: Make
    ) -> None:
        data = os.urandom(40_000)
        blob = store.put("a", data, inline=False)
        assert store.get(blob) == data
        [payload] = self.outside(store)
        changed = data[:-1] + bytes([data[-1] ^ 1])
        path = store.storage.path(payload.name)
        if path is None:
            store.storage.delete(payload.name)
            store.storage.write(payload.name, make.spooled(changed), op=new_id())
        else:  # the same file, written later: a clock may not have gone on since
            path.chmod(0o600)
            path.write_bytes(changed)
            os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))
        with pytest.raises(PayloadError):
            store.get(blob)

    @pytest.mark.parametrize("how", ["truncate", "remove"])
    def test_a_put_does_not_rely_on_bytes_that_are_not_there(
        self, store: Store, make: Make, how: str
    ) -> None:
        data = os.urandom(40_000)
        blob = store.put("a", data, inline=False)
        [payload] = self.outside(store)
        store.storage.delete(payload.name)
        if how == "truncate":
            store.storage.write(payload.name, make.spooled(data[:99]), op=new_id())
        store.put("b", data, inline=False)
        assert store.get("b") == data
        assert store.get(blob) == data

    # collecting -----------------------------------------------------

    def test_a_collection_frees_what_nothing_uses_and_only_that(self, store: Store) -> None:
        kept = os.urandom(40_000)
        store.put("keep", kept)
        store.put("small", b"inline")
        for n in range(5):
            store.put(f"drop/{n}", os.urandom(40_000))
        assert len(self.stored(store)) == 6
        for n in range(5):
            store.delete(f"drop/{n}")
        self.collect(store)
        assert self.stored(store) == {p.name for p in self.outside(store)}
        assert len(self.stored(store)) == 1
        assert (store.get("keep"), store.get("small")) == (kept, b"inline")

    def test_collectors_beside_writers_lose_nothing(self, store: Store, second: Store) -> None:
        contents = [os.urandom(33_000) for _ in range(2)]

        def write(name: int) -> None:
            handle = (store, second)[name % 2]
            for n in range(6):
                data = contents[(n + name) % 2]
                blob = handle.put(f"k/{name}", data, new_version=True)
                assert handle.get(blob) == data
                handle.delete(blob)

        def collect() -> None:
            for _ in range(6):
                self.collect(second)

        with ThreadPoolExecutor(4) as threads:
            jobs = [threads.submit(write, n) for n in range(2)]
            jobs += [threads.submit(collect) for _ in range(2)]
            for job in jobs:
                job.result()
        self.collect(store)
        assert self.stored(store) == set()
        assert store.catalog.check() == []

    def test_writers_of_two_handles_lose_nothing(self, store: Store, second: Store) -> None:
        def write(name: int) -> list[tuple[int, bytes]]:
            handle = (store, second)[name % 2]
            data = [f"{name} {n}".encode() * (1 if n % 2 else 9000) for n in range(5)]
            return [(handle.put("hot", item).version, item) for item in data]

        with ThreadPoolExecutor(4) as threads:
            done = sorted(pair for pairs in threads.map(write, range(4)) for pair in pairs)
        assert [version for version, _ in done] == list(range(20))
        for version, data in done:
            assert store.get(f"hot@{version}") == data

    # the pair -------------------------------------------------------

    def test_a_storage_of_another_store_is_refused(self, store: Store) -> None:
        store.put("k", bytes(40_000))
        with pytest.raises(ConflictError):
            store.storage.claim(new_id())
        store.storage.claim(store.store_id)

    def test_a_closed_store_may_be_used_again(self, store: Store) -> None:
        store.put("k", bytes(40_000))
        for _ in range(2):
            store.close()
            assert store.get("k") == bytes(40_000)
        assert store.put("k", b"two").version == 1

    def test_urls_and_reprs_show_no_secret(self, store: Store) -> None:
        shown = f"{store!r} {store.url} {store.storage.url} {store.settings!r} {store.catalog!r}"
        for name, value in os.environ.items():
            if name.startswith("FLOWBLOB_TEST_") and name.endswith(("_SECRET", "_PASSWORD")):
                assert value not in shown

    # faults ---------------------------------------------------------

    @pytest.mark.parametrize("seed", range(6))
    def test_faults_lose_no_acknowledged_write(self, url: str, seed: int) -> None:
        """A lost reply may have been a success; the caller asks again, and nothing is doubled."""
        plan = Plan(seed, rate=0.25)
        store = until_it_works(lambda: open_flaky(url, plan))
        wanted: dict[str, list[bytes]] = {"a": [], "b": []}
        try:
            for n in range(8):
                for key, contents in wanted.items():
                    data = f"{key} {n} ".encode() * (8000 if n % 2 else 1)
                    until_it_works(lambda k=key, d=data: store.put(k, d))  # type: ignore[misc]
                    contents.append(data)
                until_it_works(lambda n=n: store.tag(f"a@{n}", n=n))  # type: ignore[misc]
                until_it_works(lambda n=n: store.promote(f"b@{n}", "prod"))  # type: ignore[misc]
                if n % 3 == 2:
                    until_it_works(lambda: self.collect(store))
            plan.is_on = False
            for key, contents in wanted.items():
                found = [store.get(blob) for blob in store.versions(key)[::-1]]
                assert found == contents
            assert [b.tags for b in store.versions("a")] == [{"n": n} for n in range(7, -1, -1)]
            moves = store.catalog.alias_history("b", "prod")
            assert [move["version"] for move in moves] == list(range(7, -1, -1))
            assert any(fault is Fault.LOST for _, fault in plan.done)
            store.delete("a")
            self.collect(store)
            assert self.stored(store) == {p.name for p in self.outside(store)}
            assert store.catalog.check() == []
        finally:
            plan.is_on = False
            store.close()

    @pytest.mark.parametrize("seed", range(4))
    def test_each_lost_reply_is_settled_exactly_once(
        self, store: Store, make: Make, seed: int
    ) -> None:
        """The same draft sent again after a lost reply is the same put, whatever came between."""
        plan = Plan(seed, rate=0.5, faults=(Fault.REFUSED, Fault.LOST))
        flaky = cast("Catalog", FlakyCatalog(store.catalog, plan, methods=("commit",)))
        ids = []
        for n in range(12):
            draft = make.draft("k", f"{n}".encode(), expect_version=n - 1 if n else None)
            ids.append(until_it_works(lambda d=draft: flaky.commit(d)).blob.id)  # type: ignore[misc]
            outcome = store.catalog.outcome(draft.op)
            assert outcome is not None
            assert outcome.id == ids[-1]
        assert [blob.id for blob in store.versions("k")] == ids[::-1]

    def test_a_put_that_failed_leaves_nothing_to_see(self, url: str) -> None:
        plan = Plan(1, rate=1.0, faults=(Fault.CUT,))
        plan.is_on = False
        store = open_flaky(url, plan)
        try:
            plan.is_on = True
            with pytest.raises(UnavailableError):
                store.put("k", bytes(50_000))
            plan.is_on = False
            with pytest.raises(NotFoundError):
                store.head("k")
            self.collect(store)
            assert self.stored(store) == set()
            assert store.put("k", bytes(50_000)).version == 0
        finally:
            store.close()
