"""Keys: how they are given, and that they are shown nowhere."""

from __future__ import annotations

import base64
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forging import KEY

from flowblob import Store
from flowblob.errors import (
    InvalidInputError,
)
from flowblob.trust import Keyring, new_key


def test_keys_are_read_in_every_documented_form(tmp_path: Path) -> None:
    secret = b"0123456789abcdef?>"
    plain = base64.b64encode(secret).decode()
    url_safe = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    rings = [
        Keyring.parse(f"a:{plain}"),
        Keyring.parse(f"a:{url_safe}"),
        Keyring.parse(f" a:{plain} ,"),
        Keyring.parse(f"\na:{plain}\n"),
    ]
    assert {ring.sign(b"text") for ring in rings} == {rings[0].sign(b"text")}
    bare = Keyring.parse("a secret of some length")
    assert bare.ids == Keyring.parse(f"a:{plain},a secret of some length").ids[1:]
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\na secret of some length\n")
    found = Keyring.from_environment({"FLOWBLOB_SIGNING_KEY_FILE": str(file)})
    assert found.ids == ("first", *bare.ids)
    assert Keyring.from_environment({}).ids == ()
    assert Keyring.parse(new_key("fresh")).ids == ("fresh",)


SECRET = "SeCrEt-hunter2"
BAD = [
    SECRET, "a:" + base64.b64encode(SECRET.encode()).decode(), f"a:{SECRET}!{SECRET}",
    f"{SECRET} {SECRET}:aaaa", f"{KEY},{KEY}", ",", f":{SECRET}{SECRET}", "a:",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_a_bad_key_is_refused_and_never_shown(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", text)
    with pytest.raises(InvalidInputError, match="FLOWBLOB_SIGNING_KEY") as refused:
        Store(tmp_path / "store")
    shown = "".join(_texts(refused.value))
    assert SECRET not in shown
    assert base64.b64encode(SECRET.encode()).decode() not in shown
    assert not (tmp_path / "store").exists()


def _texts(error: BaseException) -> Iterator[str]:
    """Yield what a traceback shows of an error and of those behind it."""
    shown: BaseException | None = error
    while shown is not None:
        yield f"{shown!r} {shown}"
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def test_a_bad_key_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY_FILE", str(file))
    for content in (None, b"", b"\xff\xfe" * 20, b"\n \n"):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InvalidInputError, match="keys"):
            Store("memory://")
    file.write_text(KEY)
    assert Store("memory://").put("k", {1j}).signature_key == "first"
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", KEY)
    with pytest.raises(InvalidInputError, match="Both"):
        Store("memory://")


def test_keys_are_shown_nowhere(
    signing: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    secret = KEY.partition(":")[2]
    signing(KEY)
    with caplog.at_level(logging.DEBUG):
        store = Store("memory://")
        store.put("k", {1j})
        store.get("k")
    ring = Keyring.parse(KEY)
    shown = [repr(ring), str(ring), repr(store), repr(store.objects), repr(store.settings)]
    shown += [repr(vars(store)), caplog.text]
    assert not any(secret in text or "nobody else" in text for text in shown)
    with pytest.raises(TypeError):
        pickle.dumps(ring)
    assert repr(ring) == "Keyring(first)"
