"""Files and folders inside values."""

from __future__ import annotations

import dataclasses
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from flowblob import Dir, File, serializers
from flowblob.errors import InvalidInputError


@dataclasses.dataclass
class Model:
    name: str
    weights: Any = None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "made"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("alpha")
    (root / "sub" / "b.bin").write_bytes(b"\x00beta")
    return root


def test_files_and_folders_stand_anywhere_in_a_value(folder: Path, there_and_back: Any) -> None:
    value = {
        "report": [File(folder / "a.txt")],
        "model": Model("m", (Dir(folder), File(folder / "sub" / "b.bin"))),
    }
    chosen, found = there_and_back(value)
    assert chosen == "pickle5"
    (report,) = found["report"]
    tree, binary = found["model"].weights
    assert (type(report), report.name, report.read_text()) == (File, "a.txt", "alpha")
    assert (type(tree), tree.name) == (Dir, "made")
    assert (tree / "sub" / "b.bin").read_bytes() == binary.read_bytes() == b"\x00beta"
    assert not report.path.is_relative_to(folder)


def test_equal_files_are_one_part(folder: Path, dump: Any) -> None:
    (folder / "copy.txt").write_text("alpha")
    written = dump([File(folder / "a.txt"), File(folder / "copy.txt"), Dir(folder)])
    assert sorted(written.parts.values()) == [b"\x00beta", b"alpha"]


def test_a_missing_file_inside_a_value_is_named(folder: Path, dump: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"missing\.txt"):
        dump({"f": File(folder / "missing.txt")})


def test_a_stored_file_name_cannot_lead_elsewhere(reader: Any) -> None:
    from flowblob.serializers import pickles

    for name in ("../x", "/etc/x", "a\x00b", "..", ""):

        class Evil:
            def __reduce__(self, name: str = name) -> Any:
                return (pickles._file, ("part", name))

        stream = pickle.dumps(Evil(), 5)
        data = stream + struct.pack("<QQI12s", len(stream), 0, 1, b"flowblob-pk5")
        with pytest.raises(Exception, match="no file name"):
            serializers.by_id("pickle5").load(reader(data, {"part": b"x"}))


def test_paths_stay_paths(folder: Path, there_and_back: Any) -> None:
    value = {"path": folder / "a.txt"}
    assert there_and_back(value) == ("pickle5", value)
