"""Hostile text, second handles, threads and writers that race; on any catalog."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowblob.abc import Catalog
from flowblob.checks import KEY_BYTES, new_id
from flowblob.drafts import PlacementLost
from flowblob.errors import (
    AlreadyExistsError,
    InvalidInputError,
    ReservationLostError,
    VersionConflictError,
)
from flowblob.model import Blob, Ref
from flowblob.testing.caching import KEY, standing
from flowblob.testing.contract import LONG, CatalogContract, found, is_absent, numbers
from flowblob.testing.making import Make

#: Text that some engine reads as more than text.
HOSTILE = (
    "$where", "$set.a", "a.$[].b", "{'$gt': ''}", "__proto__", "'; DROP TABLE version; --",
    '"', "`", "%", "_", "100%_", "?", ":name", "%s", "{}", "\ud7ff\U0010ffff", "ﬁ", "𝄞", "a b", "-",
    "null", "None", "NaN", "true", "0", "..a", "~", "#", "&x=1", "=cmd|'C:calc'!A0", "id", "_id",
    "x" * 500,
)  # fmt: skip
WRITERS = 4
ROUNDS = 6


class RoughTests(CatalogContract):
    """What users, schedulers and networks do to a catalog."""

    def test_hostile_text_is_data(self, catalog: Catalog, make: Make) -> None:
        """All of it in one catalog, so that no text may be taken for another."""
        blobs = {text: self.store_under(text, catalog, make) for text in HOSTILE}
        catalog.commit(make.draft("other"))
        for text, blob in blobs.items():
            assert found(catalog, f"k/{text}") == blob
            for filters in (
                {"kind": text}, {"flow": text}, {"alias": text}, {"tags": {text: text}},
                {"partitions": {text: text}},
            ):  # fmt: skip
                assert [b.id for b in catalog.blobs(filters=filters)] == [blob.id], filters
            assert blob.id in [b.id for b in catalog.blobs(prefix=f"k/{text}")]
            entry, _ = standing(catalog, f"fb1:{text}")
            assert (entry.name, entry.metadata) == (text, {text: [text]})
            assert entry.outputs == {text: text}
            assert [e.key for e in catalog.entries(filters={"name": text})] == [entry.key]
            assert catalog.bound(text, text) == (blob.id, text.encode())
            assert catalog.alias_history(f"k/{text}", text)[0]["by"] == text
            assert [run.task for run in catalog.runs(filters={"run_id": text})] == [text]
            [use] = catalog.uses(run={"flow": text})
            assert use.blob == blob
        assert len(catalog.blobs()) == len(HOSTILE) + 1
        assert catalog.check() == []

    def store_under(self, text: str, catalog: Catalog, make: Make) -> Blob:
        """Write a text everywhere where a text may stand."""
        run = make.run(task=text, flow=text, run_id=text, task_run_id=text, used={text: text})
        blob = catalog.commit(
            make.draft(
                f"k/{text}",
                tags={text: text},
                partitions={text: text},
                metadata=json.dumps({text: text}),
                kind=text,
                filename=text,
                run=run,
                entry=make.entry(text, metadata={text: [text]}, outputs={text: text}),
            )
        ).blob
        assert (blob.tags, blob.partitions, blob.kind) == ({text: text}, {text: text}, text)
        assert (blob.metadata, blob.filename) == ({text: text}, text)
        assert blob.run is not None
        assert (blob.run.task, blob.run.used) == (text, {text: text})
        catalog.bind(text, text, blob_id=blob.id, record=text.encode())
        got = catalog.acquire(f"lease:{text}", text, ttl=LONG, max_hold=LONG).reservation
        assert got is not None
        assert got.owner == text
        return catalog.promote(blob, text, by=text)

    @pytest.mark.parametrize(
        "value", [{"$ne": None}, {"$gt": ""}, ["a", "list"], {"a": 1}], ids=repr
    )
    def test_a_filter_is_compared_and_never_run(
        self, catalog: Catalog, make: Make, value: Any
    ) -> None:
        """An engine may refuse such a value or match nothing, but never everything."""
        catalog.commit(make.draft(kind="a", run=make.run(), entry=make.entry()))
        for ask in (
            lambda: catalog.blobs(filters={"kind": value}),
            lambda: catalog.entries(filters={"name": value}),
            lambda: catalog.runs(filters={"flow": value}),
            lambda: catalog.uses(run={"flow": value}),
        ):
            try:
                assert ask() == []
            except InvalidInputError:
                continue

    def test_the_longest_key_and_its_neighbours_are_told_apart(
        self, catalog: Catalog, make: Make
    ) -> None:
        keys = ["k" * KEY_BYTES, "k" * (KEY_BYTES - 1) + "l", "\U0001f9ca" * (KEY_BYTES // 4)]
        for key in keys:
            catalog.commit(make.draft(key, key.encode()))
        for key in keys:
            record = catalog.find(Ref(key), payload=True)
            assert record is not None
            assert record.payload is not None
            assert record.payload.data == key.encode()

    @pytest.mark.parametrize(
        "pair", [("Key", "key"), ("ß", "ss"), ("\u0131", "i"), ("é", "e"), ("a", "a b")]
    )
    def test_keys_are_told_apart_as_they_are_written(
        self, catalog: Catalog, make: Make, pair: tuple[str, str]
    ) -> None:
        for key in pair:
            catalog.commit(make.draft(key, key.encode()))
        for key in pair:
            assert numbers(catalog, key) == [0]
            assert found(catalog, key).digest == make.digest(key.encode())

    def test_text_that_no_database_can_hold_is_refused(self, catalog: Catalog, make: Make) -> None:
        for draft in (
            make.draft(filename="bad\udcff"),
            make.draft(kind="bad\udcff"),
            make.draft(tags={"t": "bad\udcff"}),
        ):
            with pytest.raises(InvalidInputError):
                catalog.commit(draft)
        assert catalog.blobs() == []

    def test_a_nul_is_kept_or_refused_and_never_the_end(self, catalog: Catalog, make: Make) -> None:
        catalog.commit(make.draft("k", kind="nul"))
        for draft in (
            make.draft("k\x00l", kind="nul"),
            make.draft("l", kind="nul\x00l"),
            make.draft("m", kind="nul", tags={"t": "nul\x00l"}),
        ):
            try:
                blob = catalog.commit(draft).blob
            except InvalidInputError:
                continue
            assert (blob.key, blob.kind, blob.tags) == (draft.key, draft.kind, draft.tags)
            assert blob.version == 0
        assert numbers(catalog, "k") == [0]

    def test_a_large_inline_payload_comes_back(self, catalog: Catalog, make: Make) -> None:
        data = bytes(range(256)) * 4096
        catalog.commit(make.draft(data=data))
        record = catalog.find(Ref("models/churn"), payload=True)
        assert record is not None
        assert record.payload is not None
        assert record.payload.data == data

    def test_a_payload_past_the_inline_limit_is_refused(self, catalog: Catalog, make: Make) -> None:
        if catalog.inline_limit >= 1 << 26:
            assert catalog.inline_limit <= 1 << 31
            return
        with pytest.raises(InvalidInputError):
            catalog.commit(make.draft(data=bytes(catalog.inline_limit + 1)))
        assert is_absent(catalog, "models/churn")

    # handles --------------------------------------------------------

    def test_a_closed_catalog_may_be_used_again(self, catalog: Catalog, make: Make) -> None:
        blob = catalog.commit(make.draft()).blob
        for _ in range(2):
            catalog.close()
            assert found(catalog, "models/churn") == blob
        catalog.close()
        assert catalog.commit(make.draft(data=b"two")).blob.version == 1

    def test_another_handle_is_the_same_store(self, catalog: Catalog, second: Catalog) -> None:
        assert second.store_id == catalog.store_id
        assert second.url == catalog.url

    def test_a_catalog_pickles_by_its_place_or_refuses(self, catalog: Catalog, make: Make) -> None:
        blob = catalog.commit(make.draft()).blob
        try:
            text = pickle.dumps(catalog)
        except TypeError:
            assert self.reopen(catalog) is catalog  # it lives in this process alone
            return
        other: Catalog = pickle.loads(text)  # noqa: S301 - our own object
        assert found(other, "models/churn") == blob
        other.close()

    def test_check_finds_nothing_wrong(self, catalog: Catalog, make: Make) -> None:
        assert catalog.check() == []
        blob = catalog.commit(make.draft(entry=make.entry(), run=make.run())).blob
        catalog.promote(blob, "prod")
        catalog.commit(make.draft(data=b"two"))
        catalog.delete(Ref("models/churn", version=1))
        assert catalog.check() == []

    # races ----------------------------------------------------------

    def race(self, *jobs: Any) -> list[Any]:
        """Run jobs in threads; return what each returned."""
        with ThreadPoolExecutor(len(jobs)) as threads:
            return [job.result() for job in [threads.submit(job) for job in jobs]]

    def test_writers_of_one_key_get_dense_numbers(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        def write(name: int) -> list[tuple[int, str]]:
            handle = (catalog, second)[name % 2]
            made = []
            for n in range(ROUNDS):
                blob = handle.commit(make.draft("hot", f"{name} {n}".encode())).blob
                assert found(handle, f"id:{blob.id}") == blob
                made.append((blob.version, blob.id))
            assert made == sorted(made)
            return made

        done = self.race(*[lambda n=n: write(n) for n in range(WRITERS)])
        made = sorted(pair for pairs in done for pair in pairs)
        assert [version for version, _ in made] == list(range(WRITERS * ROUNDS))
        assert [(b.version, b.id) for b in catalog.versions("hot")] == made[::-1]
        assert [b.prev_version for b in catalog.versions("hot")][:-1] == [
            version for version, _ in made[-2::-1]
        ]
        assert catalog.check() == []

    def test_compare_and_swap_loses_no_update(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        catalog.commit(make.draft("counter", b"0"))

        def count(handle: Catalog) -> None:
            for _ in range(ROUNDS):
                while True:
                    record = handle.find(Ref("counter"), payload=True)
                    assert record is not None
                    assert record.payload is not None
                    more = str(int(record.payload.data or b"") + 1).encode()
                    head = record.blob.version
                    try:
                        handle.commit(make.draft("counter", more, expect_version=head))
                        break
                    except VersionConflictError:
                        continue

        self.race(*[lambda h=h: count(h) for h in (catalog, second) * 2])
        record = catalog.find(Ref("counter"), payload=True)
        assert record is not None
        assert record.payload is not None
        assert record.payload.data == str(4 * ROUNDS).encode()
        assert record.blob.version == 4 * ROUNDS

    def test_create_has_exactly_one_winner(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        for round_ in range(ROUNDS):

            def create(n: int, round_: int = round_) -> bool:
                draft = make.draft(f"k{round_}", f"{n}".encode(), create=True)
                try:
                    (catalog, second)[n % 2].commit(draft)
                except AlreadyExistsError:
                    return False
                return True

            won = self.race(*[lambda n=n: create(n) for n in range(WRITERS)])
            assert won.count(True) == 1
            assert numbers(catalog, f"k{round_}") == [0]

    def test_promotions_by_comparison_are_one_chain(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        blobs = [catalog.commit(make.draft(data=bytes([n]))).blob for n in range(2 * ROUNDS + 1)]
        catalog.promote(blobs[0], "prod")

        def move(handle: Catalog) -> None:
            for _ in range(ROUNDS):
                while True:
                    at = found(handle, "models/churn@prod").version
                    try:
                        handle.promote(blobs[at + 1], "prod", expect=at)
                        break
                    except VersionConflictError:
                        continue

        self.race(lambda: move(catalog), lambda: move(second))
        moves = [move["version"] for move in catalog.alias_history("models/churn", "prod")]
        assert sorted(moves, reverse=True) == list(range(2 * ROUNDS, -1, -1))
        assert found(catalog, "models/churn@prod").version == 2 * ROUNDS

    def test_one_of_many_gets_the_reservation_and_commits(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        def compute(n: int) -> bool:
            handle = (catalog, second)[n % 2]
            got = handle.acquire(KEY, f"owner {n}", ttl=LONG, max_hold=LONG)
            if got.reservation is None:
                return False
            entry = make.entry(reservation=got.reservation)
            try:
                handle.commit(make.draft(data=f"{n}".encode(), entry=entry))
            except ReservationLostError:
                return False
            return True

        for _ in range(ROUNDS):
            won = self.race(*[lambda n=n: compute(n) for n in range(WRITERS)])
            assert won.count(True) == 1
            catalog.delete_entry(KEY)

    def test_one_op_sent_twice_at_once_is_one_put(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        """As a client does that timed out while its first request is still running."""
        for n in range(ROUNDS):
            draft = make.draft(data=bytes([n]))
            answers = self.race(*[lambda h=h, d=draft: h.commit(d) for h in (catalog, second) * 2])
            assert {answer.blob.id for answer in answers} == {answers[0].blob.id}
            assert numbers(catalog) == list(range(n, -1, -1))

    def test_deleting_and_putting_at_once_never_mixes_two_lives(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        def put() -> None:
            for n in range(4 * ROUNDS):
                catalog.commit(make.draft("k", f"{n}".encode()))

        def drop() -> None:
            for _ in range(2 * ROUNDS):
                if not is_absent(second, "k"):
                    lives = {blob.incarnation for blob in second.delete(Ref("k"))}
                    assert len(lives) <= 1

        self.race(put, drop)
        left = catalog.versions("k")
        assert len({blob.incarnation for blob in left}) <= 1
        assert [blob.version for blob in left] == list(range(len(left) - 1, -1, -1))
        assert catalog.check() == []

    def test_a_collector_beside_writers_takes_nothing_in_use(
        self, catalog: Catalog, second: Catalog, make: Make
    ) -> None:
        """Zero grace: only pins and references protect what is being put."""
        spooled = make.spooled(b"shared")
        gone: set[str] = set()

        def collect() -> None:
            for _ in range(3 * ROUNDS):
                for payload in second.condemned(grace=0 * LONG, limit=100):
                    gone.add(payload.generation)
                    second.forget(payload.generation)

        def put(name: str) -> None:
            for n in range(ROUNDS):
                op = new_id()
                for _ in range(50):
                    [(payload, _)] = catalog.place(op, [spooled], ttl=LONG)
                    part = make.part(b"shared", generation=payload.generation)
                    draft = make.draft(f"{name}{n}", op=op, parts=(part,))
                    try:
                        blob = catalog.commit(draft).blob
                        break
                    except PlacementLost:
                        continue
                [kept] = catalog.payloads(blob.id)
                assert kept.state == "ok"
                catalog.delete(Ref(id=blob.id))

        self.race(lambda: put("a"), lambda: put("b"), collect)
        last = catalog.place(new_id(), [spooled], ttl=LONG)[0][0]
        assert last.generation not in gone
        assert catalog.check() == []
