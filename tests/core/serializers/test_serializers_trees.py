from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowblob import Dir, File, serializers
from flowblob.errors import (
    AlreadyExistsError,
    InvalidInputError,
    PayloadCorruptError,
    PayloadUnsafeError,
    SerializationError,
)
from flowblob.serializers import checkouts, manifests

TREE = serializers.by_id("tree")


def picture(root: Path) -> dict[str, Any]:
    """Say what is below a folder, without the code under test."""
    found: dict[str, Any] = {}
    for folder, folders, names in os.walk(root):
        for name in [*folders, *names]:
            path = Path(folder, name)
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = ("link", os.readlink(path))
            elif path.is_dir():
                found[key] = "folder"
            else:
                found[key] = (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "made"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty" / "too").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "same").write_text("alpha")
    (root / "nothing").write_bytes(b"")
    (root / "sub" / "grün 🌱\n").write_bytes(bytes(range(256)))
    (root / "sub" / "deep" / "run.sh").write_text("#!/bin/sh\n")
    (root / "sub" / "deep" / "run.sh").chmod(0o755)
    (root / "sub" / "up").symlink_to("../a.txt")
    (root / "sub" / "folder").symlink_to("deep")
    (root / "sub" / "dangling").symlink_to("./none")
    return root


def test_a_folder_comes_back_with_everything_in_it(folder: Path, there_and_back: Any) -> None:
    chosen, found = there_and_back(Dir(folder))
    assert (chosen, type(found), found.name) == ("tree", Dir, "made")
    assert picture(found.path) == picture(folder)


def test_every_distinct_file_is_one_part(folder: Path, dump: Any) -> None:
    os.link(folder / "a.txt", folder / "hard")
    written = dump(Dir(folder))
    contents = [b"", b"#!/bin/sh\n", bytes(range(256)), b"alpha"]
    assert sorted(written.parts.values()) == sorted(contents)


def test_the_manifest_is_canonical(folder: Path, dump: Any, tmp_path: Path) -> None:
    other = tmp_path / "other name"
    other.mkdir()
    names = [*picture(folder)]
    for name in reversed(names):
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            (other / name).mkdir(parents=True, exist_ok=True)
    for name in reversed(names):
        source, target = folder / name, other / name
        if source.is_symlink():
            target.symlink_to(os.readlink(source))
        elif source.is_file():
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)
    data = bytes(dump(Dir(folder)).data)
    assert bytes(dump(Dir(other)).data) == data
    text = json.loads(data)
    assert data == json.dumps(text, sort_keys=True, separators=(",", ":")).encode()
    paths = [entry["path"] for entry in text["entries"]]
    assert paths == sorted(paths, key=os.fsencode)
    assert {"path": "empty/too", "folder": True} in text["entries"]
    assert {"path": "sub/up", "link": "../a.txt"} in text["entries"]


def test_two_folders_that_differ_in_one_byte_have_other_manifests(folder: Path, dump: Any) -> None:
    before = bytes(dump(Dir(folder)).data)
    (folder / "a.txt").write_text("alphb")
    assert bytes(dump(Dir(folder)).data) != before


def test_names_that_are_not_utf_8_come_back(tmp_path: Path, there_and_back: Any) -> None:
    root = os.fsencode(tmp_path / "odd")
    os.mkdir(root)
    for name in (b"\xff\xfe", b"\xe9t\xe9", b" ", b"-rf", b"a'b\"c"):
        with open(os.path.join(root, name), "wb") as out:
            out.write(name)
    found = there_and_back(Dir(tmp_path / "odd"))[1]
    assert {os.fsencode(path.name): path.read_bytes() for path in found} == {
        name: name for name in os.listdir(root)
    }


def test_an_empty_folder_comes_back(tmp_path: Path, there_and_back: Any) -> None:
    (tmp_path / "none").mkdir()
    assert picture(there_and_back(Dir(tmp_path / "none"))[1].path) == {}


def test_a_link_to_the_folder_itself_is_followed(
    folder: Path, tmp_path: Path, there_and_back: Any
) -> None:
    (tmp_path / "link").symlink_to(folder)
    found = there_and_back(Dir(tmp_path / "link"))[1]
    assert (found.name, picture(found.path)) == ("link", picture(folder))


# ------------------------------------------------------------------ what cannot be stored


@pytest.mark.parametrize(
    "target", ["/etc/passwd", "../outside", "../../x", "sub/../../outside", "sub/../a.txt", "a\\b"]
)
def test_a_link_that_may_lead_out_is_refused_by_name(target: str, folder: Path, dump: Any) -> None:
    (folder / "leak").symlink_to(target)
    with pytest.raises(SerializationError, match=r"link .*leak -> .*cannot be stored"):
        dump(Dir(folder))


