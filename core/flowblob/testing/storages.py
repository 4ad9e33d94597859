"""StorageTests: every rule of the contract of storages."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowblob.abc import Storage
from flowblob.checks import new_id
from flowblob.drafts import Spooled, physical_name
from flowblob.errors import ConflictError, PayloadMissingError
from flowblob.testing.making import Make

#: Sizes around what engines cut at: nothing, one byte, a page, a GridFS chunk, 5 MiB and more.
SIZES = (0, 1, 4096, 255 * 1024 - 1, 255 * 1024, 255 * 1024 + 1, (5 << 20) + 3)


class StorageTests:
    """Tests that every storage must pass.

    A subclass brings the fixture `storage` (an empty one that nobody has claimed, removed after
    the test), and overrides `reopen` if the storage does not pickle.
    """

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        """Bring an empty storage, and remove it after the test."""
        raise NotImplementedError("Override the fixture `storage`: yield an empty storage")

    def reopen(self, storage: Storage) -> Storage:
        """Return another handle on the same bytes, as another process would open it.

        A storage that cannot leave its process returns itself.
        """
        other: Storage = pickle.loads(pickle.dumps(storage))  # noqa: S301 - our own object
        return other

    @pytest.fixture
    def make(self) -> Make:
        """Maker of spooled payloads."""
        return Make()

    @pytest.fixture
    def claimed(self, storage: Storage) -> Storage:
        """The storage, claimed by a store."""
        storage.claim(new_id())
        return storage

    @pytest.fixture
    def second(self, claimed: Storage) -> Iterator[Storage]:
        """A second handle on the claimed storage, closed after the test."""
        other = self.reopen(claimed)
        yield other
        if other is not claimed:
            other.close()

    def put(self, storage: Storage, spooled: Spooled) -> str:
        """Write under a fresh name; return it."""
        name = physical_name(spooled.digest, new_id())
        storage.write(name, spooled, op=new_id())
        return name

    # writing and reading --------------------------------------------

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("source", ["memory", "file"])
    def test_what_was_written_is_read(
        self, claimed: Storage, second: Storage, make: Make, size: int, source: str
    ) -> None:
        data = bytes(n * 7 % 251 for n in range(min(size, 8192))) * (size // 8192 + 1)
        data = data[:size]
        path = claimed.spool_folder() / new_id() if source == "file" else None
        name = self.put(claimed, make.spooled(data, path))
        if path is not None:
            assert path.read_bytes() == data  # it stays the caller's, who may write it again
            path.unlink()
        for storage in (claimed, second):
            assert storage.size(name) == size
            assert storage.read(name) == data
            local = storage.path(name)
            assert local is None or local.read_bytes() == data

    @pytest.mark.parametrize(
        ("offset", "length"),
        [(0, 0), (0, 5), (3, 4), (9, 1), (9, 100), (10, 5), (50, 5), (0, 100), (4, -1), (10, -1)],
    )
    def test_a_range_is_read(self, claimed: Storage, make: Make, offset: int, length: int) -> None:
        data = b"0123456789"
        name = self.put(claimed, make.spooled(data))
        end = None if length < 0 else offset + length
        assert claimed.read(name, offset, length) == data[offset:end]

    def test_a_range_of_a_large_payload_is_read(self, claimed: Storage, make: Make) -> None:
        data = bytes(range(256)) * (3 << 12)
        name = self.put(claimed, make.spooled(data))
        for offset, length in ((255 * 1024 - 3, 7), (1 << 20, 1 << 20), (len(data) - 2, 99)):
            assert claimed.read(name, offset, length) == data[offset : offset + length]

    def test_nothing_is_there_before_it_is_written(self, claimed: Storage, make: Make) -> None:
        name = physical_name(make.digest(b"x"), new_id())
        assert claimed.size(name) is None
        for offset, length in ((0, -1), (0, 4), (3, -1), (0, 0)):
            with pytest.raises(PayloadMissingError):
                claimed.read(name, offset, length)

    def test_two_generations_of_the_same_bytes_are_two_payloads(
        self, claimed: Storage, make: Make
    ) -> None:
        one, two = (self.put(claimed, make.spooled(b"same")) for _ in range(2))
        claimed.delete(one)
        assert claimed.size(one) is None
        assert claimed.read(two) == b"same"

    def test_a_repeated_write_of_the_same_put_is_one_write(
        self, claimed: Storage, second: Storage, make: Make
    ) -> None:
        """As a client does whose reply was lost."""
        spooled, op = make.spooled(b"once" * 1000), new_id()
        name = physical_name(spooled.digest, new_id())
        for storage in (claimed, claimed, second):
            storage.write(name, spooled, op=op)
        assert claimed.read(name) == b"once" * 1000
        assert [found for found, _, _ in claimed.names()] == [name]

    def test_what_is_set_aside_is_no_payload_any_more(self, claimed: Storage, make: Make) -> None:
        """Or it stays, where a storage has no other place."""
        damaged, other = (self.put(claimed, make.spooled(data)) for data in (b"bad", b"other"))
        if place := claimed.set_aside(damaged):
            assert claimed.size(damaged) is None
            with pytest.raises(PayloadMissingError):
                claimed.read(damaged)
            assert [name for name, _, _ in claimed.names()] == [other]
            assert "***" in place or "@" not in place
        else:
            assert claimed.read(damaged) == b"bad"
        assert claimed.set_aside(physical_name(make.digest(b"x"), new_id())) == ""
        assert claimed.read(other) == b"other"

    def test_a_name_may_be_written_after_a_delete(self, claimed: Storage, make: Make) -> None:
        """A put whose payload was taken away while it wrote writes again with its own op."""
        spooled, op = make.spooled(b"again"), new_id()
        name = physical_name(spooled.digest, new_id())
        claimed.write(name, spooled, op=op)
        claimed.delete(name)
        claimed.write(name, spooled, op=op)
        assert claimed.read(name) == b"again"

    def test_a_short_leftover_is_replaced_by_the_whole(self, claimed: Storage, make: Make) -> None:
        """Somebody's damage must not make the retry of a put believe that it has written."""
        spooled = make.spooled(b"whole payload")
        name, op = physical_name(spooled.digest, new_id()), new_id()
        claimed.write(name, make.spooled(b"whole"), op=op)
        try:
            claimed.write(name, spooled, op=op)
        except Exception:  # noqa: BLE001 - refusing is as good: then the put has failed
            return
        assert claimed.read(name) == b"whole payload"

    # deleting and listing -------------------------------------------

    def test_deleting_removes_exactly_one_name_and_twice_is_no_error(
        self, claimed: Storage, second: Storage, make: Make
    ) -> None:
        spooled = make.spooled(bytes(600_000))
        one, two = self.put(claimed, spooled), self.put(claimed, spooled)
        three = self.put(claimed, make.spooled(b"other"))
        claimed.delete(one)
        claimed.delete(one)
        second.delete(physical_name(make.digest(b"never"), new_id()))
        assert second.size(one) is None
        with pytest.raises(PayloadMissingError):
            claimed.read(one)
        assert {name for name, _, _ in second.names()} == {two, three}
        assert second.read(two) == bytes(600_000)

    def test_everything_written_is_listed_with_size_and_time(
        self, claimed: Storage, make: Make
    ) -> None:
        assert list(claimed.names()) == []
        before = datetime.now(UTC) - timedelta(minutes=1)
        sizes = {}
        for n in range(25):
            data = bytes(n) * n
            sizes[self.put(claimed, make.spooled(data))] = len(data)
        listed = list(claimed.names())
        assert {name: size for name, size, _ in listed} == sizes
        assert len(listed) == 25
        after = datetime.now(UTC) + timedelta(minutes=1)
        assert all(before < changed < after for _, _, changed in listed)

    def test_a_listing_may_be_left_and_names_deleted_meanwhile(
        self, claimed: Storage, make: Make
    ) -> None:
        names = {self.put(claimed, make.spooled(bytes([n]))) for n in range(12)}
        first = next(iter(claimed.names()))[0]
        assert first in names
        for name, _, _ in claimed.names():
            claimed.delete(name)
            names.discard(name)
        assert names == set()
        assert list(claimed.names()) == []

    @pytest.mark.parametrize(
        "name",
        ["", "..", "../escape", "ab/../../escape", "/etc/hostname", "ab/nothing", "store-id", "tmp",
         "ab/" + "0" * 64, "$where", "ab/" + "0" * 64 + ".x\x00y"],
    )  # fmt: skip
    def test_a_name_that_is_none_reaches_nothing(self, claimed: Storage, name: str) -> None:
        """A forged catalog must not read or remove what is no payload."""
        with pytest.raises(PayloadMissingError):
            claimed.read(name)

    # the owner ------------------------------------------------------

    def test_a_storage_belongs_to_one_store(self, storage: Storage) -> None:
        mine = new_id()
        storage.claim(mine)
        storage.claim(mine)
        other = self.reopen(storage)
        try:
            other.claim(mine)
            for handle in (storage, other):
                with pytest.raises(ConflictError, match=mine):
                    handle.claim(new_id())
            storage.claim(mine)
            assert list(storage.names()) == []  # the mark is no payload
        finally:
            if other is not storage:
                other.close()

    def test_one_of_several_claims_at_once_wins(self, storage: Storage) -> None:
        def claim(store_id: str) -> bool:
            try:
                storage.claim(store_id)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(4) as threads:
            won = list(threads.map(claim, [new_id() for _ in range(4)]))
        assert won.count(True) == 1

    # handles --------------------------------------------------------

    def test_a_closed_storage_may_be_used_again(self, claimed: Storage, make: Make) -> None:
        name = self.put(claimed, make.spooled(b"kept"))
        for _ in range(2):
            claimed.close()
            assert claimed.read(name) == b"kept"
        claimed.close()
        self.put(claimed, make.spooled(b"more"))
        assert len(list(claimed.names())) == 2

    def test_a_storage_pickles_by_its_place_or_refuses(self, claimed: Storage, make: Make) -> None:
        name = self.put(claimed, make.spooled(b"kept"))
        try:
            text = pickle.dumps(claimed)
        except TypeError:
            assert self.reopen(claimed) is claimed  # it lives in this process alone
            return
        assert b"kept" not in text
        other: Storage = pickle.loads(text)  # noqa: S301 - our own object
        assert other.read(name) == b"kept"
        assert other.url == claimed.url
        other.close()

    def test_the_spool_folder_is_there_and_its_own(self, claimed: Storage) -> None:
        folder = claimed.spool_folder()
        assert isinstance(folder, Path)
        assert folder.is_dir()
        assert claimed.sweep_spool() == 0
        assert folder.is_dir()  # this process is alive

    def test_threads_share_a_storage(self, claimed: Storage, second: Storage, make: Make) -> None:
        def work(n: int) -> tuple[str, bytes]:
            storage = (claimed, second)[n % 2]
            data = bytes([n]) * 70_000
            name = self.put(storage, make.spooled(data))
            assert storage.read(name) == data
            if n % 3 == 0:
                storage.delete(name)
            return name, data

        with ThreadPoolExecutor(6) as threads:
            done = list(threads.map(work, range(18)))
        for n, (name, data) in enumerate(done):
            kept = claimed.size(name)
            assert kept == (None if n % 3 == 0 else len(data))
            assert kept is None or claimed.read(name) == data
