"""Files and folders count by content and name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flowblob.errors import InvalidInputError
from flowblob.files import Dir, File
from flowblob.keys import Recipe
from flowblob.keys.files import FileMemo


def task(a: Any, b: Any = 2, *, c: Any = "c") -> None: ...


def digest(function: Any, *args: Any, **kwargs: Any) -> str:
    return Recipe(function).key(args, kwargs).digest


def test_a_path_counts_by_content_and_name(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "data.csv").write_text("1,2")
    one, two = tmp_path / "one" / "data.csv", tmp_path / "two" / "data.csv"
    assert digest(task, one) == digest(task, two)
    assert digest(task, one) != digest(task, str(one))
    assert digest(task, File(one)) == digest(task, File(two))
    assert digest(task, File(one)) != digest(task, one)
    two.write_text("1,3")
    assert digest(task, one) != digest(task, two)
    renamed = two.with_suffix(".txt")
    renamed.write_text("1,2")
    assert digest(task, one) != digest(task, renamed)


def test_a_folder_counts_by_all_it_holds(tmp_path: Path) -> None:
    def tree(place: str, files: dict[str, str]) -> Path:
        root = tmp_path / place / "data"
        root.mkdir(parents=True)
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return root

    base = tree("a", {"x": "1", "d/y": "2"})
    assert digest(task, base) == digest(task, tree("b", {"d/y": "2", "x": "1"}))
    different = [
        base,
        tree("c", {"x": "1", "d/y": "3"}),
        tree("d", {"x": "1", "d/z": "2"}),
        tree("e", {"x": "1"}),
        tree("f", {"x": "1", "d/y": "2", "e": ""}),
    ]
    (tree("g", {"x": "1", "d/y": "2"}) / "empty").mkdir()
    different.append(tmp_path / "g" / "data")
    assert len({digest(task, item) for item in different}) == len(different)
    assert digest(task, Dir(base)) != digest(task, base)


def test_a_folder_that_links_back_to_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    (tmp_path / "back").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert digest(task, tmp_path) == digest(task, tmp_path)


def test_a_path_that_does_not_exist_yet_counts_as_text(tmp_path: Path) -> None:
    assert digest(task, tmp_path / "a") == digest(task, tmp_path / "a")
    assert digest(task, tmp_path / "a") != digest(task, tmp_path / "b")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        digest(task, File(tmp_path / "a"))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="neither a file nor a folder"):
        digest(task, tmp_path / "pipe")


def test_an_old_file_is_hashed_once_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"1" * 10)
    os.utime(file, (1_000_000_000, 1_000_000_000))
    memo = FileMemo()
    first = memo.digest(file)
    assert memo.digest(file) == first
    assert memo.hashed == 1
    file.write_bytes(b"2" * 10)
    os.utime(file, (1_000_000_000, 1_000_000_000))  # ctime tells
    assert memo.digest(file) != first
    assert memo.hashed == 2


def test_a_file_that_was_just_written_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"1")
    memo = FileMemo()
    memo.digest(file)
    memo.digest(file)
    assert memo.hashed == 2


def test_the_memo_is_bounded(tmp_path: Path) -> None:
    memo = FileMemo(limit=2)
    for name in "abc":
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    digests = [memo.digest(tmp_path / name) for name in "abc"]
    assert [memo.digest(tmp_path / name) for name in "abc"] == digests