def test_a_pipe_a_socket_and_a_device_are_refused_by_name(folder: Path, dump: Any) -> None:
    os.mkfifo(folder / "queue")
    with pytest.raises(SerializationError, match="queue is a named pipe"):
        dump(Dir(folder))
    with pytest.raises(InvalidInputError, match="queue is a named pipe"):
        dump(File(folder / "queue"))
    with pytest.raises(InvalidInputError, match="null is a device"):
        dump(File("/dev/null"))
    (folder / "queue").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # the address of a socket is short
        try:
            server.bind("door")
        finally:
            os.chdir(here)
        with pytest.raises(SerializationError, match="door is a socket"):
            dump(Dir(folder))


def test_a_name_with_a_backslash_is_refused(folder: Path, dump: Any) -> None:
    (folder / "a\\b").write_text("x")
    with pytest.raises(SerializationError, match="backslash"):
        dump(Dir(folder))


def test_what_is_missing_or_of_the_other_kind_is_named(folder: Path, dump: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"none.*No such file"):
        dump(File(folder / "none"))
    with pytest.raises(InvalidInputError, match=r"is a folder.*flowblob\.Dir"):
        dump(File(folder))
    with pytest.raises(InvalidInputError, match=r"is no folder.*flowblob\.File"):
        dump(Dir(folder / "a.txt"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_named(folder: Path, dump: Any) -> None:
    (folder / "sub").chmod(0)
    try:
        with pytest.raises(InvalidInputError, match="sub: Permission denied"):
            dump(Dir(folder))
    finally:
        (folder / "sub").chmod(0o755)


def test_a_file_that_changes_while_it_is_read_is_refused(folder: Path) -> None:
    class Meddling:
        def attach(self, path: Path) -> str:
            if path.name == "a.txt":
                path.write_text("longer than before")
            return "part"

        def write(self, data: Any) -> int:
            return len(data)

    with pytest.raises(InvalidInputError, match=r"a\.txt changed while"):
        TREE.dump(Dir(folder), Meddling())  # type: ignore[arg-type]


# ------------------------------------------------------------------ hostile manifests


def manifest(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"flowblob": "tree/1", "entries": entries}).encode()


def a_file(path: str, content: bytes = b"x") -> dict[str, Any]:
    return {"path": path, "part": "p", "size": len(content)}


HOSTILE = {
    "absolute": [a_file("/tmp/x")],
    "upward": [a_file("../x")],
    "upward inside": [a_file("a/../../x")],
    "dot": [a_file("./x")],
    "empty": [a_file("")],
    "double slash": [a_file("a//b")],
    "NUL": [a_file("a\x00b")],
    "backslash": [a_file("..\\x")],
    "drive": [a_file("C:\\x")],
    "high surrogate": [a_file("\ud800")],
    "too long": [a_file("a/" * 3000 + "a")],
    "twice": [a_file("a"), a_file("a")],
    "below a file": [a_file("a"), a_file("a/b")],
    "through a link": [{"path": "a", "link": "b"}, a_file("a/b")],
    "below an empty folder": [{"path": "a", "folder": True}, a_file("a/b")],
    "link absolute": [{"path": "a", "link": "/etc"}],
    "link upward": [{"path": "a", "link": "../x"}],
    "link upward from below": [{"path": "a/b", "link": "../../x"}],
    "link back through a link": [{"path": "a/b", "link": ".."}, {"path": "c", "link": "a/b/.."}],
    "folder upward": [{"path": "../a", "folder": True}],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_entry_that_leads_elsewhere_is_refused_before_anything_is_made(
    case: str, reader: Any, tmp_path: Path
) -> None:
    source = reader(manifest(a_file("fine"), *HOSTILE[case]), {"p": b"x"}, "name")
    with pytest.raises(PayloadUnsafeError, match="is refused"):
        TREE.load(source)
    assert source.opened == []
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink()] == []


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'{"flowblob": "tree/2", "entries": []}',
        manifest({"path": "a"}),
        manifest({"path": 1, "part": "p"}),
        manifest({"path": "a", "part": "p", "link": "b"}),
        manifest({"path": "a", "part": "p", "size": -1}),
        manifest({"path": "a", "part": "p", "size": True}),
        manifest({"path": "a", "part": "p", "size": 1, "executable": 1}),
        b'{"flowblob": "tree/1", "entries": ["a"]}',
    ],
)
def test_a_payload_that_is_no_manifest_is_one_error(payload: bytes, reader: Any) -> None:
    with pytest.raises(SerializationError, match="cannot be read"):
        TREE.load(reader(payload, {"p": b""}, "name"))


