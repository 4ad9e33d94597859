"""copy, export, import on the command line: what is said, and with which exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowblob import Store

Call = Callable[..., Any]


def _break(store: Store, ref: str) -> None:
    [payload] = store.catalog.payloads(store.resolve(ref).id)
    path = store.storage.path(payload.name)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(b"\xff" * payload.size)


def test_copy_says_what_it_brought(cli: Call, store: Store, folder: Path, tmp_path: Path) -> None:
    store.put("a", b"x" * 50_000, tags={"n": 1})
    done = cli("copy", folder, tmp_path / "new")
    assert (done.code, done.rows) == (0, [["copied", "1", "1", "50000", "2"]])
    again = cli("copy", folder, tmp_path / "new", "--json")
    told = again.json
    assert (again.code, told["versions"], told["size"], told["damaged"]) == (0, 0, 0, [])
    with Store(tmp_path / "new") as new:
        assert new.resolve("a") == store.resolve("a")


def test_copy_says_what_stays_deleted(
    cli: Call, store: Store, folder: Path, tmp_path: Path
) -> None:
    store.put("a", 1)
    cli("copy", folder, tmp_path / "new")
    with Store(tmp_path / "new") as new:
        new.delete("a")
    done = cli("copy", folder, tmp_path / "new", "--json")
    assert (done.code, done.json["dropped"]) == (0, ["a@0"])


def test_copy_takes_a_prefix(cli: Call, store: Store, folder: Path, tmp_path: Path) -> None:
    store.put("a/1", 1)
    store.put("b/1", 1)
    assert cli("copy", folder, tmp_path / "new", "--prefix", "a/").code == 0
    with Store(tmp_path / "new") as new:
        assert [blob.key for blob in new.ls()] == ["a/1"]


def test_copy_makes_no_source(cli: Call, folder: Path, tmp_path: Path) -> None:
    done = cli("copy", tmp_path / "nothing", tmp_path / "new")
    assert done.code == 3
    assert "nothing" in done.err
    assert not (tmp_path / "nothing").exists()
    assert not (tmp_path / "new").exists()


def test_copy_does_not_take_a_third_store(cli: Call, store: Store, folder: Path) -> None:
    done = cli("copy", folder, folder, "--store", folder)
    assert (done.code, "Leave --store out" in done.err) == (2, True)
    assert cli("copy", folder, folder).code == 2


def test_damage_is_named_and_decides_on_the_exit_code(
    cli: Call, store: Store, folder: Path, tmp_path: Path
) -> None:
    store.put("a", b"x" * 50_000)
    store.put("b", b"y" * 50_000)
    _break(store, "a")
    copied = cli("copy", folder, tmp_path / "new")
    assert copied.code == 6
    assert copied.rows[0][:2] == ["damaged", "a@0"]
    assert copied.rows[1][:3] == ["copied", "1", "1"]
    assert cli("copy", folder, tmp_path / "newer", "-q").out == "a@0\n"
    exported = cli("export", "--all", tmp_path / "all.tar", "--json")
    assert (exported.code, exported.json["damaged"][0]["ref"]) == (6, "a@0")


def test_export_and_import_say_what_they_did(cli: Call, store: Store, tmp_path: Path) -> None:
    store.put("a/1", b"x" * 50_000)
    store.put("a/2", b"y")
    store.put("b", b"z")
    file = tmp_path / "bundle.tar"
    for arguments, versions in ((["a/1"], 1), (["--prefix", "a/"], 2), (["--all"], 3)):
        done = cli("export", *arguments, file)
        assert done.code == 0
        assert done.rows[0][:2] == ["exported", str(versions)]
        assert done.rows[0][3] == str(file.stat().st_size)
    done = cli("--store", tmp_path / "new", "import", file)
    assert (done.code, done.rows) == (0, [["imported", "3", "3", "50002", "3"]])
    assert cli("--store", tmp_path / "new", "import", file, "--json").json["versions"] == 0


def test_export_takes_whole_keys_only(cli: Call, store: Store, tmp_path: Path) -> None:
    store.put("a", 1)
    file = tmp_path / "bundle.tar"
    for arguments in (["a@0", file], ["a@prod", file], [file], ["a", "b", file]):
        done = cli("export", *arguments)
        assert done.code == 2, done.err
        assert done.err
    assert cli("export", "nothing", file).code == 3
    assert not file.exists()


def test_a_bundle_that_is_none_is_refused(cli: Call, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.tar").write_bytes(b"x" * 4096)
    done = cli("import", tmp_path / "bundle.tar")
    assert done.code == 2
    assert "no sound bundle" in done.err


class Model:
    """What only pickle can store."""


def test_unsigned_pickles_are_named_until_they_are_allowed(
    cli: Call, store: Store, tmp_path: Path
) -> None:
    store.put("model", Model(), serializer="pickle")
    file = tmp_path / "bundle.tar"
    cli("export", "model", file)
    done = cli("--store", tmp_path / "new", "import", file)
    assert (done.code, done.rows[0][:2]) == (1, ["unsafe", "model@0"])
    done = cli("--store", tmp_path / "new", "import", file, "--allow-pickle")
    assert (done.code, done.rows[0][1]) == (0, "1")


def test_people_see_sizes_and_what_to_do(terminal: Call, store: Store, tmp_path: Path) -> None:
    store.put("model", Model(), serializer="pickle")
    store.put("a", b"x" * 50_000)
    file = tmp_path / "bundle.tar"
    code, shown = terminal("export", "--all", file)
    assert (code, "2 versions, 2 payloads" in shown) == (0, True)
    code, shown = terminal("--store", tmp_path / "new", "import", file)
    assert (code, "48.8 KiB" in shown, "--allow-pickle" in shown) == (1, True, True)
