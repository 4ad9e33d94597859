"""What stands in Airflow's database in place of a stored value: a dict that people can read.

A reference names one exact version: store, key, incarnation, version and digest. All of them are
compared with the catalog before anything is read, so that editing one in Airflow's UI cannot make a
task read something else.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flowblob.checks import quote_segment
from flowblob.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flowblob import Blob, Store

MARKER = "__flowblob__"
_SCHEME = 1
_PREVIEW_BYTES = 1024
_KEY_BYTES = 1024
_FIELDS: Mapping[str, type] = {
    MARKER: int,
    "store": str,
    "key": str,
    "incarnation": str,
    "version": int,
    "digest": str,
}


def reference_to(store: Store, blob: Blob) -> dict[str, Any]:
    """Return the reference of a version; what people look for stands first."""
    preview = blob.preview if _is_short(blob.preview) else None
    told: dict[str, Any] = {
        MARKER: _SCHEME,
        "ref": blob.ref,
        "size": blob.size,
        "type": preview.get("type", "") if isinstance(preview, dict) else "",
        "preview": preview,
        "serializer": blob.serializer,
        "key": blob.key,
        "version": blob.version,
        "incarnation": blob.incarnation,
        "digest": blob.digest,
        "store": store.store_id,
    }
    if blob.run is not None:
        told["from"] = str(blob.run)
    return told


def is_reference(value: Any) -> bool:
    """Say whether a raw XCom claims to be a reference; a user's own dict is never stored so."""
    return isinstance(value, dict) and MARKER in value


def resolve(store: Store, reference: Mapping[str, Any]) -> Blob:
    """Return the version that a reference names, checked against the catalog.

    Raises:
        InvalidInputError: It is not a reference that flowblob wrote.
        NotFoundError: It is of another store, or no such version lives here.
    """
    for name, kind in _FIELDS.items():
        if type(reference.get(name)) is not kind:
            raise InvalidInputError(
                f"A damaged flowblob reference: {name!r} is {reference.get(name)!r}",
                hint="Clear the task that pushed it",
            )
    if reference[MARKER] != _SCHEME:
        raise InvalidInputError(
            f"A flowblob reference of the form {reference[MARKER]}, this version knows {_SCHEME}",
            hint="Upgrade flowblob here",
        )
    shown = f"{reference['key']}@{reference['version']}"
    if reference["store"] != store.store_id:
        raise NotFoundError(
            f"{shown} is in the store {reference['store']}, not in {store.url}",
            hint="Give all workers the same flowblob connection",
        )
    return store.pinned(
        reference["key"], reference["incarnation"], reference["version"], reference["digest"]
    )


def output_key(
    dag_id: str, task_id: str, map_index: int | None = None, *, xcom: str | None = None
) -> str:
    """Return the key under which a task's output, or another XCom of it, is versioned.

    Args:
        dag_id: The DAG.
        task_id: The task, with its groups.
        map_index: Index of a mapped task; negative or None for others.
        xcom: Name of an XCom beside the return value.

    Example:
        >>> output_key("etl", "group.load", 3), output_key("etl", "load", xcom="rows")
        ('etl/group.load/3', 'etl/load/xcom/rows')
    """
    segments = [quote_segment(dag_id), quote_segment(task_id)]
    if map_index is not None and map_index >= 0:
        segments.append(str(map_index))
    if xcom is not None:
        segments += ["xcom", quote_segment(xcom)]
    key = "/".join(segments)
    return key if len(key.encode()) <= _KEY_BYTES else _shortened(segments)


def _shortened(segments: list[str]) -> str:
    """Return a key for names that are too long once quoted; two of them never share one."""
    import hashlib

    digest = hashlib.sha256("/".join(segments).encode()).hexdigest()
    head = "/".join(segments).encode()[: _KEY_BYTES // 2].decode(errors="ignore")
    return f"{head.rstrip('/% ')}/{digest}"


def _is_short(preview: Any) -> bool:
    if preview is None:
        return False
    try:
        return len(json.dumps(preview, allow_nan=False)) <= _PREVIEW_BYTES
    except (TypeError, ValueError):
        return False
