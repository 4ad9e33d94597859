"""Finding versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from flowblob.catalogs import rows
from flowblob.catalogs.mongo.documents import to_blob, to_payload, to_run
from flowblob.catalogs.mongo.engine import chunks
from flowblob.catalogs.mongo.steps import Steps
from flowblob.checks import LATEST, beyond
from flowblob.drafts import Payload, Record
from flowblob.errors import InvalidInputError
from flowblob.model import Blob, Ref, Run
from flowblob.mongodb import Document

#: Of a version, what nobody reads to show it.
HIDDEN = {"tag_history": 0, "after": 0, "content": 0, "entry": 0}

#: Only steps that appended a version have a number.
NUMBERED: Document = {"version": {"$gte": 0}}

#: As they were made: by the server's clock, and those of one moment by their maker's own order.
NEWEST_FIRST = [("at", -1), ("order", -1)]
_PAGE = 1000
_TRIES = 1000
_OF_RUN = ("system", "flow", "task", "run_id", "task_run_id")
_FILTERS = ("kind", "serializer", "media_type", *_OF_RUN, "alias", "tags", "partitions")


class Reading(Steps):
    """Look-ups and listings of versions."""

    def find(self, ref: Ref, *, payload: bool = False) -> Record | None:
        found = self._version(ref)
        if found is None:
            return None
        version, state = found
        [blob] = self._blobs([version], {state["_id"]: state})
        return Record(blob, self._main_payload(version) if payload else None)

    def _version(self, ref: Ref) -> tuple[Document, Document] | None:
        """Return the live version that a reference means, and the state of its key."""
        if not ref.key:
            return self._of_any_key({"id": ref.id} if ref.id else {"digest": ref.digest})
        for _ in range(_TRIES):
            state = self._key(ref.key)
            where = None if state is None else _meant(ref, state)
            if state is None or where is None:
                return None
            found = self._tables.steps.one(where, HIDDEN, sort=[("version", -1)])
            if found is None or found["dead"] is None:
                return None if found is None else (found, state)
            if "id" not in where:
                return None
            # The key pointed there, and the version has just ended: the key will say otherwise.
            self._catch_up(state)
        raise self._contended(ref.key)

    def _of_any_key(self, where: Document) -> tuple[Document, Document] | None:
        found = self._tables.steps.many(
            {**where, **NUMBERED, "dead": None}, HIDDEN, sort=NEWEST_FIRST
        )
        states = self._states(found)
        return next(
            ((found, states[found["key"]]) for found in found if is_of(found, states)), None
        )

    def _is_live(self, blob_id: str) -> bool:
        return self._version(Ref(id=blob_id)) is not None

    def payloads(self, blob_id: str) -> list[Payload]:
        version = self._tables.steps.one({"id": blob_id, **NUMBERED}, {"payloads": 1})
        references = [] if version is None else version["payloads"]
        found = {
            payload["_id"]: payload
            for chunk in chunks([reference["gen"] for reference in references])
            for payload in self._tables.payloads.many({"_id": {"$in": list(chunk)}})
        }
        return [
            to_payload(found[reference["gen"]], reference["name"])
            for reference in references
            if reference["gen"] in found
        ]

    def _main_payload(self, version: Document) -> Payload | None:
        for reference in version["payloads"][:1]:
            if reference["name"] == "":
                found = self._tables.payloads.one({"_id": reference["gen"]})
                return None if found is None else to_payload(found)
        return None

    def versions(self, key: str, *, limit: int | None = None) -> list[Blob]:
        state = self._key(key)
        if state is None:
            return []
        found = self._tables.steps.many(
            {"incarnation": state["incarnation"], **NUMBERED, "dead": None},
            HIDDEN,
            sort=[("version", -1)],
            limit=limit,
        )
        return self._blobs(found)

    def live(self, *, after: str = "", limit: int = 1000) -> list[Blob]:
        found: list[Document] = []
        while len(found) < limit:
            page = self._tables.steps.many(
                {"id": {"$gt": after}, **NUMBERED, "dead": None},
                HIDDEN,
                sort=[("id", 1)],
                limit=min(limit, _PAGE),
            )
            states = self._states(page)
            found += [v for v in page if is_of(v, states)]
            if len(page) < min(limit, _PAGE):
                break
            after = page[-1]["id"]
        return self._blobs(found[:limit])

    def blobs(
        self,
        *,
        prefix: str = "",
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> list[Blob]:
        where = self._conditions(filters or {})
        pages = self._newest_that(where, prefix) if where else self._newest(prefix)
        listed: list[Blob] = []
        for page in pages:
            listed += self._blobs(page)
            if limit is not None and len(listed) >= limit:
                return listed[:limit]
        return listed

    def _newest(self, prefix: str) -> Iterator[list[Document]]:
        """Yield the newest version of every key, from the documents of the keys."""
        key: Document = {"$gte": prefix, "$lt": beyond(prefix)} if prefix else {"$gte": ""}
        while True:
            states = self._tables.keys.many(
                {"_id": key, "newest": {"$ne": None}},
                {"newest.id": 1},
                sort=[("_id", 1)],
                limit=_PAGE,
            )
            yield self._by_key([state["newest"]["id"] for state in states])
            if len(states) < _PAGE:
                return
            key = {**key, "$gt": states[-1]["_id"]}

    def _newest_that(self, where: Document, prefix: str) -> Iterator[list[Document]]:
        """Yield the newest version of every key where it matches, from the versions."""
        alias = where.pop("alias", None)
        key: Document = {"$gte": prefix, "$lt": beyond(prefix)} if prefix else {"$gte": ""}
        while True:
            page = self._tables.steps.many(
                {"key": key, **NUMBERED, "dead": None, **where},
                {"key": 1, "id": 1},
                sort=[("key", 1), ("version", -1)],
                limit=_PAGE,
            )
            states = self._states(page)
            newest = {
                state["newest"]["id"]
                for state in states.values()
                if state["newest"] is not None and _is_aliased(state, alias)
            }
            yield self._by_key([found["id"] for found in page if found["id"] in newest])
            if len(page) < _PAGE:
                return
            # Of the last key only lower versions can follow, and those are not its newest.
            key = {**key, "$gt": page[-1]["key"]}

    def _by_key(self, ids: list[str]) -> list[Document]:
        found = self._tables.steps.many({"id": {"$in": ids}}, HIDDEN) if ids else []
        return sorted(found, key=lambda version: version["key"])

    def _conditions(self, filters: Mapping[str, Any]) -> Document:
        where: Document = {}
        of_run: Document = {}
        for name, value in filters.items():
            if name in ("tags", "partitions"):
                wanted = [
                    {"name": n, "value": rows.to_tag(v) if name == "tags" else v}
                    for n, v in value.items()
                ]
                if wanted:
                    where[name] = {"$all": [{"$elemMatch": item} for item in wanted]}
            elif name in _OF_RUN:
                of_run[name] = value
            elif name in _FILTERS:
                where[name] = {"$eq": value}  # so that a value of `$` keys stays a value
            else:
                raise InvalidInputError(
                    f"Unknown filter {name!r}", hint=f"Use {', '.join(_FILTERS)}"
                )
        if of_run:
            where["run"] = {"$in": self._run_ids(of_run)}
        if "alias" in where:
            where["alias"] = where["alias"]["$eq"]
        return where

    def _run_ids(self, fields: Mapping[str, Any]) -> list[str]:
        equal = {name: {"$eq": value} for name, value in fields.items()}
        return [run["_id"] for run in self._tables.runs.many(equal, {"_id": 1})]

    # from documents to blobs ----------------------------------------

    def _blob(self, blob_id: str) -> Blob:
        """Return a version that stands, dropped or not."""
        version = self._tables.steps.one({"id": blob_id}, HIDDEN)
        assert version is not None
        return self._blobs([version])[0]

    def _blobs(
        self, versions: Sequence[Document], states: Mapping[str, Document] | None = None
    ) -> list[Blob]:
        """Return the blobs of some versions, with their aliases and runs.

        Versions whose step was decided and not carried through are finished first, so that nobody
        sees one of them before all of it can be seen.
        """
        if not versions:
            return []
        if states is None:
            states = self._states(versions)
        for version in versions:
            state = states.get(version["key"])
            if state is not None and _is_behind(state, version):
                step = self._tables.steps.one({"_id": version["_id"]})
                if step is not None:
                    self._carry_through(step)
        aliases: dict[str, list[str]] = {}
        for state in states.values():
            for alias in state["aliases"]:
                aliases.setdefault(alias["id"], []).append(alias["name"])
        runs = self._runs_of(version["run"] for version in versions)
        return [
            to_blob(
                version,
                aliases=tuple(aliases.get(version["id"], ())),
                run=runs.get(version["run"] or ""),
            )
            for version in versions
        ]

    def _states(self, versions: Sequence[Document]) -> dict[str, Document]:
        keys = list({version["key"] for version in versions})
        return {
            state["_id"]: state
            for chunk in chunks(keys)
            for state in self._tables.keys.many({"_id": {"$in": list(chunk)}})
        }

    def _runs_of(self, ids: Iterable[str | None]) -> dict[str, Run]:
        wanted = list({found for found in ids if found})
        return {
            run["_id"]: to_run(run)
            for chunk in chunks(wanted)
            for run in self._tables.runs.many({"_id": {"$in": list(chunk)}})
        }


def _meant(ref: Ref, state: Document) -> Document | None:
    """Return the filter for the version of a key that a reference means."""
    if ref.version is not None:
        return {"incarnation": state["incarnation"], "version": ref.version}
    if ref.digest:
        mine = {"incarnation": state["incarnation"], **NUMBERED}
        return {**mine, "digest": ref.digest, "dead": None}
    if ref.alias and ref.alias != LATEST:
        pointed = next((a for a in state["aliases"] if a["name"] == ref.alias), None)
    else:
        pointed = state["newest"]
    return None if pointed is None else {"id": pointed["id"]}


def is_of(version: Document, states: Mapping[str, Document]) -> bool:
    """Say whether a version belongs to the present life of its key."""
    state = states.get(version["key"])
    return state is not None and state["incarnation"] == version["incarnation"]


def _is_aliased(state: Document, alias: str | None) -> bool:
    return alias is None or any(
        found["name"] == alias and found["id"] == state["newest"]["id"]
        for found in state["aliases"]
    )


def _is_behind(state: Document, version: Document) -> bool:
    same = bool(state["incarnation"] == version["incarnation"])
    return same and state["step"] < version["step"]
