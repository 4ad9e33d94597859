"""Keep rules: what they let go, what they never touch, and where they may come from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store, cached, config
from flowblob.catalogs.clock import Clock
from flowblob.catalogs.sqlite import SqliteCatalog
from flowblob.collecting import Expired
from flowblob.errors import ConflictError, InvalidInputError, NotFoundError
from flowblob.model import Blob
from flowblob.retention import GRACE, Judge, Retention, Rule

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class MovedClock(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.offset = 0

    def wall(self) -> int:
        return super().wall() + self.offset

    def move(self, **span: float) -> None:
        self.offset += timedelta(**span) // timedelta(microseconds=1)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def store(clock: MovedClock) -> Store:
    opened = Store("memory://")
    assert isinstance(opened.catalog, SqliteCatalog)
    opened.catalog._clock = clock
    return opened


def refs(store: Store) -> list[str]:
    return sorted(blob.ref for head in store.ls() for blob in store.versions(head.key))


def apply(store: Store, *rules: Rule, **options: Any) -> Any:
    retention = Retention(rules, **options)
    told = store.gc(retention=retention)
    before = refs(store)
    assert store.gc(retention=retention) == told
    assert refs(store) == before
    done = store.gc(retention=retention, dry_run=False)
    assert done.expired == told.expired
    assert store.catalog.check() == []
    return done


# ------------------------------------------------------------------ what goes


def test_with_no_rule_everything_is_kept(store: Store, clock: MovedClock) -> None:
    for number in range(5):
        store.put("a", number)
    clock.move(days=9999)
    assert apply(store).expired == ()
    assert len(store.versions("a")) == 5


def test_the_last_versions_of_each_key_are_kept(store: Store) -> None:
    for number in range(5):
        store.put("a", number)
        store.put("b", number)
    store.delete("a@3")
    done = apply(store, Rule(keep_last=2))
    assert refs(store) == ["a@2", "a@4", "b@3", "b@4"]
    assert (done.expired[0].versions, str(done.expired[0].rule)) == (5, "keep_last=2")


def test_what_is_too_old_goes_even_the_newest(store: Store, clock: MovedClock) -> None:
    store.put("a", 1)
    clock.move(days=20)
    store.put("b", 1)
    clock.move(days=20)
    apply(store, Rule(max_age=timedelta(days=30)))
    assert refs(store) == ["b@0"]
    assert store.put("a", 2).version == 1


def test_with_both_limits_a_version_goes_that_neither_keeps(
    store: Store, clock: MovedClock
) -> None:
    for number in range(4):
        store.put("a", number)
        clock.move(days=10)
    apply(store, Rule(keep_last=1, max_age=timedelta(days=25)))
    assert refs(store) == ["a@2", "a@3"]
    clock.move(days=999)
    apply(store, Rule(keep_last=1, max_age=timedelta(days=25)))
    assert refs(store) == ["a@3"]


def test_the_first_rule_that_covers_a_version_decides(store: Store) -> None:
    for number in range(3):
        for key in ("tmp/a", "tmp/keep/a", "models/a", "other"):
            store.put(key, number, kind="ml_model" if key == "models/a" else "")
    done = apply(
        store,
        Rule(prefix="tmp/keep/"),
        Rule(prefix="tmp/", keep_last=1),
        Rule(kind="ml_model", keep_last=2),
    )
    assert [(item.rule, item.versions) for item in done.expired] == [
        ("prefix=tmp/ keep_last=1", 2),
        ("kind=ml_model keep_last=2", 1),
    ]
    assert refs(store) == [
        "models/a@1", "models/a@2", "other@0", "other@1", "other@2",
        "tmp/a@2", "tmp/keep/a@0", "tmp/keep/a@1", "tmp/keep/a@2",
    ]  # fmt: skip


def test_aliases_and_pinned_entries_keep_what_they_point_at(store: Store) -> None:
    for number in range(4):
        store.put("a", number)
    store.promote("a@0", "prod")
    pinned = store.cache.put("pinned", 1, name="c", outputs={"side": 2})
    store.cache.pin("pinned")
    store.cache.put("plain", 2, name="d")
    for key in ("c", "c/side", "d"):
        store.put(key, "newer")
    apply(store, Rule(keep_last=1))
    assert refs(store) == ["a@0", "a@3", "c/side@0", "c/side@1", "c@0", "c@1", "d@1"]
    assert store.cache.get("pinned").value == 1
    assert store.cache.get("pinned").outputs["side"].load() == 2
    assert pinned.blob.ref == "c@0"
    assert store.cache.lookup("plain").why == "absent"


def test_entries_go_by_their_last_use(store: Store, clock: MovedClock) -> None:
    for name in ("used", "unused", "pinned", "aliased"):
        store.cache.put(name, name, name=name)
    store.cache.pin("pinned")
    store.promote("aliased", "prod")
    clock.move(days=60)
    store.cache.touch("used")
    clock.move(days=60)
    done = apply(store, cache_unused=timedelta(days=90))
    (expired,) = done.expired
    assert expired == Expired("cache_unused=90 d", 1, 1, 1, 6)
    assert sorted(entry.key for entry in store.cache.entries()) == ["aliased", "pinned", "used"]
    assert refs(store) == ["aliased@0", "pinned@0", "used@0"]


def test_entries_expire_by_the_clock_of_the_catalog(store: Store, clock: MovedClock) -> None:
    clock.move(days=-1)  # as a server's, where this machine is a day fast

    @cached(store=store, name="double", version="1", ttl="1h")
    def double(x: int) -> int:
        return 2 * x

    double(2)
    store.cache.put("rows", 1204, ttl="1h")
    left = [entry.expires_at - store.catalog.now() for entry in store.cache.entries()]
    assert len(left) == 2
    assert max(left) <= timedelta(hours=1)
    assert store.cache.get("rows").value == 1204
    store.cache.expire("rows")
    with pytest.raises(NotFoundError):
        store.cache.get("rows")


def test_a_version_that_another_entry_uses_stays(store: Store, clock: MovedClock) -> None:
    store.cache.put("old", 1, name="same")
    clock.move(days=100)
    store.cache.put("new", 1, name="same")
    (expired,) = apply(store, cache_unused=timedelta(days=90)).expired
    assert (expired.versions, expired.entries, expired.size) == (0, 1, 0)
    assert store.cache.get("new").value == 1


def test_a_dry_run_says_how_many_bytes_would_be_freed(store: Store) -> None:
    for size in (1000, 2000, 4000):
        store.put("a", bytes(size))
    store.put("b", bytes(2000))
    (expired,) = store.gc(retention=Retention((Rule(prefix="a", keep_last=1),))).expired
    assert (expired.versions, expired.payloads, expired.size) == (2, 1, 1000)
    done = store.gc(retention=Retention((Rule(prefix="a", keep_last=1),)), dry_run=False, grace=0)
    assert (done.payloads, done.size) == (1, 1000)


def test_what_the_rules_dropped_can_be_brought_back_for_the_grace(
    store: Store, clock: MovedClock
) -> None:
    for number in range(3):
        store.put("a", number)
    rule = Rule(keep_last=1)
    assert apply(store, rule).payloads == 0
    clock.move(hours=23)
    assert apply(store, rule).payloads == 0
    assert [blob.ref for blob in store.undelete("a@1")] == ["a@1"]
    store.delete("a@1")
    clock.move(hours=2)
    assert apply(store, rule).payloads == 1
    clock.move(days=1)
    assert apply(store, rule).payloads == 1


def test_rules_that_would_take_more_than_half_need_force(store: Store) -> None:
    for number in range(30):
        store.put("a", number)
    rule = Retention((Rule(keep_last=1),))
    with pytest.raises(ConflictError, match="29 of 30"):
        store.gc(retention=rule, dry_run=False)
    assert len(store.versions("a")) == 30
    store.gc(retention=rule, dry_run=False, force=True)
    assert len(store.versions("a")) == 1


def test_versions_may_be_seen_in_any_order() -> None:
    import itertools

    def blob(version: int) -> Blob:
        made = NOW - timedelta(days=10 - version)
        return Blob(str(version), "a", version, "life", "", 0, "", "", "", "", made)

    for order in itertools.permutations(range(5)):
        judge = Judge(Retention((Rule(keep_last=2, max_age=timedelta(days=9)),)), NOW)
        gone = {verdict[1] for n in order if (verdict := judge.see(blob(n)))}
        assert gone == {"0", "1"}


# ------------------------------------------------------------------ where the rules come from


RULES = """
[retention]
cache_unused = "90d"
grace = "2d"

