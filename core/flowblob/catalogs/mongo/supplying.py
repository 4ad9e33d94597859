"""The payloads of a put: chosen before its step stands, held once that refers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowblob.catalogs.mongo.documents import payload_document
from flowblob.catalogs.mongo.placing import Placing
from flowblob.catalogs.mongo.steps import Cancelled
from flowblob.checks import new_id
from flowblob.drafts import Part, PlacementLost
from flowblob.errors import InvalidInputError
from flowblob.mongodb import Document

_BAD = ("suspect", "damaged")


@dataclass(slots=True)
class Supply:
    """The payloads of a put.

    Attributes:
        references: Part and generation, in order.
        fresh: Inline payloads that do not stand yet.
        bad: For each generation, damaged ones of the same bytes.
    """

    references: list[Document]
    fresh: dict[str, Document]
    bad: dict[str, list[str]]


class Supplying(Placing):
    """What a commit does with payloads."""

    def _supply(self, parts: Sequence[Part]) -> Supply:
        """Choose the payloads: an inline one that has the same bytes is used again."""
        found = self._tables.payloads.many({"digest": {"$in": [part.digest for part in parts]}})
        supply = Supply([], {}, {})
        for part in parts:
            generation = part.generation
            if part.data is not None:
                generation = self._inline(part, found, supply)
            if generation:
                supply.references.append({"name": part.name, "gen": generation})
                supply.bad[generation] = [
                    f["_id"] for f in found if f["digest"] == part.digest and f["state"] in _BAD
                ]
        return supply

    def _inline(self, part: Part, found: Sequence[Document], supply: Supply) -> str:
        for payload in found:
            if payload["digest"] != part.digest or not payload["inline"]:
                continue
            if payload["state"] == "ok" and payload["data"] == part.data:
                return str(payload["_id"])
            if payload["state"] == "ok":  # under this digest, and yet other bytes
                self.mark(payload["_id"], "damaged")
                payload["state"] = "damaged"
        for generation, fresh in supply.fresh.items():
            if fresh["digest"] == part.digest:
                return generation
        if part.size > self.inline_limit:
            raise InvalidInputError(
                f"A payload of {part.size:,} bytes is too large to be inline on MongoDB",
                hint=f"At most {self.inline_limit:,} bytes; leave inline out",
            )
        fresh = payload_document(new_id(), part, state="ok", data=part.data)
        supply.fresh[fresh["_id"]] = fresh
        return str(fresh["_id"])

    def _settle(self, given: Sequence[Part], supply: Supply) -> None:
        """Make the payloads `ok`, now that a collector sees who refers to them."""
        parts = {part.name: part for part in given}
        self._insert_payloads(list(supply.fresh.values()))
        standing = {
            reference["gen"]: parts[reference["name"]]
            for reference in supply.references
            if reference["gen"] not in supply.fresh
        }
        if not self._tables.payloads.update_each(
            [self._held(generation, part.digest) for generation, part in standing.items()]
        ):
            for generation, part in standing.items():
                if not self._tables.payloads.update(*self._held(generation, part.digest)):
                    self._refuse(generation, part)
        for generation, bad in supply.bad.items():
            self._heal(generation, bad)

    def _refuse(self, generation: str, part: Part) -> None:
        """Say why a payload cannot be used."""
        found = self._tables.payloads.one({"_id": generation}, {"digest": 1})
        if found is not None and found["digest"] != part.digest:
            raise InvalidInputError(
                f"Generation {generation} holds {found['digest']}, not {part.digest}"
            )
        if part.generation:
            raise PlacementLost(generation)
        raise Cancelled  # an inline copy that stood a moment ago: choose again

    def _held(self, generation: str, digest: str) -> tuple[Document, Document]:
        """Return filter and change by which a payload is `ok`, and newly referred to."""
        return (
            {"_id": generation, "digest": digest, "state": {"$in": ["uploading", "ok"]}},
            {"$set": {"state": "ok", "rev": self._stamp()}, "$currentDate": {"changed_at": True}},
        )

    def _hold_ok(self, generation: str) -> bool:
        return self._tables.payloads.update(
            {"_id": generation, "state": "ok"}, {"$set": {"rev": self._stamp()}}
        )

    def _heal(self, generation: str, bad: Sequence[str]) -> None:
        """Point all versions away from damaged bytes that this put brought anew."""
        for damaged in bad:
            if self._move(damaged, generation):
                self._hold_ok(generation)
