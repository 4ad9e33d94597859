"""Payloads before the commit: placing, pinning, marking (TXN-A)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from flowblob.catalogs import refusals
from flowblob.catalogs.mongo.documents import payload_document, to_millis, to_payload
from flowblob.catalogs.mongo.engine import MongoEngine
from flowblob.checks import new_id
from flowblob.drafts import Part, Payload, Spooled
from flowblob.mongodb import Document

#: Filter for pins and undecided steps that somebody still works on, by the server's clock.
ALIVE = {"$expr": {"$gt": [{"$add": ["$at", "$ttl"]}, "$$NOW"]}}


class Placing(MongoEngine):
    """The part of the put protocol that precedes the commit.

    A collector reads the `rev` of a payload before it looks for references, and condemns only at
    that `rev`. So everybody else publishes a reference (a pin, a pending step) and changes `rev`
    after that: one of the two notices the other.
    """

    def place(
        self, op: str, parts: Sequence[Spooled], *, ttl: timedelta, suspects: Iterable[str] = ()
    ) -> list[tuple[Payload, bool]]:
        for generation in suspects:
            self.mark(generation, "suspect")
        while True:
            chosen = {part.digest: part for part in parts}
            standing = self._standing(op, list(chosen))
            placed = {
                digest: standing.get(digest) or _fresh(part) for digest, part in chosen.items()
            }
            self._pin(op, [found["_id"] for found in placed.values()], ttl)
            if self._hold_all_placed(list(placed.values())):
                break  # else a collector was quicker, and its choice is not ours any more
        answers = []
        seen: set[str] = set()
        for part in parts:
            found = placed[part.digest]
            must_write = found["state"] == "uploading" and part.digest not in seen
            seen.add(part.digest)
            answers.append((to_payload(found), must_write))
        return answers

    def _standing(self, op: str, digests: list[str]) -> dict[str, Document]:
        """Return for each digest a healthy copy, or what this put has begun to write before.

        An inline copy is none for a put that writes to the storage: nobody could verify it here.
        """
        pin = self._tables.pins.one({"_id": op})
        own = [] if pin is None else pin["generations"]
        found = self._tables.payloads.many(
            {"digest": {"$in": digests}, "state": {"$in": ["ok", "uploading"]}, "inline": False},
            {"data": 0},
            sort=[("created_at", -1), ("_id", 1)],
        )
        usable = [f for f in found if f["state"] == "ok" or f["_id"] in own]
        # The last one stays in the dict: the oldest that is healthy.
        usable.sort(key=lambda f: f["state"] == "ok")
        return {payload["digest"]: payload for payload in usable}

    def _pin(self, op: str, generations: list[str], ttl: timedelta) -> None:
        self._tables.pins.put(
            {"_id": op},
            {
                "$set": {"ttl": to_millis(ttl)},
                "$addToSet": {"generations": {"$each": generations}},
                "$currentDate": {"at": True},
            },
        )

    def _hold_all_placed(self, payloads: Sequence[Document]) -> bool:
        """Make pinned payloads safe from a collector that has looked already."""
        self._insert_payloads([p for p in payloads if "created_at" not in p])
        return self._tables.payloads.update_each(
            [
                ({"_id": p["_id"], "state": p["state"]}, {"$set": {"rev": self._stamp()}})
                for p in payloads
                if "created_at" in p
            ]
        )

    def _insert_payloads(self, payloads: Sequence[Document]) -> None:
        self._tables.payloads.put_all(
            [
                (
                    {"_id": payload["_id"]},
                    {
                        "$setOnInsert": {
                            **{name: value for name, value in payload.items() if name != "_id"},
                            "rev": self._stamp(),
                        },
                        "$currentDate": {"created_at": True, "changed_at": True},
                    },
                )
                for payload in payloads
            ]
        )

    def _move(self, old: str, new: str) -> int:
        """Have all versions use another copy of the same bytes; returns how many references."""
        moved = 0
        # A version may use the same bytes under two names; the operator changes one at a time.
        # Counted before: a second sending finds only what the first one has left over.
        while more := self._tables.steps.matching({"payloads.gen": old}):
            self._tables.steps.update_all({"payloads.gen": old}, {"$set": {"payloads.$.gen": new}})
            moved += more
        return moved

    def renew(self, op: str, ttl: timedelta) -> None:
        self._tables.pins.update(
            {"_id": op}, {"$set": {"ttl": to_millis(ttl)}, "$currentDate": {"at": True}}
        )

    def unpin(self, op: str) -> None:
        self._tables.pins.delete({"_id": op})

    def mark(self, generation: str, state: str) -> None:
        refusals.check_mark(state)
        self._tables.payloads.update_once(
            {"_id": generation, "state": {"$in": list({"ok", "suspect", "damaged"} - {state})}},
            {"$set": {"state": state, "rev": self._stamp()}, "$currentDate": {"changed_at": True}},
        )


def _fresh(part: Spooled | Part) -> Document:
    return payload_document(new_id(), part, state="uploading")
