"""Tables, colour, progress and names that would like to run in the reader's terminal."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowblob import Run, Store, wording
from flowblob.cli import progress, table, text
from flowblob.cli.listing import BLOB_COLUMNS
from flowblob.cli.session import Session, wants_color
from flowblob.cli.table import Column

Cli = Callable[..., Any]


class Plain:
    def style(self, text_: object, **style: Any) -> str:
        return text.clean(text_)


def test_a_terminal_gets_a_table_with_a_total(terminal: Cli, store: Store) -> None:
    store.put("a/long/name", b"x" * 5000, kind="dataset")
    code, painted = terminal("ls", "--color", "never")
    lines = painted.splitlines()
    assert code == 0
    assert lines[0].split() == ["key", "version", "size", "kind", "when"]
    assert lines[1].split() == ["a/long/name", "0", "4.9", "KiB", "dataset", "now"]
    assert lines[2].startswith("1 blob, 4.9 KiB")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120])
def test_a_narrow_terminal_cuts_nothing_that_one_would_copy(width: int, store: Store) -> None:
    run = Run(system="prefect", flow="a-very-long-flow-name", run_id="r", task="some_task")
    key = "a/key/that/is/thirty-characters"
    store.put(key, b"x" * 5000, kind="dataset", tags={"a": "b" * 50}, run=run, alias="champion")
    lines = list(table.render(store.ls(), BLOB_COLUMNS, Plain(), width))
    assert key in lines[1]
    assert "4.9 KiB" in lines[1]
    assert max(map(len, lines)) <= max(width, len(key) + 2 + len("version") + 2 + len("4.9 KiB"))


def test_columns_go_by_priority() -> None:
    columns = [
        Column("name", lambda item: "n" * 10, priority=9),
        Column("when", lambda item: "w" * 10, priority=7),
        Column("note", lambda item: "o" * 10, priority=2),
    ]
    heads = [next(table.render([1], columns, Plain(), width)).split() for width in (40, 25, 15)]
    assert heads == [["name", "when", "note"], ["name", "when"], ["name"]]


def test_a_flexible_column_is_cut_before_it_goes() -> None:
    columns = [
        Column("name", lambda item: "n" * 10, priority=9),
        Column("by", lambda item: "b" * 30, priority=6, is_flexible=True),
    ]
    (line,) = list(table.render([1], columns, Plain(), 30))[1:]
    assert line == "n" * 10 + "  " + "b" * 17 + "…"


def test_wide_characters_count_twice() -> None:
    columns = [Column("key", lambda item: item, priority=9), Column("x", lambda item: "|")]
    lines = list(table.render(["表", "ab"], columns, Plain(), 40))
    assert [line.rpartition("|")[0] for line in lines[1:]] == ["表   ", "ab   "]


def test_a_pipe_gets_no_colour_and_no_heading(cli: Cli, store: Store) -> None:
    store.put("a", 1)
    out = cli("ls").out
    assert out.startswith("a\t0\t1\t")
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("choice", "env", "is_terminal", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"CLICOLOR_FORCE": "1"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"CLICOLOR": "0"}, True, False),
        ("auto", {"CLICOLOR_FORCE": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "0"}, False, False),
        ("auto", {"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, True, False),
        ("auto", {"TERM": "dumb"}, True, False),
    ],
)
def test_colour_follows_the_option_and_then_the_environment(
    choice: str,
    env: dict[str, str],
    is_terminal: bool,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert wants_color(choice, is_terminal=is_terminal) is expected


def test_a_terminal_gets_colour_unless_no_color(terminal: Cli, store: Store) -> None:
    store.put("a", 1)
    assert "\x1b[" in terminal("ls")[1]
    assert "\x1b[" not in terminal("ls", NO_COLOR="1")[1]
    assert "\x1b[" not in terminal("ls", "--color", "never")[1]


@pytest.mark.parametrize(
    "hostile", ["\x1b[31mred", "a\nb", "a\tb", "\x9b31m", "\u202etxt.exe", "\x07"]
)
def test_a_hostile_name_does_not_reach_the_terminal(
    hostile: str, cli: Cli, terminal: Cli, store: Store
) -> None:
    run = Run(flow=hostile, run_id=hostile or "r", name=hostile, url=hostile)
    store.put("a", 1, tags={"note": hostile}, metadata={"note": hostile}, kind=hostile, run=run)
    for command in (["ls"], ["show", "a"], ["runs"], ["log", "a"]):
        done = cli(*command)
        assert hostile not in done.out, command
        assert done.out.count("\n") == len(done.rows)
        assert hostile not in terminal(*command, "--color", "never")[1], command


@given(st.text())
def test_clean_text_has_no_control_characters(raw: str) -> None:
    cleaned = text.clean(raw)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in cleaned)
    assert text.clean(cleaned) == cleaned


def test_a_key_that_the_terminals_encoding_lacks_is_escaped(program: Cli, store: Store) -> None:
    store.put("größe/表", 1)
    done = program("ls", "-q", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 0
    assert done.stdout == "größe/\\u8868@0\n".encode("latin-1")


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (102_348, "99.9 KiB"),
        (102_400, "100 KiB"),
        (1_023_999, "1.0 MiB"),
        (418 << 20, "418 MiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_sizes_have_at_most_four_signs(count: int, shown: str) -> None:
    assert wording.size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.12, "120 ms"),
        (0.9999, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (862, "14 min 22 s"),
        (26_700, "7 h 25 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_have_two_units(seconds: float, shown: str) -> None:
    assert wording.duration(seconds) == shown
    assert wording.duration(timedelta(seconds=seconds)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "now"), (-3, "now"), (59, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago")],
)
def test_ages_are_told_from_now(seconds: int, shown: str) -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert text.age(now - timedelta(seconds=seconds), now) == shown


def test_old_and_future_moments_are_dates() -> None:
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert text.age(now - timedelta(days=40), now) == "2026-10-12"
    assert text.age(now + timedelta(minutes=5), now) == "2026-11-21 12:05"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_says_bytes_rate_and_time_left_in_binary_units() -> None:
    clock = Clock()
    meter = progress.Meter(100 << 20, clock)
    clock.now = 2.0
    meter.add(20 << 20)
    assert meter.line("storing") == "storing, 20.0 MiB of 100 MiB, 20%, 10.0 MiB/s, ETA 8.0 s"
    line = meter.line("storing", 100)
    assert line.endswith("storing  20.0 MiB of 100 MiB  20%  10.0 MiB/s  ETA 8.0 s")
    assert (line.count("━"), line.count("─")) == (6, 22)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    meter = progress.Meter(None, clock)
    for _ in range(20):
        clock.now += 1
        meter.add(10 << 20)
        meter.rate()
    for _ in range(10):
        clock.now += 1
        meter.add(1 << 20)
        meter.rate()
    assert meter.rate() == pytest.approx(1 << 20)


@pytest.mark.parametrize("width", [10, 30, 60, 200])
def test_a_progress_line_never_wraps(width: int) -> None:
    clock = Clock()
    meter = progress.Meter(5 << 30, clock)
    clock.now = 3.0
    meter.add(1 << 30)
    assert len(meter.line("storing", width)) < width


def test_all_bytes_done_is_not_yet_the_end() -> None:
    meter = progress.Meter(10, Clock())
    meter.add(10)
    assert "finishing" in meter.line("storing")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_transfer_is_painted_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST_PAINT", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress.Transfer(Session(), "storing", 100, stream=stream) as transfer:
        while not transfer._painted:
            transfer(1)
    assert "storing" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_log_gets_lines_and_no_escape_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_LINE", 0.0)
    stream = io.StringIO()
    with progress.Transfer(Session(), "storing", 100, stream=stream) as transfer:
        while not transfer._painted:
            transfer(1)
    assert stream.getvalue().startswith("flowblob: storing, ")
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_count_is_said_as_one() -> None:
    tally = progress.Tally(None)
    tally.add(1234)
    assert tally.line("looking") == "looking, 1,234 so far"
    assert tally.line("looking", 15) == "looking  1,234"


@pytest.mark.parametrize("session", [Session(progress=False), Session(quiet=True)])
def test_progress_can_be_switched_off(session: Session) -> None:
    with progress.Transfer(session, "storing", 100, stream=Terminal()) as transfer:
        assert transfer._thread is None


def test_a_terminal_that_goes_away_does_not_end_the_transfer() -> None:
    stream = Terminal()
    stream.close()
    transfer = progress.Transfer(Session(), "storing", 100, stream=io.StringIO())
    transfer._stream = stream
    transfer._write("x")
    assert transfer._over.is_set()


def test_the_answer_of_put_on_a_terminal_names_the_version(terminal: Cli) -> None:
    Path("a.txt").write_text("hello")
    code, painted = terminal("put", "a.txt", "notes/a", "--alias", "prod", "--color", "never")
    assert code == 0
    assert "stored notes/a@0  5 B  in " in painted
    assert "@prod" in painted
    assert "unchanged notes/a@0" in terminal("put", "a.txt", "notes/a", "--color", "never")[1]


def test_binary_is_not_poured_over_a_terminal(terminal: Cli, store: Store) -> None:
    store.put("text", "grüße\n")
    store.put("bytes", os.urandom(500) + b"\x00")
    assert terminal("cat", "text") == (0, "grüße\n")
    code, painted = terminal("cat", "bytes", "--color", "never")
    assert code == 1
    assert painted.startswith("error: bytes@0 is binary")
