"""The physical copies of some bytes: who uses them, and putting one in another's place."""

from __future__ import annotations

from flowblob.catalogs import refusals
from flowblob.catalogs.mongo.documents import to_payload
from flowblob.catalogs.mongo.placing import Placing
from flowblob.catalogs.mongo.reading import HIDDEN, NEWEST_FIRST, NUMBERED, Reading, is_of
from flowblob.drafts import Payload
from flowblob.model import Blob


class Healing(Reading, Placing):
    """What repair needs to know and to change."""

    def copies(self, digest: str) -> list[Payload]:
        found = self._tables.payloads.many({"digest": digest}, sort=[("created_at", 1), ("_id", 1)])
        return [to_payload(payload) for payload in found]

    def users(self, generation: str, *, limit: int = 100) -> list[Blob]:
        found = self._tables.steps.many(
            {"payloads.gen": generation, **NUMBERED, "dead": None},
            HIDDEN,
            sort=NEWEST_FIRST,
            limit=limit,
        )
        states = self._states(found)
        return self._blobs([version for version in found if is_of(version, states)], states)

    def repoint(self, generation: str, to: str) -> int:
        old = self._tables.payloads.one({"_id": generation}, {"digest": 1})
        same = {"_id": to, "state": "ok", "digest": old and old["digest"]}
        hold = {"$currentDate": {"changed_at": True}}
        if generation == to or not self._tables.payloads.update(
            same, {**hold, "$set": {"rev": self._stamp()}}
        ):
            raise refusals.no_copy(generation, to)
        moved = self._move(generation, to)
        # Again now that the references stand: before, a collector could not have seen them.
        if not self._tables.payloads.update(same, {**hold, "$set": {"rev": self._stamp()}}):
            self._move(to, generation)
            raise refusals.no_copy(generation, to)
        self.mark(generation, "damaged")
        return moved
