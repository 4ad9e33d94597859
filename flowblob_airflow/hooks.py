"""The hook through which operators, sensors and DAG authors reach a store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from flowblob.checks import new_id
from flowblob.errors import FlowblobError
from flowblob_airflow.stores import DEFAULT_CONN_ID, store_for

if TYPE_CHECKING:
    from flowblob import Store


class FlowblobHook(BaseHook):
    """Give out the store of a connection.

    Args:
        flowblob_conn_id: The connection. With the default one absent, the store is what
            `FLOWBLOB_URL` names, else the user's own.

    Example:
        ```python
        @task
        def report():
            FlowblobHook().store.put("reports/daily", {"rows": 3})
        ```
    """

    conn_name_attr = "flowblob_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "flowblob"
    hook_name = "flowblob"

    def __init__(self, flowblob_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flowblob_conn_id = flowblob_conn_id

    @property
    def store(self) -> Store:
        """The store, opened once per process."""
        return store_for(self.flowblob_conn_id)

    def get_conn(self) -> Store:
        """Return the store, under the name that Airflow's hooks use."""
        return self.store

    def test_connection(self) -> tuple[bool, str]:
        """Store, read and delete a few bytes; say how it went, for the Test button."""
        key = f"flowblob/connection-test/{new_id()}"
        began = time.perf_counter()
        try:
            store = self.store
            # Out of line, so that the payload storage is tried too.
            blob = store.put(key, b"connection test", inline=False)
            is_same = store.get(blob) == b"connection test"
            store.delete(key)
        except FlowblobError as error:
            return False, str(error)
        if not is_same:
            return False, f"{store.url} gave other bytes back"
        milliseconds = (time.perf_counter() - began) * 1000
        return True, f"{store.url}: stored, read and deleted a few bytes in {milliseconds:.0f} ms"
