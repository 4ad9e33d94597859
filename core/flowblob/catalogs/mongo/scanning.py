"""Giving all records out in portable form; `flowblob.portable` says what they look like."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flowblob.catalogs import rows
from flowblob.catalogs.mongo.documents import from_items, made_at, readable
from flowblob.catalogs.mongo.lineage import Lineage
from flowblob.catalogs.mongo.names import Names, tag_moves
from flowblob.catalogs.mongo.reading import NUMBERED
from flowblob.catalogs.mongo.upkeep import Upkeep
from flowblob.checks import beyond
from flowblob.mongodb import Document, Table, order_from
from flowblob.portable import CAUSES, Kind, Page, Portable, to_moment

_OF_A_LIFE = ("incarnation", "version")
_ONE = ("_id",)

_RUN = ["system", "flow", "run_id", "task", "task_run_id", "attempt", "map_index", "url", "name"]
_VERSION = (
    "id", "key", "incarnation", "version", "digest", "size", "checksum", "kind", "media_type",
    "serializer", "filename", "parts", "history", "value_digest", "external", "signature",
    "signature_key", "preview",
)  # fmt: skip
_ENTRY = ["name", "module", "id", "cost", "hits", "pinned"]


class Scanning(Names, Lineage, Upkeep):
    """Pages of portable records."""

    def scan(
        self, kind: Kind, *, after: str = "", limit: int = 1000, prefix: str = "", key: str = ""
    ) -> Page:
        if not after:
            self._finish_open()  # so that what is decided can be seen in every document
        scope = {"$eq": key} if key else {"$gte": prefix, "$lt": beyond(prefix)}
        mine = {"key": scope} if key or prefix else {}
        scans: dict[Kind, Callable[[Document, str, int], Page]] = {
            "run": self._scan_runs,
            "incarnation": self._scan_lives,
            "version": self._scan_versions,
            "tags": self._scan_tags,
            "aliases": self._scan_aliases,
            "tombstone": self._scan_tombstones,
            "parents": self._scan_parents,
            "use": self._scan_uses,
            "entry": self._scan_entries,
            "lookup": self._scan_lookups,
            "outcome": self._scan_outcomes,
            "bound": self._scan_bounds,
        }
        return scans[kind](mine, after, limit)

    def known(self, blob_ids: Sequence[str]) -> set[str]:
        return self._known(blob_ids)

    def _ids(self, mine: Document) -> list[str]:
        """Return the ids of all versions of the keys that were asked for."""
        return [v["id"] for v in self._tables.steps.many({**mine, **NUMBERED}, {"id": 1})]

    # runs, lives and versions ---------------------------------------

    def _scan_runs(self, mine: Document, after: str, limit: int) -> Page:
        where: Document = {"_id": {"$in": self._runs_in(mine)}} if mine else {}
        if after:
            where["order"] = {"$gt": order_from(after)}
        found = self._tables.runs.many(where, sort=[("order", 1)], limit=limit)
        last = str(found[-1]["order"]) if len(found) == limit else ""
        return Page([_run(run) for run in found], last)

    def _runs_in(self, mine: Document) -> list[str]:
        ids = {"$in": self._ids(mine)}
        wrote = self._tables.steps.many({**mine, **NUMBERED, "run": {"$ne": None}}, {"run": 1})
        used = self._tables.uses.many({"id": ids}, {"run": 1})
        computed = self._tables.slots.many({"entry.id": ids}, {"entry.run": 1})
        runs = {found["run"] for found in (*wrote, *used)}
        return list((runs | {slot["entry"]["run"] for slot in computed}) - {None})

    def _lives(self, mine: Document, after: str, limit: int) -> tuple[list[Document], str]:
        """Return lives, the ended ones first, and where the next page begins."""
        stage, last = json.loads(after) if after else ["ended", ""]
        lives: list[Document] = []
        if stage == "ended":
            lives = self._tables.steps.many(
                {**mine, "what": "end", "void": {"$ne": True}, "_id": {"$gt": last}},
                sort=[("_id", 1)],
                limit=limit,
            )
            if len(lives) == limit:
                return lives, json.dumps(["ended", lives[-1]["_id"]])
            last = ""
        key = {"_id": {**mine.get("key", {}), "$gt": last}}
        if "$gte" in key["_id"] and last:
            del key["_id"]["$gte"]
        standing = self._tables.keys.many(
            {**key, "step": {"$gt": 0}}, sort=[("_id", 1)], limit=limit - len(lives)
        )
        if len(lives) + len(standing) < limit:
            return lives + standing, ""
        return lives + standing, json.dumps(["standing", standing[-1]["_id"] if standing else last])

    def _scan_lives(self, mine: Document, after: str, limit: int) -> Page:
        lives, last = self._lives(mine, after, limit)
        return Page([self._life(life) for life in lives], last)

    def _life(self, life: Document) -> Portable:
        born = life["born"]
        if born is None:
            first = self._tables.steps.one(
                {"incarnation": life["incarnation"], **NUMBERED}, sort=[("version", 1)]
            )
            born = 0 if first is None else made_at(first)
        is_ended = "what" in life
        return {
            "id": life["incarnation"],
            "key": life["key"] if is_ended else life["_id"],
            "created_at": _moment(born),
            "ended_at": _moment(made_at(life)) if is_ended else None,
            "ended_by": life["by"] if is_ended else "",
        }

    def _scan_versions(self, mine: Document, after: str, limit: int) -> Page:
        found, last = _page(self._tables.steps, {**mine, **NUMBERED}, _OF_A_LIFE, after, limit)
        generations = {used["gen"] for v in found for used in v["payloads"] if v["dead"] is None}
        payloads = {
            p["_id"]: p
            for p in self._tables.payloads.many({"_id": {"$in": list(generations)}}, {"data": 0})
        }
        runs = {
            run["_id"]: run
            for run in self._tables.runs.many({"_id": {"$in": list({v["run"] for v in found})}})
        }
        return Page([_version(v, payloads, runs.get(v["run"])) for v in found], last)

    # what hangs on versions -----------------------------------------

    def _scan_tags(self, mine: Document, after: str, limit: int) -> Page:
        where = {**mine, **NUMBERED, "tag_history.0": {"$exists": True}}
        found, last = _page(self._tables.steps, where, _OF_A_LIFE, after, limit)
        return Page([_tags(version) for version in found], last)

    def _scan_aliases(self, mine: Document, after: str, limit: int) -> Page:
        lives, last = self._lives(mine, after, limit)
        listed = []
        for life in lives:
            history = self._life_moves(life["incarnation"])
            if not history:
                continue
            latest = {name: (at, by) for name, number, at, by in history if number is not None}
            standing = sorted(
                [a["name"], a["version"], a["immutable"], _moment(latest[a["name"]][0]),
                 latest[a["name"]][1]]
                for a in life["aliases"]
            )  # fmt: skip
            moves = [[name, number, _moment(at), by] for name, number, at, by in history]
            listed.append(
                {"incarnation": life["incarnation"], "standing": standing, "history": moves}
            )
        return Page(listed, last)

    def _life_moves(self, incarnation: str) -> list[tuple[str, int | None, int, str]]:
        """Return the moves of the aliases of one life, oldest first."""
        return self._alias_moves(
            {
                "$or": [{"incarnation": incarnation, "life": None}, {"life": incarnation}],
                "moves.0": {"$exists": True},
            }
        )

    def _scan_tombstones(self, mine: Document, after: str, limit: int) -> Page:
        where = {**mine, **NUMBERED, "dead": {"$ne": None}}
        found, last = _page(self._tables.steps, where, _OF_A_LIFE, after, limit)
        return Page(
            [
                dict(zip(("id", "at", "by", "cause"), (v["id"], *_dropped(v)), strict=True))
                for v in found
            ],
            last,
        )

    def _scan_parents(self, mine: Document, after: str, limit: int) -> Page:
        where = {**mine, **NUMBERED, "parents.0": {"$exists": True}}
        found, last = _page(self._tables.steps, where, _OF_A_LIFE, after, limit)
        return Page([_parents(version) for version in found], last)

    def _scan_uses(self, mine: Document, after: str, limit: int) -> Page:
        where = {"id": {"$in": self._ids(mine)}} if mine else {}
        found, last = _page(self._tables.uses, where, _ONE, after, limit)
        return Page(
            [
                {
                    "run": rows.from_text(use["run"]),
                    "id": use["id"],
                    "role": use["role"],
                    "at": _moment(use["at"]),
                }
                for use in found
            ],
            last,
        )

    def _scan_entries(self, mine: Document, after: str, limit: int) -> Page:
        where: Document = {"rev": {"$gt": 0}}
        if mine:
            where["entry.id"] = {"$in": self._ids(mine)}
        found, last = _page(self._tables.slots, where, _ONE, after, limit)
        return Page([_entry(slot) for slot in found], last)

    def _scan_lookups(self, mine: Document, after: str, limit: int) -> Page:
        if mine:
            return Page([], "")
        found, last = _page(self._tables.lookups, {}, _ONE, after, limit)
        names = ("day", "name", "hits", "misses", "seconds", "size")
        return Page([{name: stats[name] for name in names} for stats in found], last)

    def _scan_outcomes(self, mine: Document, after: str, limit: int) -> Page:
        where = {**mine, "state": "same", "what": "put"}
        found, last = _page(self._tables.steps, where, _ONE, after, limit)
        return Page(
            [
                {"op": step["_id"], "id": step["same_as"], "at": _moment(made_at(step))}
                for step in found
            ],
            last,
        )

    def _scan_bounds(self, mine: Document, after: str, limit: int) -> Page:
        where = {"id": {"$in": self._ids(mine)}} if mine else {}
        found, last = _page(self._tables.bounds, where, _ONE, after, limit)
        return Page(
            [
                {
                    "space": bound["space"],
                    "name": bound["name"],
                    "id": bound["id"],
                    "record": base64.b64encode(bytes(bound["record"])).decode(),
                    "at": _moment(made_at(bound)),
                }
                for bound in found
            ],
            last,
        )


def _page(
    table: Table, where: Document, fields: Sequence[str], after: str, limit: int
) -> tuple[list[Document], str]:
    """Return the documents that follow in the order of some fields, and the next cursor."""
    if after:
        beyond: list[Document] = []
        values = json.loads(after)
        for n, field in enumerate(fields):
            same = dict(zip(fields[:n], values[:n], strict=True))
            beyond.append({**same, field: {"$gt": values[n]}})
        where = {"$and": [where, {"$or": beyond}]}
    found = table.many(where, sort=[(field, 1) for field in fields], limit=limit)
    last = json.dumps([found[-1][field] for field in fields]) if len(found) == limit else ""
    return found, last


def _moment(micros: Any) -> str:
    return to_moment(rows.to_datetime(micros))


def _optional(micros: int | None) -> str | None:
    return None if micros is None else _moment(micros)


def _run(run: Document) -> Portable:
    return {name: run[name] for name in _RUN} | {
        "started_at": _moment(run["started_at"]),
        "used": rows.from_text(run["used"]),
        "generated": rows.from_text(run["generated"]),
    }


def _dropped(version: Document) -> list[Any]:
    dead = version["dead"]
    return [_moment(made_at(dead)), dead["by"], CAUSES[dead["cause"]]]


@readable
def _version(version: Document, payloads: Mapping[str, Document], run: Document | None) -> Portable:
    used: Iterable[Document] = version["payloads"] if version["dead"] is None else ()
    found = [(u["name"], payloads[u["gen"]]) for u in used if u["gen"] in payloads]
    return {name: version[name] for name in _VERSION} | {
        "prev_version": version["prev"],
        "op": version["_id"],
        "content": bytes(version["content"]).hex(),
        "metadata": rows.from_text(version["metadata"]),
        "partitions": from_items(version["partitions"]),
        "payloads": [[name, p["digest"], p["size"], p["checksum"]] for name, p in found],
        "run": None if run is None else _run(run),
        "created_at": _moment(made_at(version)),
        "dropped": None if version["dead"] is None else _dropped(version),
    }


def _tags(version: Document) -> Portable:
    return {
        "id": version["id"],
        "history": [
            [name, None if value is None else rows.from_tag(value), _moment(at), by]
            for name, value, at, by in tag_moves(version)
        ],
    }


def _parents(version: Document) -> Portable:
    made = made_at(version)
    return {
        "id": version["id"],
        "parents": [
            [parent["id"], _moment(made if parent["at"] is None else parent["at"])]
            for parent in version["parents"]
        ],
    }


def _entry(slot: Document) -> Portable:
    entry = slot["entry"]
    return {name: entry[name] for name in _ENTRY} | {
        "key": slot["_id"],
        "rev": slot["rev"],
        "run": entry["run"] and rows.from_text(entry["run"]),
        "last_hit_at": _optional(entry["last_hit_at"]),
        "created_at": _moment(entry["created_at"]),
        "updated_at": _moment(entry["updated_at"]),
        "expires_at": _optional(entry["expires_at"]),
        "outputs": from_items(entry["outputs"]),
        "reads": entry["reads"],
        "metadata": rows.from_text(entry["metadata"]),
        "ingredients": entry["ingredients"],
    }
