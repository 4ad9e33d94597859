"""Bundles made to harm: refused as a whole, and nothing of them is ever visible."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Run, Store
from flowblob.errors import InvalidInputError
from flowblob.payload import xxh3

Members = list[tuple[tarfile.TarInfo, bytes]]
Change = Callable[[Any], Any]

NOWHERE = "00000000-0000-0000-0000-000000000000"
DROPPED = ["2026-11-21T00:00:00.000000Z", "", "dropped"]


@pytest.fixture
def file(old: Store, tmp_path: Path) -> Path:
    """A sound bundle with a little of everything."""
    run = Run(flow="f", run_id="r", used={"x": 1})
    raw = old.put("raw", b"raw", run=run)
    for number in range(3):
        old.put("k", bytes([number]) * 40_000, parents=[raw], tags={"n": number}, alias="prod")
    old.delete("k@1")
    old.catalog.bind("host", "name", blob_id=raw.id, record=b"x")
    old.export_to(tmp_path / "bundle.tar")
    return tmp_path / "bundle.tar"


def _read(file: Path) -> Members:
    with tarfile.open(file, "r:") as bundle:
        members = bundle.getmembers()
        return [(info, bundle.extractfile(info).read()) for info in members]


def _write(file: Path, members: Members) -> None:
    with tarfile.open(file, "w:", format=tarfile.GNU_FORMAT) as bundle:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            bundle.addfile(info, io.BytesIO(data))


def _assert_refused(new: Store, file: Path, words: str = "no sound bundle|Cannot read") -> None:
    with pytest.raises(InvalidInputError, match=words) as refused:
        new.import_from(file, allow_pickle=True)
    assert str(file) in str(refused.value)
    counts = new.catalog.facts()["counts"]
    assert (counts["version"], counts["incarnation"], counts["payload"]) == (0, 0, 0)
    assert list(new.storage.names()) == []


def _change_records(file: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the manifest as a forger would, who also writes its digest anew."""
    members = dict(_position(_read(file)))
    manifest = members["manifest.jsonl"]
    lines = [json.loads(line) for line in manifest[1].splitlines()]
    changed = change(lines)
    _forge(file, b"".join(json.dumps(line).encode() + b"\n" for line in changed or lines))


def _position(members: Members) -> list[tuple[str, tuple[tarfile.TarInfo, bytes]]]:
    return [(info.name, (info, data)) for info, data in members]


def _forge(file: Path, manifest: bytes) -> None:
    members = _read(file)
    end = json.loads(members[-1][1]) | {"sha256": hashlib.sha256(manifest).hexdigest()}
    members[-2] = (members[-2][0], manifest)
    members[-1] = (members[-1][0], json.dumps(end).encode())
    _write(file, members)


def _record(lines: list[dict[str, Any]], kind: str, number: int = 0) -> Any:
    return [line["record"] for line in lines if line["kind"] == kind][number]


# ------------------------------------------------------------------ the file


def test_the_sound_bundle_is_taken(new: Store, file: Path) -> None:
    assert new.import_from(file).versions == 4
    _write(file, _read(file))  # by another program, which fills up the last record
    assert new.import_from(file).versions == 0


