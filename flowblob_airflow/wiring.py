"""What must be set for Airflow to use flowblob, written down and taken back.

The XCom backend goes into `airflow.cfg`, which every process of Airflow reads, and the store into a
connection, which people find in Airflow's UI. A note beside `airflow.cfg` keeps what was there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowblob.cli.hosts import Change
from flowblob.errors import ConflictError, NotFoundError
from flowblob_airflow import passwords

if TYPE_CHECKING:
    from flowblob.config import Settings

BACKEND = "flowblob_airflow.xcom.FlowblobXCom"
CONN_ID = "flowblob_default"
_VARIABLE = "AIRFLOW__CORE__XCOM_BACKEND"
_NOTE = "flowblob-setup.json"
_SECTION = re.compile(r"\s*\[(?P<name>[^\]]+)\]")
_OPTION = re.compile(r"\s*xcom_backend\s*[=:]\s*(?P<value>.*?)\s*\Z")


def connection_of(settings: Settings) -> dict[str, Any] | None:
    """Return the connection that names a store, None where workers find it without one."""
    if settings.source == "default":
        return None
    url, password = passwords.apart(settings.url)
    extra = {"url": url}
    if settings.storage:
        extra["storage"], secret = passwords.apart(settings.storage)
        if secret:
            extra["storage_password"] = secret
    hidden = {"password": password} if password else {}
    return {"conn_type": "flowblob", **hidden, "extra": extra}


def variables(settings: Settings) -> dict[str, str]:
    """Return the same as environment variables, for containers."""
    found = {_VARIABLE: BACKEND}
    if (connection := connection_of(settings)) is not None:
        found[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(connection)
    return found


def exports(settings: Settings) -> list[str]:
    """Return lines for a shell."""
    return [
        f"export {name}={shlex.quote(value)}" for name, value in sorted(variables(settings).items())
    ]


def config_file() -> Path:
    """Return Airflow's configuration file, which may not exist yet."""
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    return Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg").expanduser()


def apply(settings: Settings) -> list[Change]:
    """Write the settings; doing it twice changes nothing.

    Raises:
        NotFoundError: Airflow is not installed here.
        ConflictError: Airflow's database refused the connection.
    """
    file = config_file()
    if not file.exists():
        # Airflow writes keys of its own into a new file; one that we made would lack them.
        _airflow("version")
    note = _read_note(file)
    changes = [_set_backend(file, note)]
    if (connection := connection_of(settings)) is not None:
        changes.append(_add_connection(connection, note))
    _write_note(file, note)
    return changes


def undo() -> list[Change]:
    """Take back what `apply` did; what somebody has changed since is left alone."""
    file = config_file()
    note = _read_note(file)
    changes = []
    if "xcom_backend" in note:
        changes.append(_restore_backend(file, note.pop("xcom_backend")))
    if note.pop("connection", False):
        done = _airflow("connections", "delete", CONN_ID, check=False)
        is_gone = done.returncode == 0
        told = f"deleted {CONN_ID}" if is_gone else f"{CONN_ID} was not there any more"
        changes.append(Change("connection", "Airflow's database", told, is_gone))
    _note_file(file).unlink(missing_ok=True)
    return changes


# ------------------------------------------------------------------ airflow.cfg


def _set_backend(file: Path, note: dict[str, Any]) -> Change:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place, found = _find_option(lines)
    if found == BACKEND:
        return Change("xcom_backend", str(file), "was set already", is_new=False)
    line = f"xcom_backend = {BACKEND}\n"
    if found is None:
        lines.insert(place, line)
    else:
        lines[place] = line
    note.setdefault("xcom_backend", found)
    _replace(file, "".join(lines))
    before = f" (it was {found})" if found else ""
    return Change("xcom_backend", str(file), f"set to {BACKEND}{before}")


def _restore_backend(file: Path, before: str | None) -> Change:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    place, found = _find_option(lines)
    if found != BACKEND:
        told = f"is {found or 'not set'} now, and stays so"
        return Change("xcom_backend", str(file), told, is_new=False)
    lines[place : place + 1] = [] if before is None else [f"xcom_backend = {before}\n"]
    _replace(file, "".join(lines))
    return Change("xcom_backend", str(file), f"set back to {before}" if before else "removed")


def _find_option(lines: list[str]) -> tuple[int, str | None]:
    """Return where `[core] xcom_backend` stands, or may be put, and its value."""
    section, place = "", None
    for number, line in enumerate(lines):
        if header := _SECTION.match(line):
            section = header["name"].strip()
            if section == "core" and place is None:
                place = number + 1
        elif section == "core" and (option := _OPTION.match(line)):
            return number, option["value"]
    if place is None:
        lines.insert(0, "[core]\n")
        place = 1
    return place, None


def _replace(file: Path, text: str) -> None:
    """Write the file as a whole: a half-written configuration would stop Airflow."""
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600
    with tempfile.NamedTemporaryFile(
        "w", dir=file.parent, prefix=file.name, delete=False, encoding="utf-8"
    ) as made:
        made.write(text)
    path = Path(made.name)
    path.chmod(mode)
    path.replace(file)


# ------------------------------------------------------------------ the connection


def _add_connection(connection: dict[str, Any], note: dict[str, Any]) -> Change:
    where = "Airflow's database"
    # Through a file, since everybody on the machine can read the arguments of a process.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "connection.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({CONN_ID: connection}), encoding="utf-8")
        done = _airflow("connections", "import", str(path), check=False)
    told = done.stdout + done.stderr
    if f"Imported connection {CONN_ID}" in told:
        note["connection"] = True
        return Change("connection", where, f"added {CONN_ID}")
    if "already exists" in told:
        return Change("connection", where, f"{CONN_ID} exists, and stays as it is", is_new=False)
    raise ConflictError(
        f"Airflow did not take the connection {CONN_ID}: {_last_line(told)}",
        hint="Is its database made ('airflow db migrate')? Or export the variable that "
        "'flowblob airflow setup' prints",
    )


def _airflow(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "airflow", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named airflow" in done.stderr:
        raise NotFoundError(
            "Airflow is not installed in this environment",
            hint="Run this where Airflow runs, or use the printed variables there",
        )
    if check and done.returncode:
        raise ConflictError(f"'airflow {' '.join(arguments)}' failed: {_last_line(done.stderr)}")
    return done


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no message")


# ------------------------------------------------------------------ the note


def _note_file(file: Path) -> Path:
    return file.with_name(_NOTE)


def _read_note(file: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note_file(file).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(file: Path, note: dict[str, Any]) -> None:
    if note:
        _replace(_note_file(file), json.dumps(note))
