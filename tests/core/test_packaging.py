"""What an installation gives: one copy, typed, light, with the declared entry points."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import flowblob

ROOT = Path(__file__).parents[2]


def python(code: str, *, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, text=True, capture_output=True, check=False
    )


def test_a_second_copy_under_the_name_of_its_folder_is_refused() -> None:
    # An editable install puts the repository root on the path, and with it the folder `core`.
    done = python("import core.flowblob")
    assert done.returncode == 1, done.stderr
    assert "ImportError" in done.stderr


def test_importing_flowblob_loads_no_third_party_module(tmp_path: Path) -> None:
    code = (
        "import sys; before = set(sys.modules); import flowblob;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    done = python(code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    loaded = {name for name in done.stdout.split() if not name.startswith("_")}
    assert loaded - set(sys.stdlib_module_names) == {"flowblob"}


def test_public_names_are_sorted_and_exist() -> None:
    assert list(flowblob.__all__) == sorted(flowblob.__all__)
    assert [name for name in flowblob.__all__ if not hasattr(flowblob, name)] == []


@pytest.mark.parametrize("package", ["flowblob", "flowblob_airflow", "flowblob_prefect"])
def test_every_package_says_that_it_is_typed(package: str) -> None:
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    assert Path(found.origin).with_name("py.typed").exists()


def test_entry_points_name_modules_that_exist() -> None:
    missing = [
        entry.value
        for entry in importlib.metadata.distribution("flowblob").entry_points
        if not _file(entry.module).exists()
    ]
    assert missing == []


def _file(module: str) -> Path:
    """Return where a module of ours stands; importing it would ask for its host."""
    root = ROOT / "core" if module.partition(".")[0] == "flowblob" else ROOT
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_the_provider_is_named_as_the_distribution_is() -> None:
    # Airflow stops discovering every provider if one says otherwise.
    from flowblob_airflow.get_provider_info import get_provider_info

    assert get_provider_info()["package-name"] == "flowblob"
