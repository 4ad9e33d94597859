"""Dropping versions and keys, and bringing them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowblob.catalogs import refusals
from flowblob.catalogs.mongo.documents import from_items
from flowblob.catalogs.mongo.engine import chunks
from flowblob.catalogs.mongo.reading import HIDDEN, NUMBERED, Reading
from flowblob.catalogs.mongo.steps import DROPPED, WITH_ITS_KEY, after, new_life
from flowblob.model import Blob, Ref
from flowblob.mongodb import Document


class Deleting(Reading):
    """A dropped version stays as a record with a tombstone; its number is never given again."""

    def delete(self, ref: Ref, *, by: str = "") -> list[Blob]:
        if ref.is_bare:
            return self._delete_key(ref.key, by)
        found = self._version(ref)
        if found is None:
            raise refusals.absent(str(ref))
        blob_id = found[0]["id"]
        [dropped] = self._blobs([found[0]])

        def plan(state: Document | None) -> Document:
            if state is None or not self._alive(state, [blob_id]):
                raise refusals.absent(str(ref))
            if names := _aliases_on(state, blob_id):
                raise refusals.pointed_at(dropped.ref, names)
            return self._burial(state, [blob_id], by)

        self._change(dropped.key, plan)
        return [dropped]

    def _burial(self, state: Document, ids: Sequence[str], by: str) -> Document:
        newest = state["newest"]
        if newest is not None and newest["id"] in ids:
            newest = self._newest_of(state["incarnation"], ids)
        return {
            "what": "bury",
            "by": by,
            "cause": DROPPED,
            "buries": list(ids),
            "after": after(state, newest=newest),
        }

    def _alive(self, state: Document, ids: Sequence[str]) -> list[Document]:
        """Return those of some versions that live while their key has this state."""
        return self._tables.steps.many(
            {
                "id": {"$in": list(ids)},
                "incarnation": state["incarnation"],
                "dead": None,
                **NUMBERED,
            },
            HIDDEN,
        )

    def _newest_of(
        self, incarnation: str, without: Sequence[str] = (), also: Sequence[str] = ()
    ) -> Document | None:
        """Return what a key says of its newest version, if these were dropped or came back."""
        found = self._tables.steps.one(
            {
                "incarnation": incarnation,
                **NUMBERED,
                "id": {"$not": {"$in": list(without)}},
                "$or": [{"dead": None}, {"id": {"$in": list(also)}}],
            },
            sort=[("version", -1)],
        )
        if found is None:
            return None
        kept = {name: found[name] for name in ("id", "version", "content", "history")}
        return kept | {"signer": found["signature_key"]}

    def _delete_key(self, key: str, by: str) -> list[Blob]:
        dropped: list[Blob] = []

        def plan(state: Document | None) -> Document:
            found: list[Document] = []
            if state is not None and state["step"]:
                found = self._tables.steps.many(
                    {"incarnation": state["incarnation"], **NUMBERED, "dead": None},
                    HIDDEN,
                    sort=[("version", -1)],
                )
            if state is None or not found:  # one without a version keeps its numbers
                raise refusals.absent(repr(key))
            dropped[:] = self._blobs(found, {key: state})
            return self._ending(state, by)

        self._change(key, plan)
        return dropped

    def _ending(self, state: Document, by: str) -> Document:
        return {
            "what": "end",
            "by": by,
            "cause": WITH_ITS_KEY,
            # Kept for the case that the key is brought back.
            "aliases": state["aliases"],
            "head": state["head"],
            "born": state["born"],
            "moves": [{"name": a["name"], "version": None} for a in state["aliases"]],
            "after": new_life(),
        }

    def drop(self, blob_ids: Sequence[str], *, by: str = "") -> list[Blob]:
        pinned = self._pinned()
        wanted = [blob_id for blob_id in blob_ids if blob_id not in pinned]
        found = self._tables.steps.many(
            {"id": {"$in": wanted}, "dead": None, **NUMBERED}, {"id": 1, "key": 1}
        )
        by_key: dict[str, list[str]] = {}
        for version in found:
            by_key.setdefault(version["key"], []).append(version["id"])
        dropped: dict[str, Blob] = {}
        for key in sorted(by_key):
            dropped |= {blob.id: blob for blob in self._drop_of(key, by_key[key], by)}
        return [dropped[blob_id] for blob_id in blob_ids if blob_id in dropped]

    def _drop_of(self, key: str, ids: Sequence[str], by: str) -> list[Blob]:
        dropped: list[Blob] = []

        def plan(state: Document | None) -> Document | None:
            alive = [] if state is None else self._alive(state, ids)
            free = [v for v in alive if state and not _aliases_on(state, v["id"])]
            dropped[:] = self._blobs(free)
            if state is None or not free:
                return None
            return self._burial(state, [version["id"] for version in free], by)

        self._change(key, plan)
        return dropped

    def _pinned(self) -> set[str]:
        """Return what pinned entries point at or name as an output."""
        found = self._tables.slots.many(
            {"rev": {"$gt": 0}, "entry.pinned": True}, {"entry.id": 1, "entry.outputs": 1}
        )
        outputs = {i for slot in found for i in from_items(slot["entry"]["outputs"]).values()}
        return outputs | {slot["entry"]["id"] for slot in found}

    def weigh(self, blob_ids: Sequence[str]) -> tuple[int, int]:
        mine: dict[str, int] = {}
        for chunk in chunks(blob_ids):
            for version in self._tables.steps.many({"id": {"$in": list(chunk)}}, {"payloads": 1}):
                for used in version["payloads"]:
                    mine[used["gen"]] = mine.get(used["gen"], 0) + 1
        count = size = 0
        for part in chunks(list(mine)):
            chosen = {"$in": list(part)}
            users: dict[str, int] = {}
            for version in self._tables.steps.many(
                {"payloads.gen": chosen, "dead": None, **NUMBERED}, {"payloads": 1}
            ):
                for used in version["payloads"]:
                    users[used["gen"]] = users.get(used["gen"], 0) + 1
            bases = {p["base"] for p in self._tables.payloads.many({"base": chosen}, {"base": 1})}
            for payload in self._tables.payloads.many({"_id": chosen}, {"data": 0}):
                if (
                    users.get(payload["_id"]) == mine[payload["_id"]]
                    and payload["_id"] not in bases
                ):
                    count += 1
                    size += payload["size"] if payload["inline"] else payload["stored_size"]
        return count, size


def _aliases_on(state: Document, blob_id: str) -> list[Any]:
    return sorted(alias["name"] for alias in state["aliases"] if alias["id"] == blob_id)
