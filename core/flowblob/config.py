"""Settings: argument > environment > file > default.

Which store is meant (DESIGN, "Which store"):

1. the argument (`Store(url)`, `--store`, a host's block or connection), or a profile named by one;
2. `FLOWBLOB_URL`, then the profile that `FLOWBLOB_PROFILE` names;
3. in Python and the CLI only: the nearest `flowblob.toml` with a `url`, or `.flowblob/` folder,
   upward from the working directory. Hosts skip this step, because their workers have others;
4. the user's own store: `url` in `~/.config/flowblob/config.toml`, else `$XDG_DATA_HOME/flowblob`.

`flowblob.engines` says what a store URL may be.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Literal

from flowblob.checks import parse_duration
from flowblob.engines import STORAGES
from flowblob.errors import InvalidInputError, NotFoundError
from flowblob.retention import Retention
from flowblob.urls import (
    absolute,
    did_you_mean,
    folder_of,
    mask,
    refuse_unknown,
    scheme_of,
    split_query,
)

logger = logging.getLogger(__name__)

PROJECT_FILE = "flowblob.toml"
PROJECT_FOLDER = ".flowblob"

CacheMode = Literal["on", "off", "refresh", "readonly"]
CACHE_MODES = ("on", "off", "refresh", "readonly")

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\Z", re.IGNORECASE)
_ENV = frozenset(
    {"URL", "PROFILE", "ALLOW_PICKLE", "CACHE", "CACHE_QUOTA", "INLINE_LIMIT", "NOTE_INTERVAL"}
)
#: Read by `trust`: a secret has no place in a file of settings or a URL.
_ENV_ELSEWHERE = frozenset({"SIGNING_KEY", "SIGNING_KEY_FILE"})
_ENV_PREFIXES = ("RUN_", "TEST_", "DEMO_", "SERVERS", "PREFECT_", "AIRFLOW_")


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What one store is opened with.

    Attributes:
        url: Where the catalog is (and the payloads, unless `storage` says otherwise).
        source: What decided on `url`: `argument`, a variable, a file, or `default`.
        storage: Where the payloads are; empty for the place that goes with `url`.
        inline_limit: Payloads up to so many bytes live in the catalog.
        note_interval: How long input uses and hit counts may wait in memory.
        cache: `on`, `off` (neither read nor written), `refresh` (written only) or `readonly`.
        cache_quota: Bytes that cached results may take; 0 for no limit.
        allow_pickle: Load pickles that nobody signed from a store where others can write.
        retention: What a collection keeps; everything by default.
        sources: For every setting that is not a default, what decided on it.
    """

    url: str
    source: str = "argument"
    storage: str = ""
    inline_limit: int = 32 << 10
    note_interval: timedelta = timedelta(milliseconds=100)
    cache: CacheMode = "on"
    cache_quota: int = 0
    allow_pickle: bool = False
    retention: Retention = field(default_factory=Retention)
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """Folder of an embedded store, None for any other."""
        return folder_of(self.url)

    def __repr__(self) -> str:
        return f"Settings(url={mask(self.url)!r}, source={self.source!r})"


@dataclass(frozen=True, slots=True)
class _Layer:
    """Values from one place, strongest layer first."""

    source: str
    values: Mapping[str, Any]
    base: Path | None = None


_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "inline_limit": lambda value: parse_size(value, what="inline_limit"),
    "note_interval": lambda value: parse_duration(value, what="note_interval"),
    "cache": lambda value: _choice(value, CACHE_MODES, "cache"),
    "cache_quota": lambda value: parse_size(value, what="cache_quota"),
    "allow_pickle": lambda value: _flag(value, what="allow_pickle"),
}

_IN_FILES = ("url", "storage", "retention", *_OPTIONS)


