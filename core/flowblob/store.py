"""Store, the facade: put, get, names, history and lineage of versioned objects."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict, Unpack, cast

from flowblob import config, engines, lazy, reserving, runs
from flowblob.cache import Cache
from flowblob.checks import validate_alias
from flowblob.drafts import Commit
from flowblob.environment import Watched
from flowblob.errors import InvalidInputError
from flowblob.files import Dir, File
from flowblob.journal import Journal
from flowblob.labels import Labels
from flowblob.links import write_notes
from flowblob.model import Blob, CacheKey, Ref, Run, TagValue
from flowblob.moving import Moving
from flowblob.objects import Objects, PutRequest
from flowblob.payload import Progress
from flowblob.reading import Reading
from flowblob.trust import Keyring, Trust
from flowblob.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowblob.abc import Catalog, Storage
    from flowblob.drafts import EntryDraft

_NOTHING: Any = object()
_decisive = Watched("FLOWBLOB_URL", "FLOWBLOB_PROFILE", "FLOWBLOB_CACHE", "XDG_DATA_HOME", "HOME")
_active: ContextVar[Store | None] = ContextVar("flowblob_store", default=None)


class PutOptions(TypedDict, total=False):
    """Keywords that every kind of put takes; see `Store.put`."""

    kind: str
    metadata: Mapping[str, Any] | None
    tags: Mapping[str, TagValue] | None
    partitions: Mapping[str, str] | None
    parents: Sequence[str | Ref | Blob]
    run: Run | None
    serializer: str | None
    media_type: str
    filename: str
    alias: str | None
    expect_version: int | None
    create: bool
    new_version: bool
    history: bool
    inline: bool | None
    progress: Progress | None
    value_digest: str
    reservation: reserving.Lease | None
    entry: EntryDraft | None


class Store(Reading, Labels, Moving, Upkeep):
    """Versioned, content-addressed objects, linked to the runs that made and read them.

    One store may be used from any number of processes and threads.

    Args:
        url: A folder, or a URL such as `sqlite:///srv/flow`, `memory://`. With none, what the
            environment, the project or the user's own store says (`flowblob where` tells).
        allow_pickle: Load pickles that nobody signed although others can write to the store, and so
            run what they chose; by default what the environment or a file says, else False.

    Raises:
        SchemaVersionError: The store was made by newer code.
        ConflictError: Catalog and payload storage belong to different stores.

    Example:
        >>> store = Store("memory://")
        >>> store.put("reports/daily", {"rows": 3}).ref
        'reports/daily@0'
        >>> store.get("reports/daily")
        {'rows': 3}
    """

    def __init__(
        self, url: str | os.PathLike[str] | None = None, *, allow_pickle: bool | None = None
    ) -> None:
        settings = _meant() if url is None else config.find(url)
        if allow_pickle is not None:
            settings = replace(settings, allow_pickle=allow_pickle)
        self._open(settings)

    @classmethod
    def from_settings(cls, settings: config.Settings) -> Store:
        """Open the store that settings describe, for hosts that found them their own way."""
        store = cls.__new__(cls)
        store._open(settings)
        return store

    def _open(self, settings: config.Settings) -> None:
        keyring = Keyring.from_environment()
        self.settings = settings
        self.catalog: Catalog
        self.storage: Storage
        self.catalog, self.storage = engines.open_engines(settings)
        self.storage.claim(self.catalog.store_id)
        trust = Trust(
            self.catalog, self.storage, keyring=keyring, allow_pickle=settings.allow_pickle
        )
        self._objects = Objects(self.catalog, self.storage, settings, trust)
        # Not a method of this object: the queue outlives a store that is dropped.
        write = functools.partial(write_notes, self.catalog)
        self._journal = Journal(write, interval=settings.note_interval)
        self.cache = Cache(
            self.catalog,
            self._objects,
            loader=self,
            journal=self._journal,
            current_run=self.current_run,
        )
        lazy.register(self)

    # ------------------------------------------------------------ writing

    def put(
        self,
        key: str | None = None,
        value: Any = _NOTHING,
        **options: Unpack[PutOptions],
    ) -> Blob:
        """Store a value as the newest version of a key.

        All or nothing: when this returns, the version is durable and visible to everybody; when it
        raises, nothing is. Unchanged content and metadata make no new version: the newest one is
        returned, with the calling run, new tags and parents recorded. Concurrent puts to one key
        all succeed, in some order, with dense numbers.

        Args:
            key: The name; without one, `put(value=x)`, a fresh name is made.
            value: Anything: bytes, text, JSON-able data, arrays, frames, `File`, `Dir`, and what
                pickles. Where a format is not given, the type chooses it.
            **options: `kind`, a free category. `metadata`, JSON-able facts of this version. `tags`,
                labels that may change later. `partitions`, text to text. `parents`, references it
                was made from beside what its run read. `run`, in place of the current one.
                `serializer`, a format's name. `media_type` and `filename`. `alias`, moved here
                after the put. `expect_version`, the newest version the caller knows. `create`,
                refuse if the key lives. `new_version`, append even if unchanged. `history=False`,
                replace the newest version if that was put so too. `inline`, in the catalog or not.
                `progress`, called with numbers of bytes. `reservation`, a lease: the put is refused
                once somebody else holds it.

        Raises:
            InvalidInputError: A key, option or metadata that cannot be.
            SerializationError: The value cannot be stored; nothing was.
            VersionConflictError: `expect_version` is not the newest version.
            AlreadyExistsError: `create` was given and the key lives.
            ReservationLostError: Somebody else holds the lease.
            UnavailableError: An engine did not answer; nothing was stored, or the hint says so.

        Example:
            >>> store = Store("memory://")
            >>> store.put("models/churn", [0.1, 0.2], tags={"team": "growth"}).version
            0
            >>> store.put("models/churn", [0.1, 0.3], expect_version=0).version
            1
        """
        if value is _NOTHING:
            raise InvalidInputError(
                "put needs a value", hint="Write put(key, value), or put(value=x) for a made key"
            )
        return self._finish(options, self._objects.put(key, value, self._request(options)))

    def upload(
        self, key: str, source: str | os.PathLike[str] | BinaryIO, **options: Unpack[PutOptions]
    ) -> Blob:
        """Store a file, a folder, or a stream to its end, in constant memory.

        Args:
            key: The name.
            source: Path of a file or folder, or an open binary stream.
            **options: As for `put`.

        Raises:
            InvalidInputError: There is no such file, or it changed while it was read.

        Example:
            >>> import io
            >>> store = Store("memory://")
            >>> store.upload("raw/day", io.BytesIO(b"a,b"), filename="day.csv").media_type
            'text/csv'
        """
        if isinstance(source, str | os.PathLike):
            path = Path(source)
            return self.put(key, Dir(path) if path.is_dir() else File(path), **options)
        return self._finish(options, self._objects.put_stream(key, source, self._request(options)))

    def _request(self, options: PutOptions) -> PutRequest:
        given = {name: value for name, value in options.items() if name != "alias"}
        if (alias := options.get("alias")) is not None:
            validate_alias(alias)
        run = given.pop("run", None) or self.current_run()
        if (lease := options.get("reservation")) is not None:
            given["reservation"] = lease.reservation
        return PutRequest(run=run, **given)  # type: ignore[arg-type]  # same fields

    def _finish(self, options: PutOptions, commit: Commit) -> Blob:
        alias = options.get("alias")
        return commit.blob if alias is None else self.promote(commit.blob, alias)

    # ------------------------------------------------------------ upkeep

    def reserve(
        self,
        name: str | CacheKey,
        *,
        owner: str | None = None,
        ttl: timedelta | str | float = reserving.TTL,
        wait: timedelta | str | float | None = None,
        max_hold: timedelta | str | float = reserving.MAX_HOLD,
    ) -> reserving.Lease:
        """Take a time-bound right that only one owner has at a time; the same owner extends it.

        Expiry is decided by the catalog's clock alone, so clients with wrong clocks do no harm. As
        a context manager the lease is kept alive and released at the end.

        Args:
            name: A name of your own, or a cache key.
            owner: Who asks; a name of this call's own if not given.
            ttl: How long it lasts without a heartbeat; fractions of a second will do.
            wait: How long to wait for another owner; not at all if not given.
            max_hold: How long heartbeats may keep it.

        Raises:
            ReservationHeldError: Another owner holds it; says who, and for how long.

        Example:
            >>> store = Store("memory://")
            >>> with store.reserve("nightly/features", owner="w1", ttl="30s") as lease:
            ...     _ = store.put("features", [1, 2], reservation=lease)
            >>> lease.release()
            False
        """
        return reserving.reserve(
            self.catalog, name, owner=owner, ttl=ttl, wait=wait, max_hold=max_hold
        )

    def close(self) -> None:
        """Write what waits and give back connections; the store may be used again."""
        self._journal.close()
        self.catalog.close()
        self.storage.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # By its id, as lazy values: a URL holds passwords, and may mean another place elsewhere.
        return (lazy.find, (self.store_id,))

    @property
    def objects(self) -> Objects:
        """The values of this store, for hosts that load and commit in steps of their own."""
        return self._objects


@functools.lru_cache(maxsize=16)
def _opened(host: bool, *where: object) -> Store:
    del where  # only what the answer depends on: another environment or folder is another store
    return Store.from_settings(config.find(host=host))


def default_store() -> Store:
    """Return the store that is meant where none is named.

    In a host that is its own (`using`, or what the host says), then `FLOWBLOB_URL`, then the
    user's; the working directory counts only outside of hosts.

    Raises:
        InvalidInputError: The configuration names no usable store.
    """
    if (chosen := _chosen()) is not None:
        return chosen
    host = _is_hosted()
    return _opened(host, "" if host else os.getcwd(), *_decisive())


def _chosen() -> Store | None:
    """Return the store that the code or the host around this call has chosen."""
    if (chosen := _active.get()) is not None:
        return chosen
    for ask in runs.ask_hosts("stores"):
        if (own := ask()) is not None:
            return cast("Store", own)
    return None


def _is_hosted() -> bool:
    run = runs.current()
    return run is not None and run.system != "python"


def _meant() -> config.Settings:
    """Return the settings of the store that `Store()` means: a new object for the default store."""
    chosen = _chosen()
    return config.find(host=_is_hosted()) if chosen is None else chosen.settings


@contextmanager
def using(store: Store) -> Iterator[Store]:
    """Make a store the default one inside the block, in this thread or task only."""
    token = _active.set(store)
    try:
        yield store
    finally:
        _active.reset(token)