[[retention.rules]]
prefix = "tmp/"
keep_last = 3
max_age = "30d"
"""
EXPECTED = Retention(
    (Rule("tmp/", keep_last=3, max_age=timedelta(days=30)),),
    timedelta(days=90),
    timedelta(days=2),
)


def find(folder: Path, text: str, *args: Any, **env: str) -> config.Settings:
    (folder / "flowblob.toml").write_text(text)
    environ = {"HOME": str(folder / "home"), **env}
    return config.find(*args, env=environ, cwd=folder)


def test_the_file_that_names_the_store_says_what_it_keeps(tmp_path: Path) -> None:
    settings = find(tmp_path, f'url = "store"\n{RULES}')
    assert settings.retention == EXPECTED
    assert settings.sources["retention"] == str(tmp_path / "flowblob.toml")


def test_a_profile_has_rules_of_its_own(tmp_path: Path) -> None:
    text = f'url = "store"\n{RULES}\n[profiles.p]\nurl = "q"\nretention = {{grace = "3h"}}'
    settings = find(tmp_path, text, FLOWBLOB_PROFILE="p")
    assert settings.retention == Retention(grace=timedelta(hours=3))


@pytest.mark.parametrize(
    "named",
    [
        lambda folder, text: find(folder, text, "memory://"),
        lambda folder, text: find(folder, text, FLOWBLOB_URL="memory://"),
        lambda folder, text: find(folder, text.replace('url = "store"', "")),
    ],
)
def test_rules_of_a_project_do_not_empty_a_store_that_something_else_named(
    tmp_path: Path, named: Callable[..., config.Settings]
) -> None:
    settings = named(tmp_path, f'url = "store"\n{RULES}')
    assert settings.retention == Retention()


def test_the_users_own_file_says_what_the_users_own_store_keeps(tmp_path: Path) -> None:
    own = tmp_path / "home" / ".config" / "flowblob"
    own.mkdir(parents=True)
    (own / "config.toml").write_text(RULES)
    work = tmp_path / "work"
    work.mkdir()
    assert find(work, "", HOME=str(tmp_path / "home")).retention == EXPECTED


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("retention = 3", "not a table"),
        ("[retention]\nrule = []", "Did you mean 'rules'"),
        ("[retention]\nrules = 1", "no list"),
        ("[retention]\nrules = [1]", "no table"),
        ("[[retention.rules]]\nkeep = 3", "Unknown setting"),
        ("[[retention.rules]]\nkeep_last = 0", "keep_last"),
        ("[[retention.rules]]\nkeep_last = true", "keep_last"),
        ("[[retention.rules]]\nkeep_last = '3'", "keep_last"),
        ("[[retention.rules]]\nmax_age = 'old'", "max_age"),
        ("[[retention.rules]]\nprefix = 3", "prefix"),
        ("[retention]\ncache_unused = 'x'", "cache_unused"),
        ("[retention]\ngrace = '-1d'", "grace"),
    ],
)
def test_rules_that_cannot_be_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InvalidInputError, match=problem):
        find(tmp_path, f'url = "store"\n{text}')


def test_grace_may_be_zero_and_defaults_to_a_day() -> None:
    assert Retention.read({"grace": 0}).grace == timedelta()
    assert Retention.read({}).grace == GRACE == timedelta(days=1)
