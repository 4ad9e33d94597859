"""Which store a Prefect process uses: the block's URL, `FLOWBLOB_URL`, the user's own.

Open stores belong to the process, never to a block: Prefect makes two block instances for every
task run that names its storage by slug.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from flowblob import config
from flowblob.errors import InvalidInputError, NotFoundError
from flowblob.store import Store
from flowblob.urls import mask, scheme_of
from flowblob_prefect import runs

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What `config.find` reads for a host; a change of one of them may mean another store.
_VARIABLES = (
    "FLOWBLOB_URL",
    "FLOWBLOB_PROFILE",
    "FLOWBLOB_CACHE",
    "FLOWBLOB_INLINE_LIMIT",
    "FLOWBLOB_NOTE_INTERVAL",
    "FLOWBLOB_ALLOW_PICKLE",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "HOME",
)
#: What a store reads beside its settings when it is opened.
_KEYS = ("FLOWBLOB_SIGNING_KEY", "FLOWBLOB_SIGNING_KEY_FILE")


class _Pool:
    """Open stores of this process by configuration. Emptied in a forked child."""

    lock = threading.Lock()
    stores: dict[tuple[str | None, ...], Store] = {}  # noqa: RUF012 - one pool per process


def _forked() -> None:
    # The parent's lock may have been held at the fork, and its connections are the parent's.
    _Pool.lock, _Pool.stores = threading.Lock(), {}


os.register_at_fork(after_in_child=_forked)


def store_for(url: str = "") -> Store:
    """Return the store at a URL, opened once per process and configuration.

    Args:
        url: The store; empty for the one that hosts find.

    Raises:
        InvalidInputError: The URL is a relative path, which means another folder on every worker.
    """
    keys = tuple(map(os.environ.get, _KEYS))
    key = (url, *map(os.environ.get, _VARIABLES), *keys)
    if (found := _Pool.stores.get(key)) is not None:
        return found
    if url and scheme_of(url) == "file" and "://" not in url and not os.path.isabs(_expand(url)):
        raise InvalidInputError(
            f"The block names the relative path {mask(url)!r}",
            hint="Workers have different working directories; write an absolute path",
        )
    settings = config.find(url or None, host=True)
    same: Mapping[tuple[str | None, ...], Store] = _Pool.stores
    with _Pool.lock:
        # Two spellings of one configuration share one store, and with it its connections.
        for known, store in same.items():
            if store.settings == settings and known[-len(keys) :] == keys:
                return _Pool.stores.setdefault(key, store)
        return _Pool.stores.setdefault(key, Store.from_settings(settings))


def current() -> Store | None:
    """Return the store of the block that keeps the results of the current run, if one does.

    This is what `Store`-less calls mean inside a flow: `@cached` functions and `default_store()`.
    """
    from flowblob_prefect.blocks import FlowblobStorage

    context = runs.current_context()
    storage = context.result_store.result_storage if context is not None else None
    return storage.store if isinstance(storage, FlowblobStorage) else None


def _expand(path: str) -> str:
    return os.path.expanduser(path)


def store_of(store_id: str) -> Store:
    """Return the open store with this id, or the one that hosts find if it is that.

    Raises:
        NotFoundError: It is neither.
    """
    for store in list(_Pool.stores.values()):
        if store.store_id == store_id:
            return store
    if (store := store_for()).store_id == store_id:
        return store
    raise NotFoundError(
        f"The result is in the store {store_id}, which this process has not opened",
        hint="Load the block that wrote it, or set FLOWBLOB_URL to where it is",
    )
