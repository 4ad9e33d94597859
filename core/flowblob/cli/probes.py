"""Single checks of `flowblob doctor`; none of them imports an orchestrator, which takes seconds."""

from __future__ import annotations

import configparser
import hashlib
import os
import platform
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xxhash

from flowblob.checks import new_id
from flowblob.cli.failures import DAMAGE, ERROR
from flowblob.drafts import Spooled, physical_name
from flowblob.trust import Keyring
from flowblob.wording import duration, size

if TYPE_CHECKING:
    from flowblob.abc import Storage
    from flowblob.store import Store

Status = Literal["ok", "note", "warn", "fail"]

_EXTRAS = {
    "s3": "boto3",
    "postgres": "psycopg",
    "mongo": "pymongo",
    "server": "fastapi",
    "tables": "pyarrow",
    "torch": "safetensors",
}
_LOW_SPACE = 1 << 30
_SKEW_SECONDS = 5.0
#: https://sqlite.org/wal.html: the WAL-reset bug, fixed in 3.51.3.
_WAL_RESET = ((3, 7, 0), (3, 51, 2))


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        status: `ok`, `note`, `warn` or `fail`.
        detail: What was found.
        hint: What to do about it.
        exit: Exit code if it failed.
        data: Numbers for programs.
    """

    name: str
    status: Status
    detail: str
    hint: str = ""
    exit: int = ERROR
    data: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        told = {
            "name": self.name,
            "status": self.status,
            "detail": self.detail,
            "hint": self.hint,
        }
        return told | ({"data": self.data} if self.data else {})


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def versions() -> Iterator[Check]:
    """Yield what runs here."""
    import flowblob

    where = Path(flowblob.__file__ or "").parent
    yield Check("flowblob", "ok", f"{_version('flowblob') or 'not installed'} in {where}")
    yield Check("python", "ok", f"{platform.python_version()} in {sys.prefix}")
    yield Check("system", "ok", platform.platform())
    found = {extra: _version(name) for extra, name in _EXTRAS.items()}
    present = [f"{_EXTRAS[extra]} {version}" for extra, version in found.items() if version]
    yield Check("extras", "ok", ", ".join(present) or "none installed", data=found)
    absent = [extra for extra, version in found.items() if not version]
    if absent:
        yield Check(
            "extras absent",
            "note",
            ", ".join(absent),
            f"If you need one: pip install 'flowblob[{absent[0]}]'",
        )


def sqlite(version: str) -> Iterator[Check]:
    """Yield what is known about this version of SQLite."""
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    first, last = _WAL_RESET
    if first <= numbers <= last:
        yield Check(
            "sqlite",
            "note",
            f"{version} has the WAL-reset bug (3.7.0 to 3.51.2); flowblob's own writers take turns "
            "under a lock, which avoids it",
            "Let no other program write to catalog.db",
        )
    else:
        yield Check("sqlite", "ok", version)


def storage(storage: Storage) -> Iterator[Check]:
    """Write, read back and delete one small payload, as a put would."""
    data = secrets.token_bytes(64 << 10)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    name = physical_name(digest, new_id())
    spooled = Spooled(digest, xxhash.xxh3_128_hexdigest(data), len(data), data=data)
    times = {}
    try:
        start = time.monotonic()
        storage.write(name, spooled, op=new_id())
        times["write"] = time.monotonic() - start
        start = time.monotonic()
        same = storage.read(name) == data and storage.size(name) == len(data)
        times["read"] = time.monotonic() - start
    finally:
        start = time.monotonic()
        storage.delete(name)
        times["delete"] = time.monotonic() - start
    if not same or storage.size(name) is not None:
        what = "other bytes came back" if not same else "the probe is still there"
        yield Check("payloads", "fail", f"{storage.url}: {what}", exit=DAMAGE)
        return
    took = ", ".join(f"{verb} {duration(seconds)}" for verb, seconds in times.items())
    milliseconds = {f"{verb}_ms": round(seconds * 1000, 2) for verb, seconds in times.items()}
    yield Check("payloads", "ok", f"{storage.url}: 64 KiB {took}", data=milliseconds)


def disk(folder: Path) -> Iterator[Check]:
    """Yield how much room is left where the store is."""
    usage = shutil.disk_usage(folder)
    share = usage.free / usage.total if usage.total else 0.0
    detail = f"{size(usage.free)} of {size(usage.total)} free"
    is_low = usage.free < _LOW_SPACE
    hint = "Free some space: a put that does not fit fails" if is_low else ""
    data = {"free": usage.free, "total": usage.total, "free_share": round(share, 4)}
    yield Check("disk", "warn" if is_low else "ok", detail, hint, data=data)


def trust(store: Store) -> Iterator[Check]:
    """Yield whether pickles are loaded here, and on whose word."""
    keys = Keyring.from_environment()
    folder = store.settings.folder
    if store.settings.allow_pickle:
        yield Check("pickles", "warn", "loaded whoever wrote them, since allow_pickle is set")
    elif keys:
        yield Check("pickles", "ok", f"signed with {keys.ids[0]}; known: {', '.join(keys.ids)}")
    elif folder is not None and store.catalog.is_shared:
        yield Check(
            "permissions",
            "warn",
            f"others may write to {folder} (mode {folder.stat().st_mode & 0o777:03o}): pickles in "
            "it are not loaded, as they could run their code",
            f"chmod -R go-w {folder}",
        )
    elif store.catalog.is_shared:
        yield Check(
            "pickles", "note", "not loaded: others can write here", "flowblob trust new-key"
        )
    else:
        yield Check("pickles", "ok", "loaded: only you can write here")


def clock(folder: Path) -> Iterator[Check]:
    """Compare this machine's clock with that of the file system, which may be another machine's."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".flowblob-doctor-") as probe:
        skew = time.time() - os.fstat(probe.fileno()).st_mtime
    if abs(skew) > _SKEW_SECONDS:
        yield Check(
            "clock",
            "warn",
            f"{duration(abs(skew))} {'ahead of' if skew > 0 else 'behind'} the file system's",
            "Set the clock: times to live and ages count from it",
        )
    else:
        yield Check("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def hosts() -> Iterator[Check]:
    """Yield how far Prefect and Airflow are set up, from files and variables alone."""
    prefect, airflow = (
        _version("prefect"),
        _version("apache-airflow-core") or _version("apache-airflow"),
    )
    yield from _host("prefect", prefect, _prefect_wiring())
    yield from _host("airflow", airflow, _airflow_wiring())


def _host(name: str, version: str, wiring: str) -> Iterator[Check]:
    if not version:
        yield Check(name, "note", "not installed in this environment")
        return
    if util.find_spec(f"flowblob_{name}") is None:
        yield Check(
            name, "warn", f"{version}, but flowblob_{name} is missing", "Reinstall flowblob"
        )
        return
    hint = "" if wiring else f"flowblob {name} setup"
    yield Check(name, "ok" if wiring else "note", f"{version}, {wiring or 'not set up'}", hint)


def _prefect_wiring() -> str:
    name = "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK"
    if value := os.environ.get(name) or os.environ.get("PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"):
        return f"results go to {value} (environment)"
    home = Path(os.environ.get("PREFECT_HOME") or Path("~/.prefect").expanduser())
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    if "flowblob" in _text(profiles):
        return f"named in {profiles}"
    return ""


def _airflow_wiring() -> str:
    found = os.environ.get("AIRFLOW__CORE__XCOM_BACKEND", "")
    source = "environment"
    if not found:
        home = Path(os.environ.get("AIRFLOW_HOME") or Path("~/airflow").expanduser())
        file = Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg")
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(_text(file))
        except configparser.Error:
            return ""
        found, source = parser.get("core", "xcom_backend", fallback=""), str(file)
    wired = [f"XCom backend {found} ({source})"] if "flowblob" in found else []
    if os.environ.get("AIRFLOW_CONN_FLOWBLOB_DEFAULT"):
        wired.append("connection flowblob_default (environment)")
    return ", ".join(wired)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
