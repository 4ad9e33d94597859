"""What the records promise each other, looked at from outside of the protocols."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowblob.catalogs.mongo.engine import MongoEngine, chunks
from flowblob.catalogs.mongo.reading import NUMBERED
from flowblob.catalogs.mongo.schema import FORMAT, missing_indexes, server_facts
from flowblob.mongodb import Document

_PAGE = 1000
_MOST = 20
_VERSION = dict.fromkeys(
    ("id", "key", "incarnation", "version", "dead", "digest", "external", "parts", "payloads"), 1
)


class Checking(MongoEngine):
    """Health of the records."""

    def check(self) -> list[str]:
        missing = missing_indexes(self._opened)
        problems = [f"an index is missing: {name}" for name in missing]
        promises = {
            "versions are not dense": self._not_dense(),
            "newest is not the newest live version": self._not_newest(),
            "a version and its payloads do not agree": self._not_whole(),
            "a version has no key": self._not_named(),
            "an alias points at a dropped version": self._not_alive(),
            "an inline payload lacks its bytes": self._not_inline(),
        }
        for promise, found in promises.items():
            for _, what in zip(range(_MOST), found, strict=False):
                problems.append(f"{promise}: {what}")
        return problems

    def facts(self) -> dict[str, Any]:
        server = server_facts(self._opened)
        size = self._opened.run(lambda db: db.command("dbStats")).get("dataSize", 0)
        tables = self._tables
        counted = {
            "payload": tables.payloads,
            "run": tables.runs,
            "use": tables.uses,
        }
        return {
            "engine": "mongodb",
            "engine_version": str(server.get("version", "")),
            "schema": FORMAT,
            "size": int(size),
            "store_id": self.store_id,
            "counts": {
                **{name: table.count() for name, table in counted.items()},
                "incarnation": tables.keys.matching({"step": {"$gt": 0}}),
                "version": tables.steps.matching(NUMBERED),
                "tombstone": tables.steps.matching({**NUMBERED, "dead": {"$ne": None}}),
                "entry": tables.slots.matching({"rev": {"$gt": 0}}),
                "reservation": tables.slots.matching({"token": {"$gt": 0}}),
            },
        }

    def _not_dense(self) -> Iterator[str]:
        found = self._tables.steps.aggregate(
            [
                {"$match": NUMBERED},
                {
                    "$group": {
                        "_id": "$incarnation",
                        "count": {"$sum": 1},
                        "last": {"$max": "$version"},
                    }
                },
            ]
        )
        return (
            f"{life['_id']} has {life['count']} versions, the last is {life['last']}"
            for life in found
            if life["count"] != life["last"] + 1
        )

    def _not_newest(self) -> Iterator[str]:
        for state in self._states_by_key():
            newest = self._tables.steps.one(
                {"incarnation": state["incarnation"], **NUMBERED, "dead": None},
                {"id": 1, "step": 1},
                sort=[("version", -1)],
            )
            told = state["newest"] and state["newest"]["id"]
            # A step that is decided and not carried through is none of the key's yet.
            if (newest and newest["id"]) != told and not (
                newest and newest["step"] > state["step"]
            ):
                yield f"{state['_id']}: {told}"

    def _not_whole(self) -> Iterator[str]:
        for page in self._live_versions():
            ids = {used["gen"] for version in page for used in version["payloads"]}
            payloads = {
                payload["_id"]: payload
                for chunk in chunks(list(ids))
                for payload in self._tables.payloads.many(
                    {"_id": {"$in": list(chunk)}}, {"digest": 1, "state": 1}
                )
            }
            for version in page:
                yield from _parts_problems(version, payloads)

    def _not_named(self) -> Iterator[str]:
        for page in self._live_versions():
            named = {version["key"] for version in page}  # its document stands before its versions
            found = self._tables.keys.many({"_id": {"$in": list(named)}}, {"_id": 1})
            missing = named - {state["_id"] for state in found}
            yield from (f"{v['key']}@{v['version']}" for v in page if v["key"] in missing)

    def _not_alive(self) -> Iterator[str]:
        for state in self._states_by_key():
            for alias in state["aliases"]:
                found = self._tables.steps.one({"id": alias["id"], "dead": None}, {"_id": 1})
                if found is None:
                    yield f"{state['_id']}@{alias['name']}"

    def _not_inline(self) -> Iterator[str]:
        found = self._tables.payloads.many({"inline": True, "data": None}, {"_id": 1})
        return (payload["_id"] for payload in found)

    def _states_by_key(self) -> Iterator[Document]:
        key: Document = {"$gte": ""}
        while page := self._tables.keys.many({"_id": key}, sort=[("_id", 1)], limit=_PAGE):
            yield from page
            key = {"$gt": page[-1]["_id"]}

    def _live_versions(self) -> Iterator[list[Document]]:
        after = ""
        while page := self._tables.steps.many(
            {"id": {"$gt": after}, **NUMBERED, "dead": None},
            _VERSION,
            sort=[("id", 1)],
            limit=_PAGE,
        ):
            yield page
            after = page[-1]["id"]


def _parts_problems(version: Document, payloads: dict[str, Document]) -> Iterator[str]:
    has_main = bool(version["digest"]) and not version["external"]
    named = [used for used in version["payloads"] if used["name"]]
    if len(named) < version["parts"] and has_main:
        yield f"{version['id']} has {len(named)} parts of {version['parts']}"
    for used in version["payloads"]:
        found = payloads.get(used["gen"])
        if found is None or found["state"] in ("uploading", "condemned"):
            yield f"{version['id']} uses {used['gen']}, which is {found and found['state']}"
        elif not used["name"] and found.get("digest") != version["digest"]:
            yield f"{version['id']} uses {used['gen']}, which has another digest"
