"""The trigger that waits for a version in the triggerer, without a worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from flowblob_airflow.stores import DEFAULT_CONN_ID, store_for


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
