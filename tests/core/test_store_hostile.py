"""Names and facts from a hostile corpus: an exact round trip or a refusal, and nothing outside."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import Store
from flowblob.errors import InvalidInputError, SerializationError

KEYS = [
    "../x", "../../etc/passwd", "a/../../x", "/etc/passwd", "//x", "a//b", "a/", "/", ".", "..",
    "./a", "a/./b", "~", "~/x", "C:\\x", "..\\x", "a\x00b", "\x00", "a\nb", "a\rb", "\x7f", "\x85",
    "x" * 1024, "x" * 1025, "x" * 10240, "/".join("x" * 500), "😀" * 256, "😀" * 257, "a@b", "@",
    "a@3", "a@sha256:" + "0" * 64, "id:x", "id:" + "0" * 36, "sha256:" + "0" * 64, "sha256:",
    "ID:x", "é", "e\u0301", "ﬁ", "Å", "A\u030a", "\u212b", "ß", "SS", "I", "\u0131", "İ",
    "case", "CASE", "Case", "😀", "👩\u200d👩\u200d👧", "\u202egpj.exe", "א/ב", " a", "a ", "a /b",
    "\u00a0a", "a\u3000", "\u200b", "\ufeff", "\ud800", "a\udfffb", "con", "nul.txt", "a:b", "a*b",
    "a?b", "a#b", "a%2e%2e%2fb", "%00", "a'b", 'a"b', "a;DROP TABLE version;--", "a`b`", "$(x)",
    "a\tb", "-rf", "--help", "\U0010ffff", "\U0010ffffx", "{0}", "a b", "", "\u2028",
]  # fmt: skip


def test_hostile_keys_come_back_exactly_or_are_refused(
    store: Store, folder: Path, listing: Callable[..., Any]
) -> None:
    store.put("warm", bytes(100_000))
    around = listing(without=folder)
    accepted = {}
    for number, key in enumerate(KEYS):
        value = f"value {number} ".encode() * 10_000
        try:
            blob = store.put(key, value)
        except InvalidInputError:
            continue
        assert (blob.key, blob.version) == (key, 0)
        accepted[key] = value
    assert {key: store.get(key) for key in accepted} == accepted
    assert {blob.key for blob in store.ls()} == {*accepted, "warm"}
    assert listing(without=folder) == around
    for key in accepted:
        assert unicodedata.is_normalized("NFC", key)
        assert ".." not in key.split("/")
        assert not key.startswith(("/", "id:", "sha256:"))
        assert len(key.encode()) <= 1024
        assert "\x00" not in key
        assert "@" not in key


def test_a_refusal_does_not_print_a_huge_key(store: Store) -> None:
    with pytest.raises(InvalidInputError) as refused:
        store.put("x" * 10240, 1)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("key", [None.__class__, 5, b"bytes", ["a"], 1.5, True])
def test_a_key_that_is_no_text_is_refused(store: Store, key: Any) -> None:
    for verb in (store.put, store.upload):
        with pytest.raises(InvalidInputError):
            verb(key, b"x")
    with pytest.raises(InvalidInputError):
        store.versions(key)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=6, unique=True))
def test_no_two_names_share_a_history(keys: list[str]) -> None:
    store = Store("memory://")
    stored = []
    for key in keys:
        try:
            blob = store.put(key, key.encode("utf-8", "surrogatepass"))
        except InvalidInputError:
            assert not _exists(store, key)
            continue
        assert (blob.key, blob.version) == (key, 0)
        stored.append(key)
    assert [blob.key for blob in store.ls()] == sorted(stored, key=lambda key: key.encode())
    for key in stored:
        assert store.get(key) == key.encode()
        assert [blob.key for blob in store.ls(key) if blob.key == key] == [key]


def _exists(store: Store, key: str) -> bool:
    try:
        return store.exists(key)
    except InvalidInputError:
        return False


TAGS = st.dictionaries(
    st.text(max_size=8), st.text(max_size=20) | st.integers() | st.floats() | st.booleans(),
    max_size=4,
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
METADATA = st.dictionaries(st.text(max_size=8), JSON, max_size=4)


def _exactly(found: Any, given: Any) -> bool:
    return type(found) is type(given) and repr(found) == repr(given)


@settings(deadline=None, max_examples=60)
@given(TAGS)
def test_tags_come_back_exactly_or_are_refused(tags: dict[str, Any]) -> None:
    store = Store("memory://")
    try:
        store.put("k", 1, tags=tags)
    except InvalidInputError:
        assert not store.exists("k")
        return
    found = store.head("k").tags
    assert sorted(found) == sorted(tags)
    assert all(_exactly(found[name], tags[name]) for name in tags)


@settings(deadline=None, max_examples=60)
@given(METADATA, st.text(max_size=30), st.dictionaries(st.text(max_size=5), st.text(max_size=9)))
def test_facts_come_back_exactly_or_are_refused(
    metadata: dict[str, Any], kind: str, partitions: dict[str, str]
) -> None:
    store = Store("memory://")
    try:
        store.put("k", 1, metadata=metadata, kind=kind, partitions=partitions)
    except InvalidInputError:
        assert not store.exists("k")
        return
    blob = store.head("k")
    assert json.dumps(blob.metadata, sort_keys=True) == json.dumps(metadata, sort_keys=True)
    assert (blob.kind, blob.partitions) == (kind, partitions)
    assert [found.key for found in store.ls(kind=kind)] == ["k"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.datetimes() | st.decimals() | st.uuids() | st.complex_numbers(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers() | st.tuples(st.text()), inner)
        | st.frozensets(st.integers() | st.text(), max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=120)
@given(VALUES)
def test_any_value_comes_back_exactly(value: Any) -> None:
    store = Store("memory://")
    try:
        store.put("k", value)
    except SerializationError:
        assert not store.exists("k")
        return
    found = store.get("k")
    assert type(found) is type(value)
    assert _shown(found) == _shown(value)


def _shown(value: Any) -> Any:
    """Describe a value so that NaN equals itself, and -0.0 and 0.0 do not."""
    if isinstance(value, dict):
        return ["dict", *((_shown(key), _shown(item)) for key, item in value.items())]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(_shown, value)]
    if isinstance(value, frozenset | set):
        return [type(value).__name__, *sorted(map(repr, value))]
    return (type(value).__name__, repr(value))


REFERENCE_LIKE = [
    {"$flowblob": ["tuple"], "v": [1]}, "id:00000000-0000-0000-0000-000000000000", "k@3",
    "sha256:" + "0" * 64, {"__flowblob__": 1}, {"flowblob": "tree/1", "entries": []},
    b"flowblob-pk5", {"$flowblob": "x"}, ["$flowblob", {"$flowblob": None}],
]  # fmt: skip


@pytest.mark.parametrize("value", REFERENCE_LIKE, ids=repr)
def test_data_that_looks_like_ours_comes_back_verbatim(value: Any) -> None:
    store = Store("memory://")
    store.put("k", value)
    assert store.get("k") == value


HOSTILE_NAMES = [
    "-rf",
    "a b",
    "😀.txt",
    "\u202egpj.exe",
    "'; DROP TABLE",
    "%2e%2e",
    "CON",
    "a" * 255,
]


def test_files_of_hostile_names_come_back_under_them(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number, name in enumerate(HOSTILE_NAMES):
        (source / name).write_text(str(number))
        store.upload(f"file{number}", source / name)
    store.upload("tree", source)
    restored = store.download("tree", tmp_path / "restored")
    for number, name in enumerate(HOSTILE_NAMES):
        found = store.get(f"file{number}")
        assert (found.name, found.read_text()) == (name, str(number))
        assert (restored / name).read_text() == str(number)


def test_a_folder_that_leads_elsewhere_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for target in ("/etc/passwd", "../secret", "deep/../../secret"):
        source = tmp_path / f"source{len(target)}"
        source.mkdir()
        (source / "link").symlink_to(target)
        with pytest.raises(SerializationError, match="link"):
            store.upload("k", source)
    assert not store.exists("k")