def find(
    url: str | os.PathLike[str] | None = None,
    *,
    host: bool = False,
    profile: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Say which store is meant, with which options, and what decided so.

    Nothing is opened or made.

    Args:
        url: The store, if the caller was told.
        host: Called by an orchestrator, where the working directory means nothing.
        profile: Name of a profile, if the caller was told one.
        env: Environment; the process's own by default.
        cwd: Where the search for a project's file begins.

    Raises:
        InvalidInputError: A URL, file or variable says something that cannot be.
        NotFoundError: No such profile.

    Example:
        >>> find("memory://").source
        'argument'
    """
    environ = os.environ if env is None else env
    warn_unknown(environ)
    if url == "":  # an unset variable of the caller must not open another store than was meant
        raise InvalidInputError("The store's URL is empty", hint="Give a folder or a URL")
    project = [] if host else list(_project_layers(cwd))
    own = _user_layer(environ)
    layers = [_Layer("argument", {"url": os.fspath(url)} if url is not None else {})]
    if profile:
        layers.append(_profile_layer(profile, [*project, own]))
    layers += _env_layers(environ)
    if not profile and (name := environ.get("FLOWBLOB_PROFILE")):
        layers.append(_profile_layer(name, [*project, own]))
    layers += [*project, own]
    if not any(layer.values.get("url") for layer in layers):
        # Only now: an account without a home must still be able to name a store.
        layers.append(
            _Layer(
                "default",
                {
                    "url": str(_home(environ, "XDG_DATA_HOME", ".local/share")),
                    "retention": own.values.get("retention"),
                },
            )
        )
    return _settings(layers)


def _settings(layers: Sequence[_Layer]) -> Settings:
    where = next(layer for layer in layers if layer.values.get("url"))
    url, query = split_query(
        absolute(_url_text(where.values["url"], "url"), where.base),
        [*_OPTIONS, "storage"],
        STORAGES,
    )
    values: dict[str, Any] = {}
    sources = {"url": where.source}
    # Only the place that named the catalog may say where its payloads are: a variable meant for
    # one store would send the payloads of every other there, `memory://` included.
    if storage := query.get("storage") or where.values.get("storage"):
        values["storage"] = _storage_url(_url_text(storage, "storage"), url, where.base)
        sources["storage"] = where.source
    # Nor may any other say what can be dropped: the rules of a project would empty the store that
    # a variable or an argument names.
    if (table := where.values.get("retention")) is not None:
        values["retention"] = _read(Retention.read, table, where.source)
        sources["retention"] = where.source
    for name, read in _OPTIONS.items():
        for layer in (_Layer(f"the URL ({where.source})", query), *layers):
            if (value := layer.values.get(name)) not in (None, ""):
                values[name] = _read(read, value, layer.source)
                sources[name] = layer.source
                break
    return Settings(url=url, source=where.source, sources=sources, **values)


def _read(read: Callable[[Any], Any], value: Any, source: str) -> Any:
    try:
        return read(value)
    except InvalidInputError as error:
        raise InvalidInputError(f"{error.message} (from {source})", hint=error.hint) from error


def _env_layers(env: Mapping[str, str]) -> list[_Layer]:
    # One layer for each variable, so that a source reads FLOWBLOB_URL and not "environment".
    names = {f"FLOWBLOB_{name}": name.lower() for name in sorted(_ENV)}
    return [_Layer(var, {name: env[var]}) for var, name in names.items() if env.get(var)]


def _project_layers(cwd: Path | None) -> Iterator[_Layer]:
    """Yield the nearest `flowblob.toml`, and the nearest place upward that names a store."""
    try:
        start = (cwd or Path.cwd()).absolute()
    except FileNotFoundError:  # the working directory was removed
        return
    seen_file = False
    for folder in (start, *start.parents):
        file, inner = folder / PROJECT_FILE, folder / PROJECT_FOLDER
        if not seen_file and file.is_file() and _is_trusted(file):
            seen_file = True
            layer = _file_layer(file)
            yield layer
            if layer.values.get("url"):
                return
        if inner.is_dir() and _is_trusted(inner):
            yield _Layer(str(inner), {"url": str(inner)})
            return


def _is_trusted(path: Path) -> bool:
    # Anybody may leave a file in /tmp or in a project that others visit, and a store that it names
    # could hold pickles. The rule is git's (safe.directory, CVE-2022-24765): mine, or root's.
    if path.stat().st_uid in (os.geteuid(), 0):
        return True
    logger.warning(
        "%s belongs to another user and is not used. To use that store: export FLOWBLOB_URL", path
    )
    return False


def _user_layer(env: Mapping[str, str]) -> _Layer:
    try:
        file = _home(env, "XDG_CONFIG_HOME", ".config") / "config.toml"
        # Not file.is_file(), which raises where a service account inherited root's HOME.
        return _file_layer(file) if os.path.isfile(file) else _Layer(str(file), {})
    except InvalidInputError:
        if env.get("HOME"):
            raise
        return _Layer("config.toml", {})


def _file_layer(file: Path) -> _Layer:
    import tomllib

    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidInputError(f"Cannot read {file}: {error}") from error
    refuse_unknown(values, [*_IN_FILES, "profiles"], f"setting in {file}")
    profiles = values.get("profiles", {})
    if not isinstance(profiles, dict) or not all(isinstance(p, dict) for p in profiles.values()):
        raise InvalidInputError(
            f"'profiles' in {file} is not a table", hint="Write [profiles.NAME]"
        )
    for name, profile in profiles.items():
        refuse_unknown(profile, _IN_FILES, f"setting in [profiles.{name}] of {file}")
    return _Layer(str(file), values, file.parent)


def _profile_layer(name: str, layers: Sequence[_Layer]) -> _Layer:
    known: list[str] = []
    for layer in layers:
        profiles = layer.values.get("profiles", {})
        if name in profiles:
            if not profiles[name].get("url"):
                raise InvalidInputError(f"Profile {name!r} in {layer.source} has no url")
            return _Layer(f"profile {name} in {layer.source}", profiles[name], layer.base)
        known += profiles
    listed = f"Profiles: {', '.join(sorted(known))}" if known else "None is defined"
    hint = did_you_mean(name, known) or f"{listed}; add [profiles.{name}] to {layers[-1].source}"
    raise NotFoundError(f"No profile {name!r}", hint=hint)


def _home(env: Mapping[str, str], variable: str, fallback: str) -> Path:
    base = env.get(variable, "")
    if os.path.isabs(base):  # the XDG specification: relative values must be ignored
        return Path(base) / "flowblob"
    try:
        home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    except RuntimeError as error:
        raise InvalidInputError(
            "This account has no home folder for a store", hint="export FLOWBLOB_URL=/path/to/store"
        ) from error
    return home / fallback / "flowblob"


def parse_size(value: Any, *, what: str = "size") -> int:
    """Return bytes from a number or text such as `"32KiB"` (binary) or `"1.5GB"` (decimal).

    Raises:
        InvalidInputError: It is no size.

    Example:
        >>> parse_size("32KiB"), parse_size("1MB")
        (32768, 1000000)
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (match := _SIZE.match(value.strip())):
        unit = 1024 if match[3] else 1000
        return int(float(match[1]) * unit ** " kmgt".index(match[2].lower() or " "))
    raise InvalidInputError(f"Invalid {what} {value!r}", hint="Write 65536, '64KiB' or '1.5GB'")


def _choice(value: Any, choices: Sequence[str], what: str) -> str:
    if isinstance(value, str) and value.lower() in choices:
        return value.lower()
    hint = did_you_mean(str(value), choices) or f"One of: {', '.join(choices)}"
    raise InvalidInputError(f"Invalid {what} {value!r}", hint=hint)


def _flag(value: Any, *, what: str) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "yes": True, "on": True}
    words |= {"0": False, "false": False, "no": False, "off": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise InvalidInputError(f"Invalid {what} {value!r}", hint="Write true or false")


def _url_text(value: Any, what: str) -> str:
    if isinstance(value, str) and value and "\x00" not in value:
        return value
    raise InvalidInputError(f"Invalid {what} {value!r}", hint="Give a folder or a URL")


def _storage_url(text: str, catalog: str, base: Path | None) -> str:
    """Return where the payloads are; `gridfs` means the catalog's own database."""
    if text != "gridfs":
        return absolute(text, base)
    if not scheme_of(catalog).startswith("mongodb"):
        raise InvalidInputError(
            f"storage=gridfs means the catalog's own database, and {mask(catalog)!r} is none",
            hint="Write storage=gridfs+mongodb://host/DATABASE, or ./gridfs for a folder",
        )
    return f"gridfs+{catalog}"


def warn_unknown(env: Mapping[str, str]) -> None:
    """Log every `FLOWBLOB_*` variable that nothing reads, once per process."""
    for name in env:
        if name.startswith("FLOWBLOB_"):
            rest = name.removeprefix("FLOWBLOB_")
            if rest not in _ENV | _ENV_ELSEWHERE and not rest.startswith(_ENV_PREFIXES):
                _warn_once(name)


@cache
def _warn_once(name: str) -> None:
    hint = did_you_mean(name, [f"FLOWBLOB_{known}" for known in sorted(_ENV | _ENV_ELSEWHERE)])
    logger.warning("%s is set, but flowblob reads no such variable. %s", name, hint)
