"""What a person can meet is documented: commands, error codes, exit codes, extras, settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from flowblob import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#]*)(#[^)]*)?\)")


def text(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def test_every_error_stands_in_the_reference_with_its_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", text("docs/reference/errors.md"), re.M))
    classes = {
        name: found.code
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.FlowblobError)
    }
    assert rows == classes


def test_every_error_stands_in_the_tree_of_its_module_with_its_code() -> None:
    rows = dict(re.findall(r"(\w+Error)(?: \(\w+\))?\s+(\w+)(?:\s|$)", errors.__doc__ or ""))
    rows["FlowblobError"] = "error"  # its line is the heading of the columns
    classes = {
        name: found.code
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, errors.FlowblobError)
    }
    assert rows == classes


def test_every_extra_is_documented_where_people_install() -> None:
    extras = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    shown = set(re.findall(r"^\| `flowblob\[(\w+)\]`", text("docs/index.md"), re.M))
    assert shown == set(extras)


def commands() -> Iterator[str]:
    app = pytest.importorskip("flowblob.cli.app")
    root = next(value for value in vars(app).values() if isinstance(value, click.Group))
    yield from root.list_commands(click.Context(root))
    # The hosts' groups are registered whether or not the host is installed.
    yield from ("prefect", "airflow")


def test_every_command_is_documented_and_exists() -> None:
    known = set(commands())
    shown = set(re.findall(r"^\| `flowblob ([a-z-]+)", text("docs/reference/cli.md"), re.M))
    assert shown == known


def test_every_exit_code_is_documented() -> None:
    shown = re.findall(r"^\| (\d+) \|", text("docs/reference/exit-codes.md"), re.M)
    assert [int(code) for code in shown] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]


def test_every_variable_that_is_read_is_documented() -> None:
    page = text("docs/reference/configuration.md")
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "core" / "flowblob").rglob("*.py")
    )
    read = set(re.findall(r"\bFLOWBLOB_[A-Z]+(?:_[A-Z]+)*\b", sources))
    read -= {name for name in read if name.startswith("FLOWBLOB_TEST_")}
    assert {name for name in read if name not in page} == set()


@pytest.mark.parametrize(
    "page",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [match[1] for match in LINK.finditer(page.read_text(encoding="utf-8"))]
    broken = [link for link in targets if link and not (page.parent / link).exists()]
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = text("mkdocs.yml")
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page not in navigation] == []


def test_requirements_name_no_place_to_install_from() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in file.read_text(encoding="utf-8")
