"""Cache entries: reading, listing and changing them. A put writes them; see `fences`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from flowblob.catalogs import rows
from flowblob.catalogs.mongo.documents import to_entry
from flowblob.catalogs.mongo.engine import chunks
from flowblob.catalogs.mongo.fences import LOOKED_AT, Fences
from flowblob.catalogs.mongo.reading import HIDDEN, is_of
from flowblob.drafts import Payload
from flowblob.errors import InvalidInputError
from flowblob.model import Blob, CacheEntry
from flowblob.mongodb import Document

_TRIES = 10_000
_PAGE = 1000
_HELD = {"rev": {"$gt": 0}}

#: Filters that a slot answers by itself.
_OF_SLOT: dict[str, Callable[[Any], Document]] = {
    "key": lambda value: {"_id": {"$eq": value}},
    "name": lambda value: {"entry.name": {"$eq": value}},
    "pattern": lambda value: {"entry.name": {"$regex": _like(str(value))}},
    "blob_id": lambda value: {"entry.id": {"$eq": value}},
    "pinned": lambda value: {"entry.pinned": bool(value)},
    "older_than": lambda value: {"entry.updated_at": {"$lte": _micros(value)}},
}
_OF_RUN = ("system", "flow", "task", "run_id", "task_run_id")
#: Filters for what is read beside it.
_OF_BLOB: dict[str, Callable[[CacheEntry, Any], bool]] = {
    "min_size": lambda entry, value: entry.blob.size >= value,
    "max_size": lambda entry, value: entry.blob.size <= value,
    "unused_for": lambda entry, value: rows.to_micros(_last_used(entry)) <= _micros(value),
    "tags": lambda entry, value: all(
        name in entry.blob.tags and rows.to_tag(entry.blob.tags[name]) == rows.to_tag(wanted)
        for name, wanted in value.items()
    ),
}
_FILTERS = (
    "key", "name", "pattern", "blob_id", *_OF_RUN, "pinned", "older_than", "unused_for",
    "min_size", "max_size", "tags",
)  # fmt: skip


class Entries(Fences):
    """Cache entries."""

    def entry(self, key: str) -> tuple[CacheEntry, Payload | None] | None:
        slot = self._tables.slots.one({"_id": key}, LOOKED_AT)
        if slot is not None and slot["mark"] is not None and self._is_decided(slot["mark"]):
            slot = self._slot(key)
        if slot is None or not slot["rev"]:
            return None
        version = self._tables.steps.one({"id": slot["entry"]["id"], "dead": None}, HIDDEN)
        if version is None:
            return None
        states = self._states([version])
        if not is_of(version, states):
            return None
        [blob] = self._blobs([version], states)
        run = slot["entry"]["run"]
        made_by = blob.run if run == version["run"] else self._runs_of([run]).get(run)
        return to_entry(slot, blob, made_by), self._main_payload(version)

    def _is_decided(self, mark: Document) -> bool:
        """Say whether a slot is about to change: a reader need not wait for a step that is not."""
        step = self._tables.steps.one({"_id": mark["op"], "attempt": mark["attempt"]}, {"state": 1})
        return step is not None and step["state"] != "pending"

    def entries(
        self,
        *,
        filters: Mapping[str, Any] | None = None,
        limit: int | None = None,
        idle_first: bool = False,
    ) -> list[CacheEntry]:
        where, tests = self._entry_conditions(filters or {})
        listed: list[CacheEntry] = []
        for entry in self._listed(where):
            if all(test(entry) for test in tests):
                listed.append(entry)
                if not idle_first and limit is not None and len(listed) >= limit:
                    return listed[:limit]
        if idle_first:
            listed.sort(key=lambda entry: (_last_used(entry), entry.key))
        return listed[:limit]

    def _listed(self, where: Document) -> Iterator[CacheEntry]:
        """Yield entries, last updated first; those of one moment by key."""
        slots = self._tables.slots.many(
            {**_HELD, **where}, sort=[("entry.updated_at", -1), ("_id", 1)]
        )
        for page in chunks(slots):
            blobs = self._living_blobs([slot["entry"]["id"] for slot in page])
            runs = self._runs_of(slot["entry"]["run"] for slot in page)
            for slot in page:
                if (blob := blobs.get(slot["entry"]["id"])) is not None:
                    yield to_entry(slot, blob, runs.get(slot["entry"]["run"] or ""))

    def _living_blobs(self, ids: Sequence[str]) -> dict[str, Blob]:
        found = self._tables.steps.many({"id": {"$in": list(ids)}, "dead": None}, HIDDEN)
        states = self._states(found)
        living = [version for version in found if is_of(version, states)]
        return {blob.id: blob for blob in self._blobs(living, states)}

    def _entry_conditions(
        self, filters: Mapping[str, Any]
    ) -> tuple[Document, list[Callable[[CacheEntry], bool]]]:
        where: list[Document] = []
        tests: list[Callable[[CacheEntry], bool]] = []
        of_run: Document = {}
        for name, value in filters.items():
            if name in _OF_SLOT:
                where.append(_OF_SLOT[name](value))
            elif name in _OF_RUN:
                of_run[name] = value
            elif name in _OF_BLOB:
                tests.append(lambda e, test=_OF_BLOB[name], v=value: test(e, v))  # type: ignore[misc]
            else:
                raise InvalidInputError(
                    f"Unknown filter {name!r}", hint=f"Use {', '.join(_FILTERS)}"
                )
        if of_run:
            where.append({"entry.run": {"$in": self._run_ids(of_run)}})
        return ({"$and": where} if where else {}), tests

    def delete_entry(self, key: str) -> bool:
        return self._change_entry(key, {"$set": {"rev": 0}, "$unset": {"entry": ""}})

    def expire_entry(self, key: str, at: datetime | None) -> bool:
        moment = None if at is None else rows.to_micros(at)
        return self._change_entry(key, {"$set": {"rev": self._stamp(), "entry.expires_at": moment}})

    def _change_entry(self, key: str, change: Document) -> bool:
        """Change an entry together with its `rev`, unless there is none."""
        for _ in range(_TRIES):
            slot = self._tables.slots.one({"_id": key}, {"mark": 1, "rev": 1})
            if slot is None or (slot["mark"] is None and not slot["rev"]):
                return False
            if slot["mark"] is not None:
                self._resolve(slot)
            elif self._tables.slots.update_once(
                {"_id": key, "mark": None, "rev": slot["rev"]}, change
            ):
                return True
        raise self._contended(key)

    def touch_entry(self, key: str) -> bool:
        return self._tables.slots.update_once(
            {"_id": key, **_HELD}, {"$max": {"entry.last_hit_at": rows.to_micros(self._now())}}
        )

    def pin_entry(self, key: str, *, is_pinned: bool) -> bool:
        return self._tables.slots.update_once(
            {"_id": key, **_HELD}, {"$set": {"entry.pinned": is_pinned}}
        )

    def cache_size(self) -> int:
        ids = {slot["entry"]["id"] for slot in self._tables.slots.many(_HELD, {"entry.id": 1})}
        payloads: set[str] = set()
        for chunk in chunks(list(ids)):
            living = self._tables.steps.many(
                {"id": {"$in": list(chunk)}, "dead": None}, {"payloads.gen": 1}
            )
            payloads |= {used["gen"] for version in living for used in version["payloads"]}
        return sum(
            payload["size"]
            for chunk in chunks(list(payloads))
            for payload in self._tables.payloads.many({"_id": {"$in": list(chunk)}}, {"size": 1})
        )


def _last_used(entry: CacheEntry) -> datetime:
    hit = entry.last_hit_at
    return hit if hit is not None and hit > entry.updated_at else entry.updated_at


def _micros(value: Any) -> Any:
    return rows.to_micros(value) if isinstance(value, datetime) else value


def _like(pattern: str) -> str:
    """Return a regular expression for a pattern of `*` and `?`; nothing else is special."""
    quoted = re.escape(pattern).replace(r"\*", r"[\s\S]*").replace(r"\?", r"[\s\S]")
    return f"^{quoted}$"
