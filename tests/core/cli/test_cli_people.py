"""What a person reads: sentences and aligned fields, in this process and so with coverage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import flowblob
from flowblob import Run, Store, cached, runs
from flowblob.cli import failures, refs
from flowblob.cli.session import Session

Cli = Callable[..., Any]


@pytest.fixture
def person(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Call the command line as if stdout were a terminal of 100 columns."""
    monkeypatch.setattr(Session, "is_human", property(lambda s: not s.json and not s.quiet))
    monkeypatch.setenv("COLUMNS", "100")
    return cli


@pytest.fixture
def told(store: Store) -> Store:
    @cached(store=store, name="features", kind="dataset")
    def features(day: str) -> list[str]:
        return [day]

    run = Run("airflow", "daily", "manual__1", "features", "ti-1", url="http://host/ti-1")
    with runs.active(run):
        features("monday")
    with flowblob.run("report") as report:
        features("monday")
        store.put("reports/a", {"rows": 3}, tags={"n": 3}, metadata={"by": "ana"}, alias="prod")
        store.get("features")
    store.flush()
    assert report.flow == "report"
    return store


def test_show_aligns_what_is_known_and_leaves_out_what_is_not(person: Cli, told: Store) -> None:
    out = person("show", "reports/a@prod").out
    facts = dict(line.split(None, 1) for line in out.split("\n\n")[0].splitlines())
    assert facts["ref"] == "reports/a@0"
    assert facts["aliases"] == "prod"
    assert facts["tags"] == "n:=3"
    assert facts["metadata"] == '{"by": "ana"}'
    assert "url" not in facts
    assert 'items   {"rows": 3}' in out


def test_show_tells_who_used_it_and_what_the_cache_saved(person: Cli, told: Store) -> None:
    out = person("show", "features").out
    assert "cached as" in out
    assert "served 1 time, " in out
    assert "read by python report" in out
    assert "served to python report" in out
    assert "came from:\n    airflow daily/features" in out


def test_show_tells_the_newest_users_and_how_many_more(person: Cli, store: Store) -> None:
    store.put("a", "x\ny")
    for number in range(13):
        with flowblob.run(f"reader-{number}"):
            store.get("a")
    store.flush()
    out = person("show", "a").out
    assert "reader-12" in out
    assert "reader-0 " not in out
    assert "and 3 earlier" in out


def test_lineage_is_a_tree(person: Cli, told: Store) -> None:
    assert person("lineage", "features").out.startswith("features@0\ncame from:\n  airflow daily/")


def test_why_is_a_sentence_with_its_ingredients(person: Cli, told: Store) -> None:
    out = person("why", "features").out
    assert out.startswith("computed features@0 because no earlier call of features was stored\n")
    assert "  + new      argument day  'monday'\n" in out
    assert "since then: 1 hit, " in out


def test_why_separates_the_calls_of_one_run(person: Cli, store: Store) -> None:
    @cached(store=store, name="features")
    def features(day: str) -> list[str]:
        return [day]

    with flowblob.run("both") as run:
        features("monday"), features("tuesday"), features("monday")
    store.flush()
    out = person("why", "--task-run", run.task_run_id).out
    assert out.count("\n\n") == 2
    assert "  ~ changed  argument day  'monday' -> 'tuesday'\n" in out
    assert "hit features@0 because code and inputs equal those of the call by python both" in out
    assert "and saved" in out


def test_tag_and_promote_say_how_it_is_now(person: Cli, told: Store) -> None:
    assert person("tag", "reports/a", "team=risk").out == "reports/a@0  tags: n:=3 team=risk\n"
    assert person("promote", "reports/a", "best").out == "reports/a@0  is now @best\n"
    assert person("promote", "reports/a", "best", "--remove").out == (
        "reports/a@0  is no longer @best\n"
    )
    assert person("tag", "reports/a", "--remove", "n", "--remove", "team").out.endswith("none\n")


def test_a_tag_may_have_the_name_of_an_argument(cli: Cli, told: Store) -> None:
    assert cli("tag", "reports/a", "self=1", "ref=2", "remove=3").code == 0
    assert told.head("reports/a").tags == {"n": 3, "self": "1", "ref": "2", "remove": "3"}


def test_put_get_and_rm_say_what_they_did(person: Cli, told: Store) -> None:
    Path("a.txt").write_text("hello")
    stored = person("put", "a.txt", "notes/a").out
    assert stored.startswith("stored notes/a@0  5 B  in ")
    assert person("get", "notes/a", "-o", "b.txt").out == "wrote b.txt  from notes/a@0\n"
    assert person("rm", "notes/a@0").out == "deleted notes/a@0\n1 version, 5 B\n"
    assert person("rm", "-n", "reports/a").out.startswith("would delete reports/a@0\n")


def test_log_of_an_alias_names_who_moved_it(person: Cli, told: Store) -> None:
    lines = person("log", "reports/a", "--alias", "prod").out.splitlines()
    assert lines[0].split() == ["version", "when", "by"]
    assert "report" in lines[1]
    assert lines[2] == "1 move of reports/a@prod, newest first"


def test_long_listings_show_digests_and_ids(person: Cli, told: Store) -> None:
    blob = told.head("reports/a")
    assert blob.digest in person("ls", "-l").out
    assert blob.id in person("log", "reports/a", "-l").out
    assert blob.digest not in person("ls").out


def test_listings_end_with_a_total(person: Cli, told: Store) -> None:
    assert person("ls", "--limit", "1").out.splitlines()[-1].startswith("1 blob, ")
    assert "(the first 1; more with --limit)" in person("ls", "--limit", "1").out
    assert person("runs").out.splitlines()[-1] == "2 runs. What one did: flowblob runs RUN"
    assert "1 output" in person("runs", "manual__1").out.splitlines()[-1]
    assert person("cache", "ls").out.splitlines()[-1].startswith("1 entry, 1 hit, ")


def test_an_empty_listing_says_so_on_stderr(person: Cli, told: Store) -> None:
    done = person("ls", "nothing/")
    assert (done.out, done.err) == (
        "0 blobs, 0 B. History: flowblob log KEY\n",
        "flowblob: no blobs match\n",
    )


def test_doctor_ends_with_its_findings(person: Cli, told: Store, folder: Path) -> None:
    assert person("doctor").out.endswith("everything works\n")
    folder.chmod(0o777)
    done = person("doctor")
    assert done.out.endswith("1 warn\n")
    assert [line for line in done.out.splitlines() if len(line) > 100 and "/" not in line] == []
    assert len(person("doctor", "--offline").out) < len(done.out)


def test_verify_says_what_it_did_not_read(person: Cli, told: Store) -> None:
    assert "not read (--full does)" in person("verify").out
    assert "read and hashed" in person("verify", "--full").out


def test_gc_says_what_it_would_free(person: Cli, told: Store) -> None:
    told.delete("features")
    done = person("gc", "--grace", "1ms")
    assert done.out.startswith("would free 1 payload, ")
    assert "flowblob gc --yes" in done.out
    assert person("gc", "--grace", "1ms", "--yes").out.startswith("freed 1 payload, ")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("rep", ["reports/a"]),
        ("reports/a@", ["reports/a@prod", "reports/a@0"]),
        ("reports/a@x", []),
        ("absent@", []),
        ("\x00", []),
    ],
)
def test_completion_offers_what_begins_so(typed: str, offered: list[str], told: Store) -> None:
    from flowblob.cli.app import root

    ctx = click.Context(root, obj=Session())
    param = click.Argument(["ref"])
    assert [item.value for item in refs.complete_ref(ctx, param, typed)] == offered
    only_keys = [item.value for item in refs.complete_key(ctx, param, typed)]
    assert only_keys == [value for value in offered if "@" not in value]


def test_os_errors_name_the_file() -> None:
    assert failures.describe(FileNotFoundError(2, "No such file", "x")).exit == 3
    assert failures.describe(OSError(28, "No space left")).hint.startswith("Free some space")
    assert failures.describe(PermissionError(13, "Permission denied", "/x")).message == (
        "/x: Permission denied"
    )


def test_errors_are_labelled_in_colour_where_there_is_colour(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures.report(failures.Failure(1, "error", "Bad", "Better"), as_json=False, color=True)
    assert capsys.readouterr().err == (
        "\x1b[31m\x1b[1merror:\x1b[0m Bad\n\x1b[36mhint:\x1b[0m  Better\n"
    )