@pytest.mark.parametrize("name", ["..", "a/b", "/etc", "a\x00", "a\\b"])
def test_a_stored_name_cannot_lead_elsewhere(name: str, reader: Any) -> None:
    with pytest.raises(PayloadUnsafeError, match="no file name"):
        TREE.load(reader(manifest(), {}, name))
    with pytest.raises(PayloadUnsafeError, match="no file name"):
        serializers.by_id("file").load(reader(b"x", {}, name))


def test_a_part_of_another_size_is_refused(reader: Any) -> None:
    with pytest.raises(PayloadCorruptError, match="has 3 bytes, its manifest says 1"):
        TREE.load(reader(manifest(a_file("a")), {"p": b"xyz"}, "name"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    entries=st.lists(
        st.fixed_dictionaries(
            {"path": st.text("ab/.\\\x00", max_size=8)},
            optional={
                "link": st.text("ab/.", max_size=8),
                "part": st.just("p"),
                "folder": st.just(True),
            },
        ),
        max_size=6,
    )
)
def test_whatever_is_accepted_stays_inside(
    entries: list[dict[str, Any]], reader: Any, tmp_path_factory: Any
) -> None:
    for entry in entries:
        if "part" in entry:
            entry["size"] = 1
    try:
        accepted = manifests.parse(manifest(*entries))
    except (PayloadUnsafeError, SerializationError):
        return
    home = tmp_path_factory.mktemp("home")
    root = home / "target"
    checkouts.restore(accepted, reader(b"", {"p": b"x"}), root)
    assert os.listdir(home) == ["target"]
    for path in root.rglob("*"):
        # Whatever opens does so inside; a dangling link and a loop open nothing.
        with contextlib.suppress(OSError):
            found = os.path.realpath(path, strict=True)
            assert Path(found).is_relative_to(os.path.realpath(root))


# ------------------------------------------------------------------ private copies


def test_a_private_copy_is_made_once_and_again_when_it_was_changed(
    folder: Path, dump: Any, reader: Any
) -> None:
    written = dump(Dir(folder))
    first = reader(written.data, written.parts, "made")
    root = TREE.load(first).path
    again = reader(written.data, written.parts, "made")
    assert TREE.load(again).path == root
    assert again.opened == []
    (root / "a.txt").chmod(0o644)
    (root / "a.txt").write_text("ALPHA")
    third = reader(written.data, written.parts, "made")
    assert picture(TREE.load(third).path) == picture(folder)
    assert third.opened != []
    (root / "extra").write_text("x")
    assert picture(TREE.load(reader(written.data, written.parts, "made")).path) == picture(folder)
    assert os.listdir(root.parent) == ["made"]


def test_private_files_are_read_only(folder: Path, there_and_back: Any) -> None:
    root = there_and_back(Dir(folder))[1].path
    assert (root / "a.txt").stat().st_mode & 0o222 == 0
    assert (root / "sub/deep/run.sh").stat().st_mode & 0o300 == 0o100


def test_a_restored_folder_is_complete_or_not_there(folder: Path, dump: Any, reader: Any) -> None:
    written = dump(Dir(folder))
    entries = manifests.parse(bytes(written.data))
    target = folder.parent / "restored"
    broken = dict(written.parts)
    broken.popitem()
    with pytest.raises(KeyError):
        checkouts.restore(entries, reader(b"", broken), target)
    assert sorted(os.listdir(folder.parent)) == ["made"]
    checkouts.restore(entries, reader(b"", written.parts), target)
    assert picture(target) == picture(folder)
    assert (target / "a.txt").stat().st_mode & 0o200
    with pytest.raises(AlreadyExistsError):
        checkouts.restore(entries, reader(b"", written.parts), target)


# ------------------------------------------------------------------ the two types


def test_a_file_is_its_bytes(folder: Path, dump: Any, there_and_back: Any) -> None:
    assert bytes(dump(File(folder / "a.txt")).data) == b"alpha"
    chosen, found = there_and_back(File(folder / "a.txt"))
    assert (chosen, type(found), found.name, found.read_bytes()) == (
        "file",
        File,
        "a.txt",
        b"alpha",
    )
    with found.open() as stream:
        assert stream.read() == b"alpha"
    with open(found) as stream:
        assert stream.read() == "alpha"


def test_both_are_values(folder: Path) -> None:
    file, tree = File(folder / "a.txt"), Dir(str(folder))
    for value in (file, tree):
        assert pickle.loads(pickle.dumps(value)) == value == copy.copy(value)
        assert hash(value) == hash(type(value)(value.path))
        assert str(value) == os.fspath(value) == str(value.path)
    assert repr(tree) == f"Dir({str(folder)!r})"
    assert file != Dir(folder / "a.txt")
    assert tree / "a.txt" == folder / "a.txt"
    assert [path.name for path in tree][:2] == ["a.txt", "nothing"]
    assert Dir(".").name == Path.cwd().name
    with pytest.raises(AttributeError):
        file.path = folder  # type: ignore[misc]
