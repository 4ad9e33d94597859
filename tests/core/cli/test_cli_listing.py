"""ls, log, runs, show, tag, promote, rm: what is there, who made it, and how it changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import flowblob
from flowblob import Blob, Run, Store
from flowblob.cli import filters
from flowblob.errors import InvalidInputError

Cli = Callable[..., Any]


@pytest.fixture
def filled(store: Store) -> Store:
    prefect = Run(system="prefect", flow="scoring", run_id="r1", task="score", name="brisk-otter")
    airflow = Run(system="airflow", flow="etl", run_id="m1", task="load", map_index=2)
    store.put("models/churn", b"a" * 2000, kind="ml_model", tags={"team": "risk"}, run=prefect)
    store.put("models/churn", b"b" * 3000, kind="ml_model", tags={"team": "risk"}, run=prefect)
    store.put("models/price", b"c", kind="ml_model", tags={"n": 3, "gpu": True})
    store.put("tables/day", {"rows": 3}, kind="dataset", run=airflow, alias="prod")
    return store


def keys(result: Any) -> list[str]:
    return [row[0] for row in result.rows]


def test_ls_shows_the_newest_version_of_every_key(cli: Cli, filled: Store) -> None:
    assert [row[:2] for row in cli("ls").rows] == [
        ["models/churn", "1"],
        ["models/price", "0"],
        ["tables/day", "0"],
    ]


def test_ls_in_a_pipe_gives_every_field_in_full(cli: Cli, filled: Store) -> None:
    (row,) = cli("ls", "tables/").rows
    blob = filled.head("tables/day")
    assert row[2] == str(blob.size)
    assert row[3:6] == ["prod", "dataset", "airflow etl/load[2]"]
    assert row[8:10] == [blob.digest, blob.id]
    assert row[11] == "m1"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["models/"], ["models/churn", "models/price"]),
        (["--kind", "dataset"], ["tables/day"]),
        (["--flow", "scoring"], ["models/churn"]),
        (["--dag", "etl"], ["tables/day"]),
        (["--dag", "scoring"], []),
        (["--task", "score"], ["models/churn"]),
        (["--run", "m1"], ["tables/day"]),
        (["--by", "prefect"], ["models/churn"]),
        (["--by", "brisk-otter"], ["models/churn"]),
        (["--alias", "prod"], ["tables/day"]),
        (["--tag", "team=risk"], ["models/churn"]),
        (["--tag", "team"], ["models/churn"]),
        (["--tag", "n=3"], ["models/price"]),
        (["--tag", "gpu=true"], ["models/price"]),
        (["--tag", "n=4"], []),
        (["--filter", "size>1KiB"], ["models/churn"]),
        (["--filter", "size<=1KB", "--filter", "kind=ml_model"], ["models/price"]),
        (["--filter", "key=*/price"], ["models/price"]),
        (["--filter", "key!=models/*"], ["tables/day"]),
        (["--filter", "age>1d"], []),
        (["--filter", "created>2020-01-01"], ["models/churn", "models/price", "tables/day"]),
        (["--filter", "version>=1"], ["models/churn"]),
        (["--sort", "size"], ["models/churn", "tables/day", "models/price"]),
        (["--sort", "size:asc"], ["models/price", "tables/day", "models/churn"]),
        (["--sort", "key:desc", "--limit", "1"], ["tables/day"]),
        (["--limit", "2"], ["models/churn", "models/price"]),
    ],
)
def test_ls_filters_and_sorts(
    args: list[str], expected: list[str], cli: Cli, filled: Store
) -> None:
    assert keys(cli("ls", *args)) == expected


def test_ls_by_alias_lists_what_it_points_at(cli: Cli, filled: Store) -> None:
    filled.promote("models/churn@0", "prod")
    assert cli("ls", "--alias", "prod", "-q").out.split() == ["models/churn@0", "tables/day@0"]
    assert cli("ls", "--alias", "prod", "--flow", "scoring", "-q").out == "models/churn@0\n"
    assert cli("ls", "models/", "--alias", "prod", "--kind", "dataset", "-q").out == ""


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--filter", "siez>1"], "Did you mean 'size'"),
        (["--filter", "size"], "Invalid filter"),
        (["--filter", "size>many"], "Invalid size"),
        (["--filter", "age>soon"], "Invalid age"),
        (["--filter", "key>a"], "compares text"),
        (["--filter", "created>yesterday"], "Invalid date"),
        (["--sort", "siez"], "Did you mean 'size'"),
        (["--sort", "size:up"], "Invalid sort"),
        (["--flow", "a", "--dag", "b"], "exclude each other"),
    ],
)
def test_ls_says_what_is_wrong_with_a_condition(
    args: list[str], says: str, cli: Cli, filled: Store
) -> None:
    done = cli("ls", *args)
    assert done.code == 2
    assert says in done.err


def test_ages_are_compared_with_the_time_of_writing() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    made = now - timedelta(days=10)
    blob = Blob("i", "k", 0, "n", "d", 1, "c", "", "", "", made)
    assert filters.parse_filter("age>9d", now)(blob)
    assert not filters.parse_filter("age>11d", now)(blob)
    assert filters.parse_filter("age <= 10d", now)(blob)


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("v=1.10", ("v", "1.10")),
        ("v=", ("v", "")),
        ("v=a=b", ("v", "a=b")),
        ("n:=3", ("n", 3)),
        ("n:=0.5", ("n", 0.5)),
        ("n:=true", ("n", True)),
        ('n:="3"', ("n", "3")),
    ],
)
def test_a_tag_is_text_unless_it_says_otherwise(text: str, tag: tuple[str, object]) -> None:
    read = filters.parse_tag(text)
    assert read == tag
    assert type(read[1]) is type(tag[1])


@pytest.mark.parametrize("text", ["v", "=1", "n:=abc", "n:=[1]", "n:=null", ":=1"])
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        filters.parse_tag(text)


def test_tags_are_set_and_removed_in_place(cli: Cli, filled: Store) -> None:
    cli("tag", "models/churn@0", "stage=production", "rows:=7", "--remove", "team")
    assert dict(filled.resolve("models/churn@0").tags) == {"stage": "production", "rows": 7}


def test_log_lists_versions_newest_first(cli: Cli, filled: Store) -> None:
    assert cli("log", "models/churn", "-q").out == "models/churn@1\nmodels/churn@0\n"
    assert cli("log", "models/churn", "--limit", "1", "-q").out == "models/churn@1\n"


def test_log_takes_any_reference_for_its_key(cli: Cli, filled: Store) -> None:
    blob = filled.resolve("models/churn@0")
    assert cli("log", f"id:{blob.id}", "-q").out == cli("log", "models/churn@1", "-q").out


def test_log_shows_the_moves_of_an_alias(cli: Cli, filled: Store) -> None:
    cli("promote", "models/churn@0", "best")
    cli("promote", "models/churn@1", "best", "--expect", "0")
    assert [row[0] for row in cli("log", "models/churn", "--alias", "best").rows] == ["1", "0"]
    assert cli("log", "models/churn", "--alias", "worst").code == 3


def test_promote_fails_when_the_alias_moved(cli: Cli, filled: Store) -> None:
    cli("promote", "models/churn@1", "best")
    assert cli("promote", "models/churn@0", "best", "--expect", "0").code == 5
    assert filled.resolve("models/churn@best").version == 1


def test_promote_takes_an_alias_away(cli: Cli, filled: Store) -> None:
    assert cli("promote", "tables/day", "prod", "--remove").code == 0
    assert cli("show", "tables/day@prod").code == 3


def test_an_immutable_alias_never_moves(cli: Cli, filled: Store) -> None:
    cli("promote", "models/churn@0", "v1.0", "--immutable")
    assert cli("promote", "models/churn@1", "v1.0").code == 5


def test_rm_of_a_key_needs_a_yes(cli: Cli, filled: Store) -> None:
    done = cli("rm", "models/churn")
    assert done.code == 2
    assert "flowblob rm --yes models/churn" in done.err
    assert filled.exists("models/churn")
    assert cli("rm", "--yes", "models/churn").code == 0
    assert not filled.exists("models/churn")


def test_rm_of_a_version_leaves_the_others(cli: Cli, filled: Store) -> None:
    assert cli("rm", "models/churn@0", "-q").out == "models/churn@0\n"
    assert [blob.version for blob in filled.versions("models/churn")] == [1]


def test_rm_of_latest_is_one_version_and_not_the_key(cli: Cli, filled: Store) -> None:
    assert cli("rm", "models/churn@latest", "-q").out == "models/churn@1\n"
    assert filled.head("models/churn").version == 0


def test_rm_takes_a_version_beside_its_key(cli: Cli, filled: Store) -> None:
    done = cli("rm", "-y", "models/churn@0", "models/churn@0", "models/churn", "-q")
    assert done.code == 0
    assert sorted(done.out.split()) == ["models/churn@0", "models/churn@1"]


def test_rm_refuses_a_version_that_an_alias_points_at(cli: Cli, filled: Store) -> None:
    assert cli("rm", "tables/day@0").code == 5
    assert filled.exists("tables/day@0")


def test_rm_checks_every_reference_before_it_deletes_any(cli: Cli, filled: Store) -> None:
    assert cli("rm", "models/price@0", "models/absent@0").code == 3
    assert filled.exists("models/price@0")


def test_a_dry_run_deletes_nothing(cli: Cli, filled: Store) -> None:
    told = cli("rm", "-n", "models/churn", "--json").json
    assert (told["dry_run"], len(told["blobs"])) == (True, 2)
    assert filled.exists("models/churn")


def test_a_person_is_asked_before_a_key_goes(terminal: Cli, filled: Store) -> None:
    code, painted = terminal("rm", "models/churn", answer=b"n\n")
    assert "Delete models/churn with all history (2 versions" in painted
    assert (code, filled.exists("models/churn")) == (1, True)
    code, painted = terminal("rm", "models/churn", answer=b"y\n")
    assert (code, filled.exists("models/churn")) == (0, False)


def test_runs_are_filtered(cli: Cli, filled: Store) -> None:
    assert [row[1:4] for row in cli("runs", "--system", "prefect").rows] == [
        ["prefect", "scoring", "score"]
    ]
    assert [row[4] for row in cli("runs", "--dag", "etl").rows] == ["2"]
    assert cli("runs", "--task", "nothing").rows == []


def test_runs_of_one_name_tell_what_it_read_and_wrote(cli: Cli, filled: Store) -> None:
    with flowblob.run("report") as run:
        filled.get("models/churn@0")
        filled.put("reports/a", 1)
    filled.flush()
    roles = {(row[0], row[1]) for row in cli("runs", run.run_id).rows}
    assert roles == {("input", "models/churn@0"), ("output", "reports/a@0")}
    assert {row[1] for row in cli("runs", "brisk-otter").rows} == {
        "models/churn@0",
        "models/churn@1",
    }


def test_show_tells_everything_without_loading(cli: Cli, filled: Store) -> None:
    with flowblob.run("report"):
        filled.get("tables/day")
        filled.put("reports/a", 1)
    filled.flush()
    told = cli("show", "tables/day", "--json").json
    assert told["blob"]["preview"]["items"] == {"rows": 3}
    assert told["producer"]["flow"] == "etl"
    assert [use["run"]["flow"] for use in told["consumers"]] == ["report"]
    assert "reports/a@0" in told["lineage"]["blobs"].values()
    assert "flowchart" in cli("lineage", "tables/day", "--mermaid").out


def test_show_takes_every_form_of_reference(cli: Cli, filled: Store) -> None:
    blob = filled.head("tables/day")
    for ref in ("tables/day", "tables/day@0", "tables/day@prod", f"id:{blob.id}", blob.digest):
        assert cli("show", ref, "-q").out == "tables/day@0\n"
