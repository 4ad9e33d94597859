"""Every Python block of README and docs runs, document by document, against a store of its own.

An HTML comment before a block says where it runs if not in the core's environment:
`<!-- test: prefect -->`, `<!-- test: airflow -->`, or `<!-- test: skip, REASON -->`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?:<!-- test: (?P<where>[^>]*?) -->\n)?```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PYTHONS = {
    "core": sys.executable,
    "prefect": os.environ.get("FLOWBLOB_DEMO_PREFECT_PYTHON"),
    "airflow": os.environ.get("FLOWBLOB_DEMO_AIRFLOW_PYTHON"),
}


@dataclass(frozen=True)
class Script:
    """The blocks of one document that run in one place, one after another."""

    document: Path
    where: str
    code: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.where}"


def scripts() -> list[Script]:
    found = []
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = document.read_text(encoding="utf-8")
        parts: dict[str, str] = {}
        for block in BLOCK.finditer(text):
            where = block["where"] or "core"
            if block["language"] == "python" and not where.startswith("skip"):
                # Empty lines before the block make a traceback show the document's own line.
                at = text.count("\n", 0, block.start("code"))
                before = parts.get(where, "")
                parts[where] = before + "\n" * (at - before.count("\n")) + block["code"]
        found += [Script(document, where, code) for where, code in parts.items()]
    return found


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is configured and everything lands in `tmp_path`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLOWBLOB_", "PREFECT_", "AIRFLOW_", "XDG_"))
    }
    return kept | {
        "HOME": str(tmp_path),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__CORE__XCOM_BACKEND": "flowblob_airflow.xcom.FlowblobXCom",
    }


@pytest.mark.timeout(480)
@pytest.mark.parametrize("script", scripts(), ids=str)
def test_code_of_a_document_runs(script: Script, tmp_path: Path, clean: dict[str, str]) -> None:
    python = PYTHONS[script.where]
    if python is None:
        pytest.skip(f"FLOWBLOB_DEMO_{script.where.upper()}_PYTHON names no interpreter")
    (tmp_path / "dags").mkdir()
    file = tmp_path / "dags" / f"example_{script.document.stem.lower()}.py"
    file.write_text(script.code, encoding="utf-8")
    if script.where == "airflow":
        migrate = [str(Path(python).with_name("airflow")), "db", "migrate"]
        run(migrate, tmp_path, clean)
    run([python, "-W", "default", str(file)], tmp_path, clean)


def run(command: list[str], folder: Path, env: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=env, text=True, capture_output=True, timeout=400, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
