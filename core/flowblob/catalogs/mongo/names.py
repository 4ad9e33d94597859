"""What may change in place: tags, aliases, host keys; every change leaves its history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.mongo.documents import made_at
from flowblob.catalogs.mongo.reading import HIDDEN, NUMBERED, Reading
from flowblob.catalogs.mongo.steps import after
from flowblob.checks import new_id
from flowblob.model import Blob, TagValue
from flowblob.mongodb import Document

_TRIES = 10_000


class Names(Reading):
    """Tags, aliases and the storage keys of hosts."""

    # tags -----------------------------------------------------------

    def tag(self, blob_id: str, tags: Mapping[str, TagValue | None], *, by: str = "") -> Blob:
        self._check_living(blob_id)
        self._put_tags(blob_id, tags, rows.to_micros(self._now()), by=by, op=new_id())
        return self._blob(blob_id)

    def _put_tags(
        self,
        blob_id: str,
        tags: Mapping[str, TagValue | None],
        at: int,
        *,
        by: str,
        op: str,
    ) -> None:
        """Merge tags and their history in one update, once for each op."""
        for _ in range(_TRIES):
            version = self._tables.steps.one({"id": blob_id}, {"tags": 1, "tag_history.op": 1})
            if version is None or any(h.get("op") == op for h in version["tag_history"]):
                return
            standing = {item["name"]: item["value"] for item in version["tags"]}
            changes = _tag_changes(standing, tags)
            if not changes:
                return
            new = standing | changes
            moves = [
                {"name": name, "value": value, "at": at, "by": by, "op": op}
                for name, value in changes.items()
            ]
            if self._tables.steps.update(
                # As many moves as there were: nobody has changed a tag since.
                {"id": blob_id, "tag_history": {"$size": len(version["tag_history"])}},
                {
                    "$set": {
                        "tags": [{"name": n, "value": v} for n, v in new.items() if v is not None]
                    },
                    "$push": {"tag_history": {"$each": moves}},
                },
            ):
                return
        raise self._contended(f"id:{blob_id}")

    def tag_history(self, blob_id: str) -> list[dict[str, Any]]:
        """Return the changes of a blob's tags, newest first: `name`, `value`, `at`, `by`."""
        version = self._tables.steps.one({"id": blob_id, **NUMBERED}, TAGGED)
        return [
            {
                "name": name,
                "value": None if value is None else rows.from_tag(value),
                "at": rows.to_datetime(at),
                "by": by,
            }
            for name, value, at, by in reversed([] if version is None else tag_moves(version))
        ]

    # aliases --------------------------------------------------------

    def promote(
        self,
        blob: Blob,
        alias: str,
        *,
        expect: int | None = None,
        immutable: bool = False,
        by: str = "",
    ) -> Blob:
        def plan(state: Document | None) -> Document | None:
            version = self._alive_in(state, blob.id)
            assert state is not None
            standing = next((a for a in state["aliases"] if a["name"] == alias), None)
            stays = standing is not None and standing["id"] == blob.id
            at = None if standing is None else standing["version"]
            is_fixed = standing is not None and standing["immutable"] and not stays
            refusals.check_move(blob, alias, at, expect=expect, is_fixed=is_fixed)
            if standing is not None and stays and standing["immutable"] >= immutable:
                return None
            moved = {
                "name": alias,
                "id": blob.id,
                "version": version["version"],
                "immutable": immutable,
            }
            others = [a for a in state["aliases"] if a["name"] != alias]
            return {
                "what": "alias",
                "by": by,
                # That it only becomes immutable is no move.
                "moves": [] if stays else [{"name": alias, "version": version["version"]}],
                "after": after(state, aliases=[*others, moved]),
            }

        self._change(blob.key, plan)
        return self._blob(blob.id)

    def _alive_in(self, state: Document | None, blob_id: str) -> Document:
        """Return a version that lives while its key has this state."""
        found = self._tables.steps.one({"id": blob_id, **NUMBERED, "dead": None}, HIDDEN)
        if found is None or state is None or found["incarnation"] != state["incarnation"]:
            raise refusals.absent(f"id:{blob_id}")
        return found

    def unalias(self, key: str, alias: str, *, by: str = "") -> None:
        def plan(state: Document | None) -> Document:
            aliases = [] if state is None else state["aliases"]
            others = [a for a in aliases if a["name"] != alias]
            if state is None or len(others) == len(aliases):
                raise refusals.no_alias(key, alias)
            return {
                "what": "alias",
                "by": by,
                "moves": [{"name": alias, "version": None}],
                "after": after(state, aliases=others),
            }

        self._change(key, plan)

    def alias_history(self, key: str, alias: str) -> list[dict[str, Any]]:
        found = self._alias_moves({"key": key, "moves": {"$elemMatch": {"name": alias}}})
        return [
            {"version": version, "at": rows.to_datetime(at), "by": by}
            for name, version, at, by in reversed(found)
            if name == alias
        ]

    def _alias_moves(self, where: Document) -> list[tuple[str, int | None, int, str]]:
        """Return moves of aliases, oldest first: name, version number, microseconds, by whom."""
        found = self._tables.steps.many(where, sort=[("at", 1), ("step", 1)])
        return [
            (
                move["name"],
                move["version"],
                move.get("at", made_at(step)),
                move.get("by", step["by"]),
            )
            for step in found
            for move in step["moves"]
        ]

    # the rest -------------------------------------------------------

    def set_value_digest(self, blob_id: str, value_digest: str) -> None:
        self._tables.steps.update(
            {"id": blob_id, "value_digest": ""}, {"$set": {"value_digest": value_digest}}
        )

    def bind(self, space: str, name: str, *, blob_id: str, record: bytes = b"") -> None:
        self._check_living(blob_id)
        self._tables.bounds.update_once(
            {"_id": rows.to_text([space, name])},
            {
                "$set": {"space": space, "name": name, "id": blob_id, "record": record},
                "$unset": {"made": ""},
                "$currentDate": {"at": True},
            },
            upsert=True,
        )

    def bound(self, space: str, name: str) -> tuple[str, bytes] | None:
        found = self._tables.bounds.one({"_id": rows.to_text([space, name])})
        return None if found is None else (found["id"], bytes(found["record"]))

    def _check_living(self, blob_id: str) -> None:
        if not self._is_live(blob_id):
            raise refusals.absent(f"id:{blob_id}")


#: What `tag_moves` reads.
TAGGED = {"id": 1, "tag_history": 1, "at": 1, "made": 1}


def tag_moves(version: Document) -> list[tuple[str, str | None, int, str]]:
    """Return the changes of a version's tags, oldest first: name, text, microseconds, by whom."""
    return [
        (
            move["name"],
            move["value"],
            made_at(version) if move["at"] is None else move["at"],
            move["by"],
        )
        for move in version["tag_history"]
    ]


def _tag_changes(
    standing: Mapping[str, str], tags: Mapping[str, TagValue | None]
) -> dict[str, str | None]:
    """Return what would change, as text; None removes."""
    wanted = {n: None if value is None else rows.to_tag(value) for n, value in tags.items()}
    return {name: text for name, text in wanted.items() if standing.get(name) != text}
