"""What must be set for Prefect to keep results with flowblob, done and taken back.

The block goes to Prefect's server, its name into the active profile. A note in Prefect's home keeps
what stood there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

# A machine that is busy needs longer than the 20 s that Prefect gives its temporary server.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

import httpx
from prefect.client.orchestration import get_client
from prefect.context import get_settings_context
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK,
    PREFECT_RESULTS_PERSIST_BY_DEFAULT,
    load_profiles,
    save_profiles,
)
from pydantic import SecretStr

from flowblob.cli.hosts import Change
from flowblob.errors import UnavailableError
from flowblob.urls import mask
from flowblob_prefect.blocks import FlowblobStorage

if TYPE_CHECKING:
    from flowblob.config import Settings

_NOTE = "flowblob-setup.json"
_SLUG = FlowblobStorage.get_block_type_slug()
_KEEPS = (PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK, PREFECT_RESULTS_PERSIST_BY_DEFAULT)


def plan(settings: Settings, name: str) -> list[Change]:
    """Return what `apply` would do; asks neither server nor store."""
    store = mask(_url(settings)) or "the store that each worker finds"
    told = f"register its type and save it for {store}"
    changes = [Change(f"{_SLUG}/{name}", f"server {_server()}", told, None)]
    for setting, value in _wanted(name).items():
        changes.append(Change(setting, f"profile {_profile()}", f"set to {value}", None))
    return changes + _overridden(name)


def apply(settings: Settings, name: str) -> list[Change]:
    """Save the block and set the profile; does nothing that is done already.

    Raises:
        UnavailableError: Prefect's server does not answer. Nothing was changed: a profile that
            names a block which does not exist would break every flow.
    """
    url = _url(settings)
    with _reaching():
        standing = _load(name)
        is_new = standing is None or standing.url.get_secret_value() != url
        if is_new:
            block = FlowblobStorage(url=SecretStr(url))
            block.save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]  # the dispatcher's
    told = "saved" if is_new else "stands already"
    changes = [Change(f"{_SLUG}/{name}", f"server {_server()}", told, is_new)]
    return changes + _set_profile(name, made=standing is None) + _overridden(name)


def undo() -> list[Change]:
    """Take back what `apply` did, as far as nobody has changed it since.

    Where the server does not answer, the profile is restored and the block is left.
    """
    note = _read_note()
    if note is None:
        return []
    name, profile = note["block"], note["profile"]
    changes = []
    standing = _profile_settings(profile)
    restored: dict[Any, Any] = {}
    for setting, value in _wanted(name).items():
        if str(standing.get(setting)) != str(value):
            changes.append(Change(setting, f"profile {profile}", "was changed since, left", False))
            continue
        restored[setting] = note["before"].get(setting)
        told = "removed" if restored[setting] is None else f"back to {restored[setting]}"
        changes.append(Change(setting, f"profile {profile}", told))
    _write_profile(profile, restored)
    if note["made"]:
        changes.append(_delete_block(name))
    _note_file().unlink()
    return changes


# ------------------------------------------------------------------ the block


def _load(name: str) -> FlowblobStorage | None:
    with get_client(sync_client=True) as client:
        try:
            document = client.read_block_document_by_name(name, _SLUG)
        except ObjectNotFound:
            return None
    return FlowblobStorage._from_block_document(document)


def _delete_block(name: str) -> Change:
    what, where = f"{_SLUG}/{name}", f"server {_server()}"
    try:
        with _reaching():
            FlowblobStorage.delete(name, _sync=True)  # type: ignore[call-arg]  # the dispatcher's
    except UnavailableError as error:
        return Change(what, where, f"left, since {error.message}", False)
    except ValueError:
        return Change(what, where, "is gone already", False)
    return Change(what, where, "deleted; the store and what is in it stay")


def _url(settings: Settings) -> str:
    """Return what the block names: nothing where every worker finds the same by itself."""
    if settings.source == "default":
        return ""
    if not settings.storage:
        return settings.url
    return f"{settings.url}{'&' if '?' in settings.url else '?'}storage={quote(settings.storage)}"


def _server() -> str:
    return PREFECT_API_URL.value() or "that Prefect starts for a moment"


@contextmanager
def _reaching() -> Iterator[None]:
    """Say in one sentence that the server cannot be reached."""
    try:
        yield
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnavailableError(
            f"Prefect's server {_server()} does not answer: {text}",
            hint="Start it ('prefect server start'), or choose a profile whose server runs",
        ) from error


# ------------------------------------------------------------------ the profile


def _wanted(name: str) -> dict[str, Any]:
    return {_KEEPS[0].name: f"{_SLUG}/{name}", _KEEPS[1].name: True}


def _set_profile(name: str, *, made: bool) -> list[Change]:
    profile, wanted = _profile(), _wanted(name)
    standing = _profile_settings(profile)
    missing = {k: v for k, v in wanted.items() if str(standing.get(k)) != str(v)}
    if missing or made:
        earlier = _read_note() or {"before": {}, "made": False}
        before = {k: standing.get(k) for k in missing} | earlier["before"]
        note = {
            "profile": profile,
            "block": name,
            "made": made or earlier["made"],
            "before": before,
        }
        _note_file().parent.mkdir(parents=True, exist_ok=True)
        _note_file().write_text(json.dumps(note, indent=2, default=str))
        _write_profile(profile, missing)
    return [
        Change(
            setting,
            f"profile {profile}",
            f"set to {value}" if setting in missing else f"is {value} already",
            setting in missing,
        )
        for setting, value in wanted.items()
    ]


def _profile() -> str:
    return str(get_settings_context().profile.name)


def _profile_settings(name: str) -> dict[str, Any]:
    profiles = load_profiles()
    found = profiles[name].settings if name in profiles.names else {}
    return {setting.name: value for setting, value in found.items()}


def _write_profile(name: str, settings: Mapping[str, Any]) -> None:
    """Write settings into the profile; None takes one out."""
    if settings:
        profiles = load_profiles()
        profiles.update_profile(name, settings=dict(settings))  # type: ignore[arg-type]  # casts names
        save_profiles(profiles)


def _overridden(name: str) -> list[Change]:
    """Return the settings that the environment overrides, whatever the profile says."""
    return [
        Change(setting, "environment", f"stays {os.environ[setting]}: a variable goes first", False)
        for setting, value in _wanted(name).items()
        if os.environ.get(setting, str(value)) != str(value)
    ]


def _note_file() -> Path:
    return Path(PREFECT_HOME.value()) / _NOTE


def _read_note() -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(_note_file().read_text())
    except FileNotFoundError:
        return None
    return found
