"""What a task does beside its return value, kept with the cache entry and done again on a hit.

These are XComs under other names, and what it tells about its outlet assets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from flowblob.journal import best_effort
from flowblob.lazy import Lazy
from flowblob_airflow import references, runs
from flowblob_airflow.xcom import is_backend, is_control, is_inline

if TYPE_CHECKING:
    from flowblob import Store

#: Where it stands in the metadata of a cache entry.
FIELD = "airflow"


class Recorder:
    """Remembers the XComs that a task pushes while it computes.

    Args:
        context: Airflow's context of the task.
        store: Where values go that do not fit into the entry.
    """

    def __init__(self, context: Mapping[str, Any], store: Store) -> None:
        self._context = context
        self._store = store
        self._xcoms: dict[str, Any] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what is pushed inside the block; pushing works as ever."""
        ti = self._context["ti"]
        push, apush = ti.xcom_push, ti.axcom_push

        def xcom_push(key: str, value: Any) -> None:
            push(key, self._kept(key, value))

        async def axcom_push(key: str, value: Any) -> None:
            await apush(key, self._kept(key, value))

        # A task instance is a pydantic model, which refuses attributes that are no fields.
        object.__setattr__(ti, "xcom_push", xcom_push)
        object.__setattr__(ti, "axcom_push", axcom_push)
        try:
            yield
        finally:
            object.__delattr__(ti, "xcom_push")
            object.__delattr__(ti, "axcom_push")

    def _kept(self, key: str, value: Any) -> Any:
        """Keep a value for replays; return what to push, so that nothing is stored twice."""
        if is_inline(value):
            self._xcoms[key] = value
            return value
        ti = self._context["ti"]
        with best_effort(f"Keeping the XCom {key!r} for later hits"):
            where = references.output_key(ti.dag_id, ti.task_id, ti.map_index, xcom=key)
            lazy = value
            if not isinstance(value, Lazy):
                blob = self._store.put(where, value, run=runs.run_of(ti))
                lazy = Lazy(self._store, blob)
            self._xcoms[key] = references.reference_to(self._store, lazy.blob)
            if is_backend() and not is_control(key):
                return lazy
        return value

    def metadata(self) -> dict[str, Any]:
        """Return what a hit has to do again, as JSON-able data; empty if there is nothing."""
        told: dict[str, Any] = {}
        if self._xcoms:
            told["xcoms"] = self._xcoms
        if events := _events(self._context["outlet_events"]):
            told["events"] = events
        return {FIELD: told} if told else {}


def replay(
    metadata: Mapping[str, Any], context: Mapping[str, Any], store: Store, *, events: bool
) -> None:
    """Push the XComs of the computation again, and tell its assets the same.

    Args:
        metadata: Metadata of the cache entry.
        context: Airflow's context of the task that is served.
        store: Where the entry is.
        events: Whether asset events are told again.
    """
    told = metadata.get(FIELD, {})
    ti = context["ti"]
    for key, kept in told.get("xcoms", {}).items():
        value = kept
        if references.is_reference(kept):
            lazy = Lazy(store, references.resolve(store, kept))
            value = lazy if is_backend() and not is_control(key) else lazy.load()
        ti.xcom_push(key, value)
    for event in told.get("events", []) if events else []:
        _tell(context["outlet_events"], event)


def _events(accessors: Mapping[Any, Any]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for asset, accessor in accessors.items():
        if isinstance(asset, AssetAlias):
            events += [
                {
                    "alias": asset.name,
                    "name": added.dest_asset_key.name,
                    "uri": added.dest_asset_key.uri,
                    "asset_extra": added.dest_asset_extra,
                    "extra": added.extra,
                }
                for added in accessor.asset_alias_events
            ]
        elif accessor.extra or accessor.partition_keys:
            events.append(
                {
                    "name": asset.name,
                    "uri": asset.uri,
                    "extra": accessor.extra,
                    "partitions": sorted(accessor.partition_keys),
                }
            )
    return events


def _tell(accessors: Any, event: Mapping[str, Any]) -> None:
    if "alias" in event:
        asset = Asset(name=event["name"], uri=event["uri"], extra=event["asset_extra"])
        accessors[AssetAlias(event["alias"])].add(asset, extra=event["extra"])
        return
    accessor = accessors[Asset(name=event["name"], uri=event["uri"])]
    accessor.extra.update(event["extra"])
    if event["partitions"]:
        accessor.add_partitions(event["partitions"])
