"""The wheel alone: what `pip install flowblob` gives to someone who has nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
QUICKSTART = """
import flowblob

store = flowblob.Store()
blob = store.put("reports/daily", {"rows": [1, 2, 3]})
assert store.get("reports/daily@0") == {"rows": [1, 2, 3]}


@flowblob.cached
def double(number):
    print("computing")
    return 2 * number


assert double(21) == double(21) == 42
print(blob.ref)
"""


def run(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], text=True, capture_output=True, check=False, **options
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", folder, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of an environment that holds the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    run(UV, "venv", "--quiet", "--python", sys.executable, folder)
    run(UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", wheel)
    return folder / "bin"


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("LANG", "PATH", "TMPDIR")}
    return kept | {"HOME": str(tmp_path)}


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """A file, since a cached function counts by its source and `python -c` keeps none."""
    file = tmp_path / "quickstart.py"
    file.write_text(QUICKSTART, encoding="utf-8")
    return file


def test_the_wheel_holds_three_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "flowblob",
        "flowblob_airflow",
        "flowblob_prefect",
    }


def test_every_source_file_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    roots = (ROOT / "core", "flowblob"), (ROOT, "flowblob_airflow"), (ROOT, "flowblob_prefect")
    files = {
        path.relative_to(root).as_posix()
        for root, package in roots
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert files - inside == set()


def test_the_command_starts_without_any_extra(bare: Path, clean: dict[str, str]) -> None:
    assert "Usage: flowblob" in run(bare / "flowblob", "--help", env=clean)
    assert "0.1.0" in run(bare / "flowblob", "--version", env=clean)


def test_the_quick_start_runs_without_any_extra(
    bare: Path, clean: dict[str, str], quickstart: Path
) -> None:
    said = run(bare / "python", "-W", "error", quickstart, env=clean, cwd=quickstart.parent)
    assert said.split() == ["computing", "reports/daily@0"]


def test_the_command_sees_what_python_stored(
    bare: Path, clean: dict[str, str], quickstart: Path
) -> None:
    run(bare / "python", quickstart, env=clean, cwd=quickstart.parent)
    assert "reports/daily" in run(bare / "flowblob", "ls", env=clean, cwd=quickstart.parent)


@pytest.mark.parametrize("host", ["prefect", "airflow"])
def test_a_missing_host_is_said_with_the_extra_that_brings_it(
    host: str, bare: Path, clean: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [bare / "python", "-c", f"from flowblob_{host} import anything"],
        env=clean, cwd=tmp_path, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr
