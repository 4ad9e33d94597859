"""The triggers that wait in the triggerer, without a worker slot: for a version, for a result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent

from flowblob.errors import FlowblobError
from flowblob_airflow.stores import DEFAULT_CONN_ID, store_for

logger = logging.getLogger("flowblob.airflow")


class BlobTrigger(BaseEventTrigger):
    """Fire when a reference means something, or something newer than a known version.

    Also usable in an `AssetWatcher`, so that a new version made outside of Airflow starts a DAG.

    Args:
        ref: The reference to wait for.
        newer_than: Only a version greater than this one counts.
        poll_interval: Seconds between two looks.
        flowblob_conn_id: The connection of the store; its URL never enters Airflow's database.
    """

    def __init__(
        self,
        *,
        ref: str,
        newer_than: int | None = None,
        poll_interval: float = 60.0,
        flowblob_conn_id: str = DEFAULT_CONN_ID,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ref = ref
        self.newer_than = newer_than
        self.poll_interval = poll_interval
        self.flowblob_conn_id = flowblob_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again elsewhere."""
        return (
            "flowblob_airflow.triggers.BlobTrigger",
            {
                "ref": self.ref,
                "newer_than": self.newer_than,
                "poll_interval": self.poll_interval,
                "flowblob_conn_id": self.flowblob_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, and sleep, until there is a version; as a watcher, go on after it."""
        newer_than = self.newer_than
        while True:
            # Stores block, and one triggerer serves hundreds of triggers in one loop.
            found = await asyncio.to_thread(
                look, self.ref, newer_than=newer_than, conn_id=self.flowblob_conn_id
            )
            if found is not None:
                yield TriggerEvent(found)  # type: ignore[no-untyped-call]
                newer_than = found["version"]
            await asyncio.sleep(self.poll_interval)


class ReservationTrigger(BaseTrigger):
    """Fire when nobody computes a result any more: it is stored, or its computation has ended.

    Args:
        key: Digest of the result's cache key.
        poll_interval: Seconds between two looks.
        flowblob_conn_id: The connection of the store; the configured one if not given.
    """

    def __init__(
        self, *, key: str, poll_interval: float = 5.0, flowblob_conn_id: str | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.key = key
        self.poll_interval = poll_interval
        self.flowblob_conn_id = flowblob_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments that make this trigger again elsewhere."""
        return (
            "flowblob_airflow.triggers.ReservationTrigger",
            {
                "key": self.key,
                "poll_interval": self.poll_interval,
                "flowblob_conn_id": self.flowblob_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, and sleep, until the reservation is over."""
        while await asyncio.to_thread(self._is_held):
            await asyncio.sleep(self.poll_interval)
        yield TriggerEvent({"key": self.key})  # type: ignore[no-untyped-call]

    def _is_held(self) -> bool:
        try:
            return store_for(self.flowblob_conn_id).catalog.holder(self.key) is not None
        except FlowblobError as error:
            # A trigger that fails would fail its task; that one knows what an outage means to it.
            logger.warning("Cannot see who computes %s: %s", self.key, error)
            return False


def look(ref: str, *, newer_than: int | None, conn_id: str) -> dict[str, Any] | None:
    """Return what a reference means now, as JSON-able facts, None if it is not there yet."""
    from flowblob import Ref

    record = store_for(conn_id).catalog.find(Ref.parse(ref))
    if record is None or (newer_than is not None and record.blob.version <= newer_than):
        return None
    blob = record.blob
    return {
        "ref": blob.ref,
        "key": blob.key,
        "version": blob.version,
        "digest": blob.digest,
        "size": blob.size,
    }
