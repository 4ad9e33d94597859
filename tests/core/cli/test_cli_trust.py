"""Keys and trust on the command line; no key is ever shown but the one that was asked for."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.trust import Keyring

Cli = Any


def test_a_new_key_is_one_that_signs(cli: Cli) -> None:
    text = cli("trust", "new-key", "2026").out.strip()
    assert Keyring.parse(text).ids == ("2026",)
    assert len(base64.b64decode(text.partition(":")[2])) == 32
    assert text != cli("trust", "new-key", "2026").out.strip()
    told = json.loads(cli("trust", "new-key", "--json").out)
    assert told["key"].startswith(told["id"] + ":")
    assert cli("trust", "new-key", "no id").code != 0


def test_where_and_doctor_name_the_keys_and_show_none(
    cli: Cli, store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", 1)
    secret = base64.b64encode(b"a secret of quite some length").decode()
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", f"first:{secret},second:{secret}")
    for command in ("where", "doctor"):
        for options in ((), ("--json",)):
            out = cli(command, *options).out
            assert "first, second" in out
            assert secret not in out
    assert json.loads(cli("where", "--json").out)["settings"]["signing_key"] == {
        "value": "first, second",
        "source": "FLOWBLOB_SIGNING_KEY",
    }


@pytest.mark.parametrize(
    "case",
    [
        (0o700, {}, "only you can write"),
        (0o777, {}, "others may write"),
        (0o777, {"FLOWBLOB_ALLOW_PICKLE": "1"}, "whoever wrote them"),
        (0o777, {"FLOWBLOB_SIGNING_KEY": "a secret of quite some length"}, "signed with k"),
    ],
)
def test_doctor_says_whose_pickles_are_loaded(
    cli: Cli,
    store: Store,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[int, dict[str, str], str],
) -> None:
    mode, env, told = case
    store.put("a", 1)
    folder.chmod(mode)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    checks = json.loads(cli("doctor", "--json").out)["checks"]
    assert any(told in check["detail"] for check in checks)


def test_a_bad_key_is_said_without_showing_it(
    cli: Cli, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBLOB_SIGNING_KEY", "hunter2")
    for command in ("where", "doctor", "ls"):
        done = cli(command)
        assert done.code != 0
        assert "hunter2" not in done.out + done.err
        assert "FLOWBLOB_SIGNING_KEY" in done.out + done.err


def test_where_and_doctor_mask_every_password(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "FLOWBLOB_URL", "nosuch://ana:hun/ter2@db/flow?storage=s3%3A%2F%2Fid%3Ahunter2%40bucket"
    )
    for command in ("where", "doctor", "ls"):
        for options in ((), ("--json",), ("--debug",)):
            done = cli(command, *options)
            assert "ter2" not in done.out + done.err, command
