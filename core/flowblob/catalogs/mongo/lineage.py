"""Runs, the uses that link them to versions, explicit parents, and counts of look-ups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.mongo.documents import run_document, run_id, to_run
from flowblob.catalogs.mongo.engine import chunks
from flowblob.catalogs.mongo.reading import HIDDEN, NUMBERED, Reading
from flowblob.drafts import Note
from flowblob.model import Blob, LookupStats, Run, Use
from flowblob.mongodb import Document, next_order

_TRIES = 10_000
_OLDEST_FIRST = [("at", 1), ("order", 1)]


class Lineage(Reading):
    """Who wrote and read which version."""

    def record(self, notes: Sequence[Note]) -> None:
        known = self._known({note.blob_id for note in notes if note.run and note.blob_id})
        runs: set[str] = set()
        for note in notes:
            if note.run is None or (note.blob_id and note.blob_id not in known):
                continue  # written to a store that was replaced since: nothing to link to
            run = run_id(note.run)
            # Without a blob nothing new is used: the run ended, and its values are final.
            if run not in runs or not note.blob_id:
                self._put_run(note.run, note.at)
                runs.add(run)
            if note.blob_id:
                self._put_use(run, note.blob_id, note.role, rows.to_micros(note.at))
        self._count_lookups(notes)
        self._count_hits(notes)

    def _known(self, ids: Iterable[str]) -> set[str]:
        return {
            version["id"]
            for chunk in chunks(list(ids))
            for version in self._tables.steps.many(
                {"id": {"$in": list(chunk)}, **NUMBERED}, {"id": 1}
            )
        }

    def _count_hits(self, notes: Sequence[Note]) -> None:
        hits: dict[str, list[int]] = {}
        for note in notes:
            if note.entry:
                hits.setdefault(note.entry, []).append(rows.to_micros(note.at))
        for key, moments in hits.items():
            self._tables.slots.update_once(
                {"_id": key, "rev": {"$gt": 0}},
                {
                    "$inc": {"entry.hits": len(moments)},
                    "$max": {"entry.last_hit_at": max(moments)},
                },
            )

    def _count_lookups(self, notes: Sequence[Note]) -> None:
        total: dict[tuple[str, str], LookupStats] = {}
        for note in notes:
            if note.name:
                place = (note.at.date().isoformat(), note.name)
                old = total.get(place, LookupStats(*place, 0, 0, 0.0, 0))
                missed = note.role == "miss"
                total[place] = LookupStats(
                    *place,
                    old.hits + (not missed),
                    old.misses + missed,
                    old.seconds + note.seconds,
                    old.size + note.size,
                )
        for place, new in total.items():
            self._tables.lookups.update_once(
                {"_id": rows.to_text(list(place))},
                {
                    "$setOnInsert": {"day": new.day, "name": new.name},
                    "$inc": {
                        "hits": new.hits,
                        "misses": new.misses,
                        "seconds": new.seconds,
                        "size": new.size,
                    },
                },
                upsert=True,
            )

    def lookups(self, *, since: datetime | None = None, name: str = "") -> list[LookupStats]:
        where: Document = {}
        if since is not None:
            where["day"] = {"$gte": since.date().isoformat()}
        if name:
            where["name"] = {"$eq": name}
        found = self._tables.lookups.many(where, sort=[("day", 1), ("name", 1)])
        return [
            LookupStats(f["day"], f["name"], f["hits"], f["misses"], f["seconds"], f["size"])
            for f in found
        ]

    def _put_use(self, run: str, blob_id: str, role: str, at: int) -> bool:
        return self._tables.uses.insert_absent(
            {
                "_id": rows.to_text([run, blob_id, role]),
                "run": run,
                "id": blob_id,
                "role": role,
                "at": at,
                "order": next_order(),
            }
        )

    def _put_run(self, run: Run, at: datetime | None = None) -> bool:
        """Keep a run, or add what it learnt since it was last met; says whether it is new."""
        new = run_document(run)
        runs = self._tables.runs
        for _ in range(_TRIES):
            old = runs.one({"_id": new["_id"]})
            if old is None:
                now = self._now()
                if new["started_at"] is None:
                    new["started_at"] = rows.to_micros(at or now)
                # The order in which runs are listed: the server's clock, then one process's own.
                if runs.insert_absent(new | {"at": now, "order": next_order()}):
                    return True
                continue
            learnt = {
                "url": new["url"] or old["url"],
                "name": new["name"] or old["name"],
                "used": _merge(old["used"], new["used"]),
                "generated": _merge(old["generated"], new["generated"]),
            }
            if all(old[name] == value for name, value in learnt.items()):
                return False
            if runs.update(
                {"_id": old["_id"], "rev": old["rev"]}, {"$set": learnt | {"rev": self._stamp()}}
            ):
                return False
        raise self._contended(str(run))

    def runs(
        self, *, filters: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> list[Run]:
        found = self._tables.runs.many(
            _match_runs(filters or {}), sort=[("at", -1), ("order", -1)], limit=limit
        )
        return [to_run(run) for run in found]

    def uses(
        self, *, blob_id: str = "", run: Mapping[str, Any] | None = None, role: str = ""
    ) -> list[Use]:
        where: Document = {}
        if run:
            found = self._tables.runs.many(_match_runs(run), {"_id": 1})
            where["run"] = {"$in": [one["_id"] for one in found]}
        if blob_id:
            where["id"] = {"$eq": blob_id}
        if role:
            where["role"] = {"$eq": role}
        uses = self._tables.uses.many(where, sort=_OLDEST_FIRST)
        ids = list({use["id"] for use in uses})
        blobs = {blob.id: blob for blob in self._blobs_by_id(ids)}
        runs = self._runs_of(use["run"] for use in uses)
        return [
            Use(runs[use["run"]], blobs[use["id"]], use["role"], rows.to_datetime(use["at"]))
            for use in uses
            if use["id"] in blobs and use["run"] in runs
        ]

    def _blobs_by_id(self, ids: Sequence[str]) -> list[Blob]:
        """Return versions that stand, dropped or not, in the order in which they were made."""
        found = [
            version
            for chunk in chunks(ids)
            for version in self._tables.steps.many(
                {"id": {"$in": list(chunk)}, **NUMBERED}, HIDDEN, sort=_OLDEST_FIRST
            )
        ]
        return self._blobs(found)

    # explicit parents -----------------------------------------------

    def _check_parents(self, parents: Sequence[str]) -> None:
        known = self._known(parents)
        for parent in parents:
            if parent not in known:
                raise refusals.no_parent(parent)

    def _put_parent(self, blob_id: str, parent: str, at: int) -> bool:
        return self._tables.steps.update_once(
            {"id": blob_id, "parents.id": {"$ne": parent}},
            {"$push": {"parents": {"id": parent, "at": at}}},
        )

    def parents(self, blob_id: str) -> list[Blob]:
        version = self._tables.steps.one({"id": blob_id, **NUMBERED}, {"parents": 1})
        return self._blobs_by_id([] if version is None else [p["id"] for p in version["parents"]])

    def children(self, blob_id: str) -> list[Blob]:
        found = self._tables.steps.many(
            {"parents.id": blob_id, **NUMBERED}, HIDDEN, sort=_OLDEST_FIRST
        )
        return self._blobs(found)


def _match_runs(filters: Mapping[str, Any]) -> Document:
    refusals.check_run_fields(filters)
    return {name: {"$eq": value} for name, value in filters.items()}


def _merge(old: str, new: str) -> str:
    if new in ("{}", old):
        return old
    return rows.to_text(rows.from_text(old) | rows.from_text(new))
