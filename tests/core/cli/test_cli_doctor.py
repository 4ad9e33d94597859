"""doctor, where, completion: about the installation rather than about blobs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowblob import Store
from flowblob.cli import probes

Cli = Callable[..., Any]


def checks(result: Any) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in result.json["checks"]}


def test_doctor_finds_a_sound_store_sound(cli: Cli, store: Store) -> None:
    store.put("a", 1)
    done = cli("doctor", "--json")
    found = checks(done)
    assert (done.code, done.json["ok"]) == (0, True)
    assert {"flowblob", "python", "catalog", "integrity", "payloads", "disk", "clock"} <= set(found)
    assert found["catalog holds"]["data"]["version"] == 1
    assert set(found["payloads"]["data"]) == {"write_ms", "read_ms", "delete_ms"}


def test_doctor_leaves_no_trace(cli: Cli, store: Store, folder: Path) -> None:
    store.put("a", 1)

    def files() -> set[Path]:
        return {path for path in folder.rglob("*") if path.is_file() and "catalog" not in path.name}

    before = files()
    assert cli("doctor").code == 0
    assert files() == before
    assert [blob.key for blob in store.ls()] == ["a"]


def test_doctor_makes_no_store(cli: Cli, folder: Path) -> None:
    done = cli("doctor", "--json")
    assert done.code == 0
    assert checks(done)["store"]["status"] == "note"
    assert not folder.exists()


def test_doctor_says_where_every_value_comes_from(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBLOB_CACHE", "off")
    settings = cli("doctor", "--json").json["settings"]
    assert settings["url"] == {"value": str(folder), "source": "FLOWBLOB_URL"}
    assert settings["cache"] == {"value": "off", "source": "FLOWBLOB_CACHE"}
    assert settings["inline_limit"]["source"] == "default"


def test_doctor_exits_with_damage_when_the_catalog_is_damaged(
    cli: Cli, store: Store, folder: Path
) -> None:
    for number in range(200):
        store.put(f"k{number}", number)
    store.close()
    path = folder / "catalog.db"
    data = bytearray(path.read_bytes())
    for page in range(4, len(data) // 4096, 3):
        data[page * 4096 : page * 4096 + 200] = os.urandom(200)
    path.write_bytes(data)
    for leftover in folder.glob("catalog.db-*"):
        leftover.unlink()
    done = cli("doctor", "--json")
    assert done.code == 6
    assert done.json["ok"] is False


def test_doctor_exits_with_7_when_it_could_not_check(cli: Cli, store: Store, folder: Path) -> None:
    store.put("a", 1)
    store.close()
    payloads = folder / "payloads"
    payloads.rename(folder / "gone")
    payloads.write_text("no folder")
    done = cli("doctor")
    assert done.code == 7
    assert "fail" in done.out


def test_doctor_tells_of_a_bad_setting_and_goes_on(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWBLOB_CACHE", "sometimes")
    done = cli("doctor", "--json")
    found = checks(done)
    assert found["settings"]["status"] == "fail"
    assert "sometimes" in found["settings"]["detail"]
    assert "airflow" in found
    assert done.code != 0


def test_quiet_doctor_prints_only_what_needs_attention(cli: Cli, store: Store) -> None:
    store.put("a", 1)
    assert cli("doctor", "-q").out == ""


def test_a_store_that_others_may_write_to_is_warned_of(
    cli: Cli, store: Store, folder: Path
) -> None:
    store.put("a", 1)
    folder.chmod(0o777)
    found = checks(cli("doctor", "--json"))
    assert found["permissions"]["status"] == "warn"
    assert "chmod -R go-w" in found["permissions"]["hint"]


@pytest.mark.parametrize(
    ("version", "status"),
    [("3.6.9", "ok"), ("3.7.0", "note"), ("3.40.1", "note"), ("3.51.2", "note"), ("3.51.3", "ok")],
)
def test_versions_of_sqlite_with_the_wal_reset_bug_are_noted(version: str, status: str) -> None:
    (check,) = probes.sqlite(version)
    assert check.status == status


def test_host_wiring_is_read_from_files_and_variables_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "airflow"
    home.mkdir()
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    assert probes._airflow_wiring() == ""
    (home / "airflow.cfg").write_text("[core]\nxcom_backend = flowblob_airflow.xcom.FlowblobXCom\n")
    assert "FlowblobXCom" in probes._airflow_wiring()
    monkeypatch.setenv("AIRFLOW_CONN_FLOWBLOB_DEFAULT", '{"password": "secret"}')
    assert "secret" not in probes._airflow_wiring()
    monkeypatch.setenv("PREFECT_DEFAULT_RESULT_STORAGE_BLOCK", "flowblob-storage/default")
    assert "flowblob-storage/default" in probes._prefect_wiring()


def test_where_says_what_decided(cli: Cli, folder: Path) -> None:
    assert cli("where").rows == [
        ["store", f"{folder} (not made yet: the first put does)"],
        ["decided by", "FLOWBLOB_URL"],
    ]
    assert cli("where", "-q").out == f"{folder}\n"
    told = cli("where", "--json", "--store", "/elsewhere").json
    assert (told["url"], told["source"], told["exists"]) == ("/elsewhere", "argument", False)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_no_orchestrator_and_nothing_heavy(option: str) -> None:
    code = (
        "import sys; from flowblob.cli.app import run\n"
        "run([sys.argv[1]])\n"
        "heavy = {'prefect', 'airflow', 'rich', 'numpy', 'pandas', 'sqlite3', 'sqlalchemy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, option], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_module_is_the_command_line_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flowblob", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("flowblob ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_a_completion_script(shell: str, cli: Cli) -> None:
    done = cli("completion", shell)
    assert done.code == 0
    assert "_FLOWBLOB_COMPLETE" in done.out


@pytest.fixture
def complete(program: Cli) -> Callable[[str], list[str]]:
    """Type a line into bash and press TAB; returns what it would add."""
    script = program("completion", "bash").stdout.decode()

    def press_tab(line: str) -> list[str]:
        code = f'{script}\nCOMP_LINE="$1"; COMP_POINT=${{#1}}; _flowblob_completion "$2"\n'
        code += 'for reply in "${COMPREPLY[@]}"; do printf "%s\\n" "$reply"; done'
        executable = str(Path(sys.executable).with_name("flowblob"))
        done = subprocess.run(
            ["bash", "-c", code, "bash", line, executable],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return press_tab


def test_completion_knows_commands_options_and_choices(complete: Any, store: Store) -> None:
    assert complete("flowblob pro") == ["promote"]
    assert complete("flowblob ls --sor") == ["--sort"]
    assert complete("flowblob ls --color al") == ["always"]


def test_completion_knows_keys_versions_and_aliases(complete: Any, store: Store) -> None:
    store.put("models/churn", 1, alias="prod")
    store.put("models/churn", 2)
    store.put("tables/day", 3)
    assert complete("flowblob cat mod") == ["models/churn"]
    assert complete("flowblob show models/churn@") == ["prod", "1", "0"]
    assert complete("flowblob show models/churn@p") == ["prod"]
    assert complete("flowblob --json log ta") == ["tables/day"]


def test_completion_quotes_what_a_shell_would_run(complete: Any, store: Store) -> None:
    store.put("x$(touch ran);y", 1)
    assert complete("flowblob cat x") == ["x\\$\\(touch\\ ran\\)\\;y"]


def test_completion_without_a_store_offers_nothing_and_makes_none(
    complete: Any, folder: Path
) -> None:
    assert complete("flowblob cat a") == []
    assert not folder.exists()
