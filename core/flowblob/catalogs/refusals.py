"""What every catalog refuses, in the same words.

What is named `check_…` raises, and the others return the error, for where only the engine can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from flowblob.drafts import Draft, Part
from flowblob.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ReservationLostError,
    VersionConflictError,
)
from flowblob.model import Blob, Ref, Reservation
from flowblob.portable import Portable

_COMMON_PAST = "The two stores do not have a common past"
_RUN_FIELDS = frozenset(
    ("system", "flow", "run_id", "task", "task_run_id", "attempt", "map_index", "url", "name")
)
_MARKS = ("ok", "suspect", "damaged")

# ------------------------------------------------------------------ versions and their names


def absent(name: str) -> NotFoundError:
    """Return the error for a name under which nothing lives."""
    return NotFoundError(f"{name} does not exist", hint="It may have been deleted before")


def no_parent(blob_id: str) -> NotFoundError:
    """Return the error for a parent that was never here."""
    return NotFoundError(f"The parent id:{blob_id} does not exist", hint="Name blobs of this store")


def no_alias(key: str, alias: str) -> NotFoundError:
    """Return the error for an alias that cannot be removed."""
    return NotFoundError(f"{key}@{alias} does not exist", hint="List the key's aliases")


def pointed_at(ref: str, aliases: Iterable[str]) -> ConflictError:
    """Return the error for a version that aliases protect."""
    return ConflictError(
        f"{ref} is what {', '.join(aliases)} points at", hint="Move or remove the alias first"
    )


def check_move(
    blob: Blob, alias: str, at: int | None, *, expect: int | None, is_fixed: bool
) -> None:
    """Refuse to move an alias from where nobody expected it, or from where it is to stay.

    Args:
        blob: Where it is to point.
        alias: The alias.
        at: Number of the version at which it stands, None if it stands nowhere.
        expect: At which the caller knows it.
        is_fixed: Whether it is immutable, and stands elsewhere than at the blob.
    """
    if expect is not None and at != expect:
        where = "nowhere" if at is None else f"at version {at}"
        raise VersionConflictError(
            f"{blob.key}@{alias} is {where}, not at version {expect}",
            hint="Look where it stands now and decide again",
        )
    if is_fixed:
        raise ConflictError(
            f"{blob.key}@{alias} is immutable and stands at version {at}",
            hint="Choose another alias, or remove this one first",
        )


def check_run_fields(names: Iterable[str]) -> None:
    """Refuse to look for runs by what they do not have."""
    if unknown := set(names) - _RUN_FIELDS:
        raise InvalidInputError(
            f"Unknown field of a run: {', '.join(sorted(unknown))}",
            hint=f"Use {', '.join(sorted(_RUN_FIELDS))}",
        )


def check_newest(draft: Draft, newest: int | None) -> None:
    """Refuse a put that expects another state of its key.

    Args:
        draft: The put.
        newest: Number of the newest live version, None where the key does not live.
    """
    if draft.expect_version is not None and newest is None:
        raise NotFoundError(
            f"{draft.key!r} does not exist, so it is not at version {draft.expect_version}",
            hint="Leave expect_version out to begin the key",
        )
    if draft.expect_version is not None and newest != draft.expect_version:
        raise VersionConflictError(
            f"{draft.key!r} is at version {newest}, not {draft.expect_version}",
            hint="Read the newest version and decide again",
        )
    if draft.create and newest is not None:
        raise AlreadyExistsError(
            f"{draft.key!r} exists, at version {newest}",
            hint="Leave create out to append a version",
        )


# ------------------------------------------------------------------ what was dropped


def check_revivable(ref: Ref) -> None:
    """Refuse a reference that cannot mean what was dropped: aliases and digests have moved on."""
    if not (ref.id or ref.is_bare or ref.version is not None):
        raise InvalidInputError(
            f"{ref} cannot be brought back by that name", hint="Write 'key', 'key@3' or 'id:…'"
        )


def not_dropped(ref: Ref) -> NotFoundError:
    """Return the error for a reference under which nothing was dropped."""
    return NotFoundError(f"Nothing to bring back under {ref}", hint="It lives, or it never did")


def collected(ref: Ref) -> NotFoundError:
    """Return the error for a dropped version whose payload is not there any more."""
    return NotFoundError(f"The payload of {ref} was collected", hint="It is gone for good")


def reborn(key: str) -> ConflictError:
    """Return the error for an ended life whose key has begun another."""
    return ConflictError(
        f"{key!r} has begun another life since", hint="Delete that one first, or copy it"
    )


# ------------------------------------------------------------------ entries and reservations


def taken_over(held: Reservation) -> ReservationLostError:
    """Return the error for a reservation that somebody else has, or nobody."""
    return ReservationLostError(
        f"The reservation of {held.key} was taken over or ended",
        hint="Read what the other owner wrote",
    )


def held_too_long(held: Reservation) -> ReservationLostError:
    """Return the error for a heartbeat after the longest time."""
    return ReservationLostError(
        f"The reservation of {held.key} was held as long as it may be",
        hint="Raise max_hold for computations that take longer",
    )


def written_since(key: str) -> ReservationLostError:
    """Return the error for an entry that somebody wrote past the reservation."""
    return ReservationLostError(
        f"The entry {key} was written since it was reserved", hint="Read what stands there now"
    )


def entry_stands(key: str) -> AlreadyExistsError:
    """Return the error for an entry that is not to be overwritten."""
    return AlreadyExistsError(f"The entry {key} stands", hint="Overwrite it, or read what is there")


# ------------------------------------------------------------------ payloads


def check_mark(state: str) -> None:
    """Refuse to give a payload a state that is not the caller's to give."""
    if state not in _MARKS:
        raise InvalidInputError(
            f"A payload cannot be marked {state!r}", hint="Use 'ok', 'suspect' or 'damaged'"
        )


