"""What one engine could not hold is refused or shown by all of them alike."""

from __future__ import annotations

import pytest

from flowblob import Run, Store
from flowblob.errors import InvalidInputError
from flowblob.model import Ref


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.services)])
def store(request, tmp_path):
    url = str(tmp_path / "store")
    if request.param == "postgres":
        url = f"{request.getfixturevalue('postgres_url')}&storage={url}"
    with Store(url) as opened:
        yield opened


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "a\0b"},
        {"media_type": "a\0b"},
        {"tags": {"a\0b": 1}},
        {"tags": {"a" * 256: 1}},
        {"tags": {"a": "b" * 1023}},
        {"tags": {"a": "ä" * 512}},
        {"partitions": {"day": "a\0b"}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_text_that_no_index_or_column_takes_is_refused(store, options):
    with pytest.raises(InvalidInputError):
        store.put("a", 1, **options)
    assert not store.exists("a")


def test_json_may_hold_any_text(store):
    text = 'a\0b \u2028 " \\ \x7f ü 😀'
    blob = store.put("a", 1, metadata={text: text}, tags={"a": text, "b": text[1]})
    assert store.resolve("a") == blob
    assert (blob.metadata, blob.tags) == ({text: text}, {"a": text, "b": "\0"})
    assert [b.key for b in store.ls(tags={"a": text})] == ["a"]


def test_the_longest_tags_can_be_found(store):
    tags = {"ü" * 255: "ä" * 511, "b": "\x01" * 170}
    store.put("a", 1, tags=tags)
    assert store.resolve("a").tags == tags
    assert [b.key for b in store.ls(tags=tags)] == ["a"]


@pytest.mark.parametrize("text", ["a\0b", "ü" * 5000, "".join(map(chr, range(0x4E00, 0x5E00)))])
def test_no_name_of_a_run_fails_the_put_that_is_linked_to_it(store, text):
    run = Run(flow=text, run_id=text, task=text, task_run_id=text, url=text, name=text)
    blob = store.put("a", 1, run=run)
    [found] = store.catalog.runs()
    assert found == blob.run
    assert found.flow.startswith(text[:1])
    assert [b.key for b in store.ls(flow=found.flow)] == ["a"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.ls(kind="a\0b"),
        lambda store: store.ls("a\0b"),
        lambda store: store.catalog.runs(filters={"flow": "a\0b"}),
        lambda store: store.catalog.entries(filters={"pattern": "a\0b"}),
        lambda store: store.reserve("a", owner="a\0b"),
        lambda store: store.catalog.bound("prefect", "a\0b"),
    ],
)
def test_nothing_can_be_asked_with_nul(store, ask):
    with pytest.raises(InvalidInputError):
        ask(store)


def test_keys_sort_by_their_bytes(store):
    keys = ["B", "Z", "_", "a", "a-b", "a/b", "ab", "z", "ä", "\U0001f600"]
    for key in keys:
        store.put(key, 1)
    assert [blob.key for blob in store.ls()] == sorted(keys, key=str.encode) == keys
    assert [blob.key for blob in store.ls("a")] == ["a", "a-b", "a/b", "ab"]


def test_entries_are_found_by_pattern_whatever_the_case(store):
    store.cache.put("Jobs.Embed", 1)
    found = store.catalog.entries(filters={"pattern": "jobs.*"})
    assert [entry.name for entry in found] == ["Jobs.Embed"]
    assert store.catalog.entries(filters={"pattern": "jobs_*"}) == []
    assert len(store.catalog.entries(filters={"pinned": False})) == 1


def test_a_blob_that_was_put_is_the_blob_that_is_found(store):
    """The short way of a put makes its record without reading it back."""
    run = Run(flow="f", run_id="r", task="t", used={"a": 1}, url="http://x")
    for number, options in enumerate(
        [
            {},
            {"run": run},
            {"tags": {"b": 1.0, "a": "ü", "c": True}},
            {"run": run, "metadata": {"a": [1, None]}},
            {"kind": "k"},
        ]
    ):
        blob = store.put("a", b"same", filename="", new_version=True, **options)
        assert blob.version == number
        found = store.catalog.find(Ref("a"), payload=True)
        assert (found.blob, found.payload.data) == (blob, b"same")
        assert store.catalog.find(Ref(id=blob.id)).blob == blob
    assert len(store.catalog.uses(role="output")) == 2


@pytest.mark.services
def test_doctor_warns_of_a_server_that_may_lose_what_it_acknowledged(
    postgres_url, tmp_path, capsys
):
    from flowblob.cli.app import run

    sound = f"{postgres_url}&storage={tmp_path}/payloads"
    assert run(["doctor", "--store", sound]) == 0
    assert "acknowledged" not in capsys.readouterr().out
    assert run(["doctor", "--store", f"{sound}&options=-c%20synchronous_commit%3Doff"]) == 0
    assert "synchronous_commit off" in capsys.readouterr().out