def test_a_bundle_cut_anywhere_is_refused(new: Store, file: Path) -> None:
    whole = file.read_bytes()
    places = {0, 1, 511, 512, 513, len(whole) - 1, len(whole) - 512, len(whole) - 1024}
    places |= set(range(700, len(whole), len(whole) // 40))
    for place in sorted(places):
        file.write_bytes(whole[:place])
        _assert_refused(new, file)


def test_a_bundle_with_any_byte_changed_is_refused_or_means_the_same(
    new: Store, old: Store, file: Path, tmp_path: Path, everything: Any
) -> None:
    whole = file.read_bytes()
    chance = random.Random(7)
    taken = 0
    for _ in range(150):
        place = chance.randrange(len(whole))
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        with Store("memory://") as target:
            try:
                target.import_from(file, allow_pickle=True)
            except InvalidInputError:
                assert everything(target)["version"] == []
            else:  # what fills a member up to its sector belongs to nothing
                taken += 1
                assert everything(target) == everything(old)
    assert taken < 40


@pytest.mark.parametrize(
    "name",
    [
        "../outside", "/etc/passwd", "payloads/../../outside", "payloads/ab/ab", "unknown.json",
        "payloads/00/" + "a" * 64, "payloads/aa/" + "A" * 64, "payloads/aa/" + "a" * 64 + "/x",
    ],
)  # fmt: skip
def test_a_member_of_another_name_is_refused(new: Store, file: Path, name: str) -> None:
    members = _read(file)
    members.insert(1, (tarfile.TarInfo(name), b"x"))
    _write(file, members)
    _assert_refused(new, file)
    assert not Path("/outside").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
     tarfile.DIRTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"],
)  # fmt: skip
def test_a_member_that_is_no_plain_file_is_refused(new: Store, file: Path, kind: bytes) -> None:
    members = _read(file)
    digest = hashlib.sha256(b"").hexdigest()
    info = tarfile.TarInfo(f"payloads/{digest[:2]}/{digest}")
    info.type, info.linkname = kind, "/etc/passwd" if kind != tarfile.DIRTYPE else ""
    members.insert(1, (info, b""))
    _write(file, members)
    _assert_refused(new, file)


def test_headers_of_any_length_are_not_read_into_memory(new: Store, file: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    file.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 10_000)
    _assert_refused(new, file)


@pytest.mark.parametrize("size", [1 << 40, (1 << 63) - 1, 1 << 87, -1])
def test_a_member_larger_than_the_file_is_refused(new: Store, file: Path, size: int) -> None:
    whole = bytearray(file.read_bytes())
    info = tarfile.TarInfo.frombuf(bytes(whole[1024:1536]), "ascii", "strict")
    info.size = size
    whole[1024:1536] = info.tobuf(tarfile.GNU_FORMAT)
    file.write_bytes(whole)
    _assert_refused(new, file, "cut off")


def test_payloads_that_are_not_what_they_are_named_are_refused(new: Store, file: Path) -> None:
    members = _read(file)
    info, data = members[2]
    members[2] = (info, b"\xff" + data[1:])
    _write(file, members)
    _assert_refused(new, file, "damaged")


def test_missing_doubled_and_needless_payloads_are_refused(new: Store, file: Path) -> None:
    members = _read(file)
    digest = hashlib.sha256(b"needless").hexdigest()
    needless = (tarfile.TarInfo(f"payloads/{digest[:2]}/{digest}"), b"needless")
    for forged in (
        [*members[:1], *members[2:]],
        [*members[:2], members[1], *members[2:]],
        [members[0], needless, *members[1:]],
    ):
        end = json.loads(forged[-1][1]) | {"payloads": len(forged) - 3}
        _write(file, [*forged[:-1], (forged[-1][0], json.dumps(end).encode())])
        _assert_refused(new, file)


def test_members_in_another_order_are_refused(new: Store, file: Path) -> None:
    members = _read(file)
    for order in ([1, 0], [len(members) - 2, 0], [0, len(members) - 1]):
        chosen = [members[place] for place in order]
        rest = [item for place, item in enumerate(members) if place not in order]
        _write(file, chosen + rest)
        _assert_refused(new, file)


def test_what_stands_behind_the_end_is_refused(new: Store, file: Path) -> None:
    with file.open("ab") as out:
        out.write(b"\0" * 512 + b"hidden")
    _assert_refused(new, file, "behind its end")
    whole = file.read_bytes()
    file.write_bytes(whole.rstrip(b"hidden"))
    with file.open("r+b") as out:
        out.truncate(1 << 40)  # a hole that would take an hour to read
    _assert_refused(new, file, "behind its end")


@pytest.mark.parametrize("head", [{"format": 2}, {"format": "1"}, {"format": [1]}, {}, [], 1])
def test_an_unknown_format_is_refused(new: Store, file: Path, head: Any) -> None:
    members = _read(file)
    members[0] = (members[0][0], json.dumps(head).encode())
    _write(file, members)
    _assert_refused(new, file)


def test_compressed_bundles_and_other_files_are_refused(
    new: Store, file: Path, tmp_path: Path
) -> None:
    whole = file.read_bytes()
    for data in (b"", b"\0" * 1024, b"PK\3\4", os.urandom(4096), gzip.compress(whole)):
        file.write_bytes(data)
        _assert_refused(new, file)
    _assert_refused(new, tmp_path)
    _assert_refused(new, tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    _assert_refused(new, tmp_path / "pipe")  # and nobody waits for a writer
    _assert_refused(new, Path("/dev/zero"))


# ------------------------------------------------------------------ the records


def _set(kind: str, number: int = 0, /, **fields: Any) -> Change:
    return lambda lines: _record(lines, kind, number).update(fields)


def _drop_field(lines: Any) -> None:
    del _record(lines, "version")["op"]


def _drop_version(lines: Any) -> Any:
    gone = _record(lines, "version", 1)
    return [line for line in lines if line["record"] is not gone]


def _move_first(lines: Any) -> Any:
    return [lines[-1], *lines[:-1]]


WRONG = {
    "an unknown kind": lambda lines: lines[0].update(kind="command"),
    "a kind that is no text": lambda lines: lines[0].update(kind=["run"]),
    "a further field": _set("version", code="import os"),
    "a missing field": _drop_field,
    "a record that is no dict": lambda lines: lines[0].update(record=[1]),
    "a line with more than a record": lambda lines: lines[0].update(extra=1),
    "an id that is no uuid": _set("version", id="../../x"),
    "a key that cannot be": _set("incarnation", key="a/../b"),
    "a key of control characters": _set("incarnation", key="a\nb"),
    "a negative number": _set("version", version=-1),
    "a number that is text": _set("version", version="0"),
    "a number that is true": _set("version", version=True),
    "a number beyond 64 bits": _set("version", size=1 << 63),
    "a time without a zone": _set("version", created_at="2026-11-21T00:00:00.000000"),
    "a time that is no time": _set("version", created_at="yesterday"),
    "a digest of another kind": _set("version", digest="md5:abc"),
    "content that is no hex": _set("version", content="zz"),
    "metadata that is a list": _set("version", metadata=[1]),
    "metadata of a mebibyte": _set("version", metadata={"a": "x" * (1 << 20)}),
    "a lone surrogate": _set("version", kind="\ud800"),
    "a null byte": _set("version", filename="a\0b"),
    "a run of an unknown system": lambda ls: _record(ls, "version")["run"].update(system="cron"),
    "an alias of digits": lambda ls: _record(ls, "aliases")["history"][0].__setitem__(0, "12"),
    "a tag that is a list": lambda ls: _record(ls, "tags")["history"][0].__setitem__(1, [1]),
    "an unknown role": _set("use", role="owner"),
    "an unknown cause": _set("tombstone", cause="because"),
    "a record that is no base64": _set("bound", record="?"),
    "a preview that is no text": _set("version", preview={"a": 1}),
    "a version that is missing": _drop_version,
    "a version twice": lambda lines: [*lines[:4], lines[3], *lines[4:]],
    "a version of another key": _set("version", 1, key="raw"),
    "a version of no incarnation": _set("version", incarnation=NOWHERE),
    "records in another order": _move_first,
    "a payload that is not there": lambda ls: _record(ls, "version", 1)["payloads"][0].__setitem__(
        1, "sha256:" + "0" * 64
    ),
    "another size": lambda ls: _record(ls, "version", 1)["payloads"][0].__setitem__(2, 1),
    "another checksum": lambda ls: _record(ls, "version", 1).update(
        checksum=xxh3(b"other").hexdigest(),
        payloads=[[*_record(ls, "version", 1)["payloads"][0][:3], xxh3(b"other").hexdigest()]],
    ),
    "a main payload of another digest": _set("version", 1, digest="sha256:" + "0" * 64),
    "a dropped version with payloads": _set("version", 1, dropped=DROPPED),
    "a version before itself": _set("version", 1, prev_version=7),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_forged_record_is_refused(new: Store, file: Path, wrong: str) -> None:
    before = file.read_bytes()
    _change_records(file, WRONG[wrong])
    assert file.read_bytes() != before
    _assert_refused(new, file)


@pytest.mark.parametrize(
    "line", [b"{", b"\xff", b"[" * 100_000, b'{"kind": "run", "record": ' + b"9" * 5000 + b"}"]
)
def test_a_line_that_is_no_record_is_refused(new: Store, file: Path, line: bytes) -> None:
    _forge(file, line + b"\n")
    _assert_refused(new, file)


def test_a_line_without_end_is_refused(
    new: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowblob.bundle._LINE", 1 << 20)
    _forge(file, b'"' + b"x" * (3 << 20) + b'"\n')
    _assert_refused(new, file, "too long")


def test_a_manifest_that_its_end_does_not_know_is_refused(new: Store, file: Path) -> None:
    members = _read(file)
    members[-2] = (members[-2][0], members[-2][1] + b"\n")
    _write(file, members)
    _assert_refused(new, file, "manifest is damaged")
