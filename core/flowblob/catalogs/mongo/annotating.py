"""Taking in what hangs on versions: labels, links, cache entries, keys of hosts."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from flowblob.catalogs import rows
from flowblob.catalogs.mongo.documents import made_at, to_items
from flowblob.catalogs.mongo.entries import Entries
from flowblob.catalogs.mongo.names import TAGGED, tag_moves
from flowblob.catalogs.mongo.reading import NUMBERED
from flowblob.catalogs.mongo.scanning import Scanning
from flowblob.catalogs.mongo.steps import after
from flowblob.model import Run
from flowblob.mongodb import Document, next_order
from flowblob.portable import Portable, from_moment, gained

_TRIES = 100


def micros(text: str | None) -> Any:
    """Return microseconds for a record's time, None for none."""
    return None if text is None else rows.to_micros(from_moment(text))


def moment(text: str) -> datetime:
    """Return a record's time as a date of the server, which has milliseconds."""
    return from_moment(text)


def to_run(record: Portable) -> Run:
    """Return the run of a record."""
    return Run(**{**record, "started_at": from_moment(record["started_at"])})


class Annotating(Scanning, Entries):
    """One record each; every step answers whether it brought anything new."""

    def _life_of(self, incarnation: str) -> Document | None:
        """Return the state of the key that lives this life, or the step that ended it."""
        standing = self._tables.keys.one({"incarnation": incarnation, "step": {"$gt": 0}})
        return standing or self._tables.steps.one(
            {"what": "end", "incarnation": incarnation, "void": {"$ne": True}}
        )

    def _take_tags(self, record: Portable) -> bool:
        arriving = [
            (name, None if value is None else rows.to_tag(value), micros(at), by)
            for name, value, at, by in record["history"]
        ]
        for _ in range(_TRIES):
            version = self._tables.steps.one({"id": record["id"], **NUMBERED}, TAGGED | {"tags": 1})
            if version is None:
                return False
            standing = tag_moves(version)
            if not (news := gained(standing, arriving)):
                return False
            tags = {item["name"]: item["value"] for item in version["tags"]}
            tags |= {name: value for name, value, *_ in news}
            moves = [dict(zip(("name", "value", "at", "by"), new, strict=True)) for new in news]
            if self._tables.steps.update_once(
                {"id": record["id"], "tag_history": {"$size": len(standing)}},
                {
                    "$set": {
                        "tags": [{"name": n, "value": v} for n, v in tags.items() if v is not None]
                    },
                    "$push": {"tag_history": {"$each": moves}},
                },
            ):
                return True
        raise self._contended(record["id"])

    def _take_aliases(self, record: Portable) -> bool:
        life = self._life_of(record["incarnation"])
        if life is None:
            return False
        history = [(name, number, micros(at), by) for name, number, at, by in record["history"]]
        news = gained(self._life_moves(record["incarnation"]), history)
        numbers = {n for _, n, *_ in (*record["history"], *record["standing"])} - {None}
        found = {
            version["version"]: version
            for version in self._tables.steps.many(
                {"incarnation": record["incarnation"], "version": {"$in": list(numbers)}}
            )
        }
        is_ended = "what" in life
        # What was changed here since stays, and so does what points at a version that is to come.
        if news is None or numbers != found.keys():
            return False
        if not is_ended and any(found[n]["dead"] for _, n, *_ in record["standing"]):
            return False
        aliases = [
            {"name": name, "id": found[number]["id"], "version": number, "immutable": immutable}
            for name, number, immutable, *_ in record["standing"]
        ]
        moves = [dict(zip(("name", "version", "at", "by"), new, strict=True)) for new in news]
        if not moves and _by_name(aliases) == _by_name(life["aliases"]):
            return False
        if is_ended:
            return self._tables.steps.update_once(
                {"_id": life["_id"], "moves": {"$size": len(life["moves"])}},
                {"$set": {"aliases": aliases}, "$push": {"moves": {"$each": moves}}},
            )
        return self._move_aliases(life, aliases, moves)

    def _move_aliases(self, life: Document, aliases: list[Document], moves: list[Document]) -> bool:
        def plan(state: Document | None) -> Document | None:
            if state is None or state["step"] != life["step"]:
                return None  # somebody was here meanwhile: the next call looks again
            return {
                "what": "alias",
                "by": "",
                "moves": moves,
                "after": after(state, aliases=aliases),
            }

        return bool(self._change(life["_id"], plan))

    def _take_parents(self, record: Portable) -> bool:
        if not self._known([record["id"]]):
            return False
        known = self._known([parent for parent, _ in record["parents"]])
        done = [
            self._put_parent(record["id"], parent, micros(at))
            for parent, at in record["parents"]
            if parent in known
        ]
        return any(done)

    def _take_use(self, record: Portable) -> bool:
        run = rows.to_text(record["run"])
        if self._tables.runs.one({"_id": run}, {"_id": 1}) is None:
            return False
        if not self._known([record["id"]]):
            return False
        return self._put_use(run, record["id"], record["role"], micros(record["at"]))

    # the cache ------------------------------------------------------

    def _take_entry(self, record: Portable) -> bool:
        for _ in range(_TRIES):
            slot = self._slot(record["key"])
            if slot["rev"] == record["rev"]:
                return self._count_more(record, slot)
            if slot["rev"] and slot["entry"]["updated_at"] >= micros(record["updated_at"]):
                return False  # computed here since
            run = record["run"] and rows.to_text(record["run"])
            needed = [record["id"], *record["outputs"].values()]
            if len(self._known(needed)) < len(set(needed)):
                return False
            if run and self._tables.runs.one({"_id": run}, {"_id": 1}) is None:
                return False
            standing = {name: slot.get(name) for name in ("_id", "rev", "mark")}
            entry = _entry_fields(record, run or None)
            if self._tables.slots.update_once(
                standing, {"$set": {"rev": record["rev"], "entry": entry}}
            ):
                return True
        raise self._contended(record["key"])

    def _count_more(self, record: Portable, slot: Document) -> bool:
        """Keep the larger count of one entry, which two stores go on counting."""
        hits, last = slot["entry"]["hits"], slot["entry"]["last_hit_at"] or 0
        arriving = micros(record["last_hit_at"]) or 0
        if record["hits"] <= hits and arriving <= last:
            return False
        most = {"entry.hits": record["hits"]}
        if arriving:
            most["entry.last_hit_at"] = arriving
        return self._tables.slots.update_once(
            {"_id": slot["_id"], "rev": slot["rev"]}, {"$max": most}
        )

    def _take_lookup(self, record: Portable) -> bool:
        """Keep the larger figures: they only grow, and adding would count twice."""
        names = ("hits", "misses", "seconds", "size")
        place = {"_id": rows.to_text([record["day"], record["name"]])}
        row = self._tables.lookups.one(place)
        if row is not None and all(row[name] >= record[name] for name in names):
            return False
        self._tables.lookups.put(
            place,
            {
                "$setOnInsert": {"day": record["day"], "name": record["name"]},
                "$max": {name: record[name] for name in names},
            },
        )
        return True

    # other names ----------------------------------------------------

    def _take_outcome(self, record: Portable) -> bool:
        version = self._tables.steps.one({"id": record["id"], **NUMBERED}, {"key": 1})
        if version is None:
            return False
        op = record["op"]
        return self._tables.steps.insert_absent(
            {
                "_id": op,
                "id": op,
                "what": "put",
                "key": version["key"],
                "incarnation": "",
                "step": op,
                "state": "same",
                "same_as": record["id"],
                "at": moment(record["at"]),
                "made": micros(record["at"]),
                "payloads": [],
                "order": next_order(),
            }
        )

    def _take_bound(self, record: Portable) -> bool:
        place = {"_id": rows.to_text([record["space"], record["name"]])}
        row = self._tables.bounds.one(place)
        if row is not None and made_at(row) >= micros(record["at"]):
            return False
        if not self._known([record["id"]]):
            return False
        self._tables.bounds.put(
            place,
            {
                "$set": {
                    "space": record["space"],
                    "name": record["name"],
                    "id": record["id"],
                    "record": base64.b64decode(record["record"]),
                    "at": moment(record["at"]),
                    "made": micros(record["at"]),
                }
            },
        )
        return True


def _by_name(aliases: list[Document]) -> list[tuple[Any, ...]]:
    names = ("name", "id", "version", "immutable")
    return sorted(tuple(alias[name] for name in names) for alias in aliases)


def _entry_fields(record: Portable, run: str | None) -> Document:
    return {name: record[name] for name in ["name", "module", "id", "cost", "hits", "pinned"]} | {
        "run": run,
        "last_hit_at": micros(record["last_hit_at"]),
        "created_at": micros(record["created_at"]),
        "updated_at": micros(record["updated_at"]),
        "expires_at": micros(record["expires_at"]),
        "outputs": to_items(record["outputs"]),
        "reads": record["reads"],
        "metadata": rows.to_text(record["metadata"]),
        "ingredients": record["ingredients"],
    }