def no_copy(generation: str, to: str) -> ConflictError:
    """Return the error for a payload that cannot stand in for a damaged one."""
    return ConflictError(
        f"{to} cannot take the place of {generation}",
        hint="It was collected or damaged meanwhile, or holds other bytes",
    )


# ------------------------------------------------------------------ records of another store


def second_life(key: str) -> ConflictError:
    """Return the error for a life that comes to a key which lives another."""
    return ConflictError(
        f"{key!r} lives here already, with another history",
        hint="Delete or rename one of the two, or move other keys with a prefix",
    )


def of_another_key(record: Portable, here: str) -> ConflictError:
    """Return the error for an incarnation that is another key's here."""
    return ConflictError(
        f"Incarnation {record['id']} is one of {here!r} here, not of {record['key']!r}",
        hint=_COMMON_PAST,
    )


def check_same(record: Portable, *, incarnation: str, version: int) -> None:
    """Refuse a version whose id is another version's here.

    Args:
        record: The version that comes from another store.
        incarnation: The life of the version that has this id.
        version: Its number.
    """
    if (incarnation, version) != (record["incarnation"], record["version"]):
        raise ConflictError(
            f"id:{record['id']} is another version here than {ref_of(record)}", hint=_COMMON_PAST
        )


def check_next(record: Portable, *, key: str, head: int, is_ended: bool) -> None:
    """Refuse a version that would take another's number, leave a gap, or revive a deleted key.

    Args:
        record: The version that comes from another store.
        key: The key whose life it names here.
        head: The last number that was given there.
        is_ended: Whether that life has ended here.
    """
    number = record["version"]
    if key != record["key"]:  # what was signed for one key must not turn up under another
        raise ConflictError(
            f"{ref_of(record)} belongs to an incarnation of {key!r} here",
            hint=_COMMON_PAST,
        )
    if number <= head:
        raise ConflictError(
            f"{key}@{number} is another version here: both stores appended to this key",
            hint="Move other keys with a prefix, or delete the key in one of the stores",
        )
    if number > head + 1:
        raise ConflictError(f"{key}@{number} cannot stand here before {key}@{head + 1}")
    if is_ended and record["dropped"] is None:
        raise ConflictError(
            f"{key!r} was deleted here, and has the new version {number}",
            hint="Undelete the key here, or move other keys with a prefix",
        )


def parts_of(record: Portable, parts: Mapping[str, Part]) -> list[Part]:
    """Return the stored payloads of a version that comes from another store.

    Args:
        record: The version.
        parts: What was stored, by digest.
    """
    if record["dropped"] is not None:
        return []
    mine = []
    for name, digest, *_ in record["payloads"]:
        if digest not in parts:
            raise InvalidInputError(
                f"The payload {digest} of {ref_of(record)} was not stored first"
            )
        mine.append(replace(parts[digest], name=name))
    return mine


def ref_of(record: Portable) -> str:
    """Return how people name a version, `key@number`."""
    return f"{record['key']}@{record['version']}"
