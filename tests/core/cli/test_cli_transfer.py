"""put, get, cat: bytes go in and come out as they are, and nothing is ever loaded."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.cli import transfer

Cli = Callable[..., Any]


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("exploded",))


@pytest.fixture
def sample() -> Path:
    path = Path("sample.bin")
    path.write_bytes(bytes(range(256)) * 500)
    return path


def test_a_file_comes_back_byte_for_byte(cli: Cli, sample: Path) -> None:
    assert cli("put", sample, "raw/a").code == 0
    assert cli("get", "raw/a", "-o", "back.bin").out == "back.bin\n"
    assert Path("back.bin").read_bytes() == sample.read_bytes()


def test_a_folder_comes_back_as_a_tree(cli: Cli) -> None:
    Path("data/deep").mkdir(parents=True)
    Path("data/a.txt").write_text("a")
    Path("data/deep/b.bin").write_bytes(b"\x00" * 100_000)
    assert cli("put", "data", "raw/tree").code == 0
    assert cli("get", "raw/tree", "-o", "back").code == 0
    assert Path("back/a.txt").read_text() == "a"
    assert Path("back/deep/b.bin").read_bytes() == b"\x00" * 100_000


def test_a_folder_is_fetched_under_the_size_of_its_files(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[transfer.Transfer] = []

    class Seen(transfer.Transfer):
        def __enter__(self) -> transfer.Transfer:
            shown.append(self)
            return super().__enter__()

    monkeypatch.setattr(transfer, "Transfer", Seen)
    Path("data").mkdir()
    Path("data/a.bin").write_bytes(bytes(100_000))
    Path("data/b.bin").write_bytes(bytes(50_000))
    assert cli("put", "data", "raw/tree").code == 0
    assert cli("get", "raw/tree", "-o", "back").code == 0
    assert [(seen.meter.done, seen.meter.total) for seen in shown[1:]] == [(150_000, 150_000)]


def test_a_stored_folder_becomes_a_new_folder_inside_a_full_one(cli: Cli) -> None:
    Path("data").mkdir()
    Path("data/a.txt").write_text("a")
    cli("put", "data", "raw/tree")
    Path("here").mkdir()
    Path("here/other").write_text("other")
    assert cli("get", "raw/tree", "-o", "here").code == 0
    assert Path("here/data/a.txt").read_text() == "a"


def test_standard_input_is_stored_and_written_back(program: Cli) -> None:
    data = os.urandom(3_000_000)
    done = program("put", "-", "raw/stream", "--filename", "x.bin", "-q", stdin=data)
    assert done.stdout == b"raw/stream@0\n"
    assert program("cat", "raw/stream").stdout == data
    assert program("get", "raw/stream", "-o", "-").stdout == data


def test_bytes_are_whole_where_python_does_not_buffer(program: Cli) -> None:
    data = os.urandom(1_000_000)
    program("put", "-", "raw/stream", stdin=data)
    assert program("cat", "raw/stream", PYTHONUNBUFFERED="1").stdout == data


def test_put_keeps_what_its_options_say(cli: Cli, store: Store, sample: Path) -> None:
    options = ["--kind", "dataset", "--tag", "team=risk", "--tag", "rows:=3", "--alias", "prod"]
    cli("put", sample, "a", *options, "--meta", '{"source": ["x"]}', "--media-type", "text/x-y")
    blob = store.resolve("a@prod")
    assert (blob.kind, blob.media_type, blob.filename) == ("dataset", "text/x-y", "sample.bin")
    assert dict(blob.tags) == {"team": "risk", "rows": 3}
    assert dict(blob.metadata) == {"source": ["x"]}


def test_unchanged_content_makes_no_version_unless_asked(cli: Cli, sample: Path) -> None:
    assert cli("put", sample, "a", "--json").json["is_new"] is True
    again = cli("put", sample, "a", "--json").json
    assert (again["is_new"], again["blob"]["version"]) == (False, 0)
    forced = cli("put", sample, "a", "--new-version", "--json").json
    assert (forced["is_new"], forced["blob"]["version"]) == (True, 1)


def test_put_refuses_what_exists_or_moved(cli: Cli, sample: Path) -> None:
    cli("put", sample, "a")
    assert cli("put", sample, "a", "--create").code == 5
    assert cli("put", sample, "a", "--expect-version", "3").code == 5
    assert cli("put", sample, "b", "--expect-version", "0").code == 3


@pytest.mark.parametrize("meta", ["{", "[1]", "3"])
def test_put_refuses_metadata_that_is_no_object(cli: Cli, sample: Path, meta: str) -> None:
    done = cli("put", sample, "a", "--meta", meta)
    assert done.code == 2
    assert "--meta" in done.err


@pytest.mark.parametrize("key", ["../x", "/abs", "a@1", "a//b", "", "a\nb"])
def test_put_refuses_a_hostile_key(cli: Cli, sample: Path, key: str, folder: Path) -> None:
    assert cli("put", sample, "--", key).code == 2


def test_nothing_unpickles_what_it_moves(program: Cli, store: Store) -> None:
    store.put("bomb", Bomb())
    assert program("get", "bomb", "-o", "bomb.pkl").returncode == 0
    assert program("cat", "bomb").returncode == 0
    for command in ("show", "ls", "log"):
        assert program(command, "bomb").returncode == 0
        assert program(command, "bomb", "--json").returncode == 0
    assert not Path("exploded").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert Path("exploded").exists()  # the bomb of this test does go off


def test_get_replaces_a_file_only_by_force(cli: Cli, sample: Path) -> None:
    cli("put", sample, "a")
    target = Path("target")
    target.write_text("mine")
    done = cli("get", "a", "-o", "target")
    assert (done.code, target.read_text()) == (5, "mine")
    assert "--force" in done.err
    assert cli("get", "a", "-o", "target", "--force").code == 0
    assert target.read_bytes() == sample.read_bytes()


def test_get_writes_under_the_blobs_own_name_into_a_folder(cli: Cli, store: Store) -> None:
    store.put("deep/name", b"x")
    Path("out").mkdir()
    assert cli("get", "deep/name", "-o", "out").out == "out/name\n"


def test_a_file_name_that_is_a_path_is_refused(cli: Cli, sample: Path) -> None:
    assert cli("put", sample, "a", "--filename", "../../escaped").code == 2


def test_cat_of_a_folder_says_what_to_do_instead(cli: Cli) -> None:
    Path("data").mkdir()
    Path("data/a.txt").write_text("a")
    cli("put", "data", "tree")
    done = cli("cat", "tree")
    assert done.code == 2
    assert "flowblob get tree@0 -o FOLDER" in done.err


def test_cat_in_json_carries_text_as_text_and_bytes_as_base64(cli: Cli, store: Store) -> None:
    store.put("text", "grüße")
    store.put("bytes", b"\xff\x00")
    assert cli("cat", "text", "--json").json["content"] == "grüße"
    assert cli("cat", "text", "--json").json["encoding"] == "utf-8"
    assert cli("cat", "bytes", "--json").json["content"] == "/wA="


def test_damaged_bytes_are_never_given_out(program: Cli, store: Store, folder: Path) -> None:
    store.put("big", os.urandom(200_000))
    (payload,) = (path for path in (folder / "payloads").glob("??/*.*") if path.is_file())
    payload.chmod(0o600)
    data = bytearray(payload.read_bytes())
    data[77] ^= 1
    payload.write_bytes(data)
    for args in (["cat", "big"], ["get", "big", "-o", "out"], ["get", "big", "-o", "-"]):
        done = program(*args)
        assert (done.returncode, done.stdout) == (6, b"")
    assert not Path("out").exists()
    payload.unlink()
    assert program("cat", "big").returncode == 6


def test_a_reader_that_leaves_ends_cat_without_a_word(program: Cli, store: Store) -> None:
    store.put("big", os.urandom(1_000_000))
    command = f"{sys.executable} -m flowblob cat big | head -c 10 | wc -c; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["10", "141"], "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error_and_no_traceback(store: Store) -> None:
    store.put("a", b"x" * 100)
    for command in (["cat", "a"], ["ls"], ["ls", "--json"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "flowblob", *command],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


def test_reading_makes_no_store_at_a_mistyped_place(cli: Cli, folder: Path) -> None:
    for command in (["ls"], ["cat", "a"], ["rm", "a"], ["tag", "a", "b=c"], ["runs"], ["log", "a"]):
        done = cli(*command)
        assert done.code == 3
        assert "No store at" in done.err
    assert not folder.exists()


def test_the_first_put_says_once_where_the_store_is(cli: Cli, sample: Path, folder: Path) -> None:
    assert f"new store at {folder}" in cli("put", sample, "a").err
    assert cli("put", sample, "b").err == ""


def test_put_reads_a_named_pipe_to_its_end(program: Cli) -> None:
    os.mkfifo("pipe")
    with subprocess.Popen(["sh", "-c", "printf through > pipe"]) as writer:
        done = program("put", "pipe", "piped")
        writer.kill()
    assert (done.returncode, program("cat", "piped").stdout) == (0, b"through")
