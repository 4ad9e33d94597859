"""Collecting payloads that nothing references, and finishing what died half-way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from flowblob.catalogs.mongo.documents import to_payload
from flowblob.catalogs.mongo.engine import chunks
from flowblob.catalogs.mongo.placing import ALIVE
from flowblob.catalogs.mongo.steps import Steps
from flowblob.drafts import Payload
from flowblob.mongodb import Document

_PAGE = 1000

#: An undecided step whose writer has not been heard of for its whole ttl.
_STALE = {
    "state": "pending",
    "$expr": {"$lte": [{"$add": ["$begun", "$ttl"]}, "$$NOW"]},
}
#: What a finished put needs no more; its payloads it keeps.
_SCAFFOLD = dict.fromkeys(("open", "after", "buries", "entry", "marks", "pinned", "ttl"), "")


class Upkeep(Steps):
    """Garbage."""

    def condemned(self, *, grace: timedelta, limit: int, dry_run: bool = False) -> list[Payload]:
        if not dry_run:
            self._sweep()
        before = self._now() - grace
        found: list[Document] = []
        for page in self._candidates(before):
            free = self._unreferenced(page, before)
            found += free if dry_run else [p for p in free if self._condemn(p)]
            if len(found) >= limit:
                break
        standing = self._tables.payloads.many(
            {"state": "condemned"}, {"data": 0}, sort=[("_id", 1)], limit=limit
        )
        listed = [*standing, *found[: max(limit - len(standing), 0)]] if dry_run else standing
        return [to_payload(payload) for payload in listed]

    def _candidates(self, before: datetime) -> Iterator[list[Document]]:
        """Yield payloads that have not changed lately, with the `rev` they have now."""
        after = ""
        while True:
            page = self._tables.payloads.many(
                {
                    "_id": {"$gt": after},
                    "state": {"$ne": "condemned"},
                    "changed_at": {"$lte": before},
                },
                {"data": 0},
                sort=[("_id", 1)],
                limit=_PAGE,
            )
            if page:
                yield page
                after = page[-1]["_id"]
            if len(page) < _PAGE:
                return

    def _unreferenced(self, page: Sequence[Document], before: datetime) -> list[Document]:
        """Return those that nothing refers to; their `rev` must have been read before.

        A version that was dropped lately may be brought back, and a reader may just have found it.
        """
        chosen = {"$in": [payload["_id"] for payload in page]}
        used: set[str] = set()
        for version in self._tables.steps.many(
            {"payloads.gen": chosen, "$or": [{"dead": None}, {"dead.at": {"$gt": before}}]},
            {"payloads.gen": 1},
        ):
            used |= {reference["gen"] for reference in version["payloads"]}
        for pin in self._tables.pins.many({"generations": chosen, **ALIVE}):
            used |= set(pin["generations"])
        used |= {p["base"] for p in self._tables.payloads.many({"base": chosen}, {"base": 1})}
        return [payload for payload in page if payload["_id"] not in used]

    def _condemn(self, payload: Document) -> bool:
        done = self._tables.payloads.update_once(
            {
                "_id": payload["_id"],
                "rev": payload["rev"],
                "state": {"$ne": "condemned"},
            },
            {
                "$set": {"state": "condemned", "rev": self._stamp()},
                "$currentDate": {"changed_at": True},
            },
        )
        if done:
            # What was dropped, and could have come back, is its own no longer.
            self._tables.steps.update_all(
                {"payloads.gen": payload["_id"]}, {"$pull": {"payloads": {"gen": payload["_id"]}}}
            )
        return done

    def forget(self, generation: str) -> None:
        self._tables.payloads.delete({"_id": generation, "state": "condemned"})

    def generations(self, *, after: str = "", limit: int = 10_000) -> list[Payload]:
        found = self._tables.payloads.many(
            {"_id": {"$gt": after}}, {"data": 0}, sort=[("_id", 1)], limit=limit
        )
        return [to_payload(payload) for payload in found]

    # finishing what died half-way -----------------------------------

    def _sweep(self) -> None:
        """Finish what is decided, cancel what nobody decides any more, drop pins that are over."""
        for step in self._tables.steps.many(_STALE):
            self._cancel(step)
        self._finish_open()
        for pin in self._tables.pins.many({"$nor": [ALIVE]}, {"_id": 1, "at": 1}):
            self._tables.pins.delete(pin)  # unless it was renewed since

    def _finish_open(self) -> None:
        """Carry through every step that is decided."""
        for page in self._open_steps():
            self._finish_all(page)

    def _open_steps(self) -> Iterator[list[Document]]:
        after = ""
        while True:
            page = self._tables.steps.many(
                {"open": True, "state": {"$ne": "pending"}, "_id": {"$gt": after}},
                sort=[("_id", 1)],
                limit=_PAGE,
            )
            yield page
            if len(page) < _PAGE:
                return
            after = page[-1]["_id"]

    def _finish_all(self, page: Sequence[Document]) -> None:
        keys = list({step["key"] for step in page})
        states = {
            state["_id"]: state
            for chunk in chunks(keys)
            for state in self._tables.keys.many({"_id": {"$in": list(chunk)}})
        }
        done = []
        for step in page:
            state = states.get(step["key"])
            is_put = step["what"] == "put" and step["state"] == "committed"
            if not is_put or state is None or not _is_past(state, step):
                self._carry_through(step)
            if is_put:  # others take their scaffold down themselves
                done.append(step["_id"])
        for chunk in chunks(done):
            self._tables.steps.update_all({"_id": {"$in": list(chunk)}}, {"$unset": _SCAFFOLD})


def _is_past(state: Document, step: Document) -> bool:
    """Say whether a key's state says that a step was carried through.

    Another life can only follow the end of this one, which was carried through after it.
    """
    return bool(state["incarnation"] != step["incarnation"] or state["step"] >= step["step"])
