"""Which store a process of Airflow uses: the connection, `FLOWBLOB_URL`, the user's own.

The working directory never counts, since every worker has another one.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk.configuration import conf

from flowblob import config
from flowblob.errors import InvalidInputError, UnavailableError
from flowblob.urls import mask
from flowblob_airflow import passwords, runs

if TYPE_CHECKING:
    from flowblob import Store

logger = logging.getLogger(__name__)

DEFAULT_CONN_ID = "flowblob_default"
SECTION = "flowblob"


class _Pool:
    """Open stores by configuration, and what the connections of the current task said."""

    lock = threading.Lock()
    stores: dict[tuple[Any, ...], Store] = {}  # noqa: RUF012 - one pool per process
    task: Any = None
    settings: dict[str, config.Settings] = {}  # noqa: RUF012 - forgotten with the task


def _forked() -> None:
    # A thread of the parent may have held it at the fork, and is not here to let go of it.
    _Pool.lock = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def store_for(conn_id: str | None = None) -> Store:
    """Return the store of a connection, opened once per process and configuration.

    Args:
        conn_id: The connection; the one that `[flowblob] conn_id` names if not given.

    Raises:
        AirflowNotFoundException: The connection does not exist, and it is not the default one.
        InvalidInputError: What it says cannot be a store.
    """
    from flowblob import Store

    settings = settings_for(conn_id)
    # A forked child must not share what its parent has open.
    options = (settings.inline_limit, settings.cache, settings.allow_pickle)
    key = (os.getpid(), settings.url, settings.storage, *options)
    with _Pool.lock:
        if (store := _Pool.stores.get(key)) is None:
            store = _Pool.stores[key] = Store.from_settings(settings)
            # Once per process, so that a task's log says where its data went.
            logger.info("flowblob store: %s (%s)", mask(settings.url), settings.source)
    return store


def current() -> Store | None:
    """Return the store that a task means which names none, None outside of tasks.

    This is what `@cached` functions and `default_store()` use inside of a task.
    """
    return None if runs.current_ti() is None else store_for()


def store_if_available(on_error: str, conn_id: str | None = None) -> Store | None:
    """Return the store for a cache, None if it does not answer and tasks are to compute then."""
    try:
        return store_for(conn_id)
    except UnavailableError as error:
        if on_error == "raise":
            raise
        logger.warning("This task is not cached: %s", error)
        return None


def flush_all() -> None:
    """Write what waits in memory, in every store that this process has opened."""
    for (pid, *_), store in list(_Pool.stores.items()):
        if pid == os.getpid():
            store.flush()


def settings_for(conn_id: str | None = None) -> config.Settings:
    """Return the settings of a connection's store; asked once per task, as asking costs a call."""
    conn_id = conn_id or default_conn_id()
    ti = runs.current_ti()
    if ti is None:
        return _ask(conn_id)
    if _Pool.task is not ti:
        _Pool.task, _Pool.settings = ti, {}
    if (settings := _Pool.settings.get(conn_id)) is None:
        settings = _Pool.settings[conn_id] = _ask(conn_id)
    return settings


def default_conn_id() -> str:
    """Return the connection that is meant where none is named."""
    return str(conf.get(SECTION, "conn_id", fallback=DEFAULT_CONN_ID))


def _ask(conn_id: str) -> config.Settings:
    # The XCom backend stands on this module, and Airflow imports that before its hooks.
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        # Only the default may be absent: a name that somebody wrote must not open another store.
        if conn_id != DEFAULT_CONN_ID:
            raise
        return config.find(host=True)
    return settings_of(connection)


def settings_of(connection: Any) -> config.Settings:
    """Return the settings that a connection describes.

    The store's URL stands in the extra field `url`, or in the host. A password goes into a URL that
    names a user and no password, so that it may stand where Airflow masks it; `storage_password`
    goes into that of the storage.

    Raises:
        InvalidInputError: The URL is a relative path.
    """
    from airflow.sdk.log import mask_secret

    extra = connection.extra_dejson
    url = extra.get("url") or connection.host
    if not url:
        return config.find(host=True)
    if "://" not in url and not os.path.isabs(os.path.expanduser(url)):
        raise InvalidInputError(
            f"The connection {connection.conn_id!r} names the relative path {url!r}",
            hint="Workers have different working directories; write an absolute path",
        )
    url = passwords.joined(url, connection.login, connection.password)
    if storage := extra.get("storage"):
        storage = passwords.joined(storage, None, extra.get("storage_password"))
        url += f"{'&' if '?' in url else '?'}storage={quote(storage, safe='')}"
    found = config.find(url, host=True)
    for _, secret in map(passwords.apart, (found.url, found.storage)):
        if secret:  # in the logs of tasks, should anything print it, as it is or in a URL
            mask_secret(secret)
            mask_secret(quote(secret, safe=""))
    return replace(found, source=f"connection {connection.conn_id}")
