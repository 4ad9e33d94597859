"""Records as they move between stores: one JSON-able shape per kind, the same for every engine.

`Catalog.scan` gives them out, `Catalog.absorb` takes them in; `flowblob copy` and the bundle file
are made of them. Times are ISO 8601 text in UTC with microseconds, so that nothing is rounded on
the way. A run is named by its identity `[system, task_run_id, attempt]`, except in a version, which
carries the whole run: a version never changes, so it must not arrive before what it refers to.

What may change in place travels as its history, oldest first, and the state is what the history
says last. A history that only grew since is continued; one that was changed on both sides is left
as it is in the store that absorbs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

Kind = Literal[
    "run",
    "incarnation",
    "version",
    "tags",
    "aliases",
    "tombstone",
    "parents",
    "use",
    "entry",
    "lookup",
    "outcome",
    "bound",
]

#: In the order in which a store takes them: each refers only to what stands before it. `aliases`
#: before `tombstone`, since a version that an alias points at is never dropped.
KINDS: tuple[Kind, ...] = get_args(Kind)

Portable = dict[str, Any]

#: The fields of each kind. `?` marks one that may be null; what is in brackets is a list of rows.
FIELDS: dict[Kind, str] = {
    "run": """system flow run_id task task_run_id attempt map_index url name started_at used
        generated""",
    # One life of a key; `ended_by` is who deleted it.
    "incarnation": "id key created_at ended_at? ended_by",
    # `content` in hex. `payloads` [part, digest, size, checksum] of a version that is not dropped,
    # the main one (part "") first; `run` a whole run; `dropped` [at, by, cause] (see CAUSES).
    # `preview` is JSON text or empty: a picture may hold a NaN, which JSON has not.
    "version": """id key incarnation version prev_version? op content digest size checksum kind
        media_type serializer filename metadata partitions parts payloads history value_digest
        external signature signature_key preview run? created_at dropped?""",
    # `id` of the version; `history` [name, value or null, at, by].
    "tags": "id history",
    # `standing` [name, version number, is immutable, at, by]; that of a key that has ended is what
    # comes back with it. `history` [name, version number or null, at, by].
    "aliases": "incarnation standing history",
    # A drop once more, for a version that arrived while it lived.
    "tombstone": "id at by cause",
    # `parents` [id, at]; a parent that the other store lacks is left out there.
    "parents": "id parents",
    "use": "run id role at",
    # `cost` in microseconds, `outputs` name to id, `reads` [ref, id],
    # `ingredients` [name, kind, digest, summary].
    "entry": """key name module rev id run? cost hits last_hit_at? pinned created_at updated_at
        expires_at? outputs reads metadata ingredients""",
    "lookup": "day name hits misses seconds size",
    "outcome": "op id at",
    # `record` in base64.
    "bound": "space name id record at",
}


#: Why a version was dropped: by somebody, by `history=False`, or together with its key.
CAUSES = ("dropped", "released", "with its key")


class Page(NamedTuple):
    """Some records of one kind, and where the next page begins.

    Attributes:
        records: In the order in which they were made, as far as the engine knows; the versions of
            one incarnation by number.
        after: Opaque text for the next call; empty when there is no more.
    """

    records: list[Portable]
    after: str


def to_moment(moment: datetime) -> str:
    """Return a time as records hold it: `2026-11-21T15:39:41.000000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def from_moment(text: str) -> datetime:
    """Return the aware UTC datetime of a record."""
    return datetime.fromisoformat(text)


def payload_problem(record: Portable) -> str:
    """Say how a version that lives and its payloads disagree; empty where they do not.

    Args:
        record: A version, as `Catalog.scan` returned it.
    """
    if record["dropped"] is not None or not record["digest"] or record["external"]:
        return ""
    main = ["", record["digest"], record["size"], record["checksum"]]
    if main not in record["payloads"]:
        return "the catalog has lost its payload, or names other bytes than were stored"
    if len(record["payloads"]) <= record["parts"]:
        return "the catalog has lost some of its attached payloads"
    return ""


def gained(standing: list[Any], arriving: list[Any]) -> list[Any] | None:
    """Return what a history gained since it was last absorbed, None if the two have parted."""
    common = len(standing)
    return arriving[common:] if arriving[:common] == standing else None
