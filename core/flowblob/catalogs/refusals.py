"""What every catalog refuses before it appends a version, in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from flowblob.drafts import Draft, Part
from flowblob.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    VersionConflictError,
)
from flowblob.portable import Portable


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
            hint="The two stores do not have a common past",
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
