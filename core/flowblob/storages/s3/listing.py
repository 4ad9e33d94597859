"""What a bucket lists: objects under a prefix, and uploads that nobody finished."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus

from flowblob.storages.s3.replies import children, parse, text_of
from flowblob.storages.s3.signing import Query
from flowblob.storages.s3.transport import Patience, Transport


@dataclass(frozen=True, slots=True)
class Listed:
    """An object."""

    key: str
    size: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts that was neither completed nor aborted, and its age by the server."""

    key: str
    id: str
    age: float


def objects(transport: Transport, prefix: str) -> Iterator[Listed]:
    """Yield all objects under a prefix, a page at a time."""
    query = [("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)]
    token = ""
    while True:
        more = [("continuation-token", token)] if token else []
        found = parse(transport.request("GET", query=[*query, *more]).data)
        for item in children(found, "Contents"):
            yield Listed(
                unquote_plus(text_of(item, "Key")),
                int(text_of(item, "Size")),
                datetime.fromisoformat(text_of(item, "LastModified")),
            )
        token = text_of(found, "NextContinuationToken")
        if text_of(found, "IsTruncated") != "true" or not token:
            return


def unfinished(transport: Transport, prefix: str) -> Iterator[Unfinished]:
    """Yield all unfinished uploads under a prefix; MinIO lists those of a whole key only."""
    query: Query = [("encoding-type", "url"), ("prefix", prefix), ("uploads", "")]
    marker: list[tuple[str, str]] = []
    while True:
        response = transport.request("GET", query=[*query, *marker])
        now = _server_time(response.headers.get("date", ""))
        found = parse(response.data)
        for item in children(found, "Upload"):
            begun = datetime.fromisoformat(text_of(item, "Initiated"))
            yield Unfinished(
                unquote_plus(text_of(item, "Key")),
                text_of(item, "UploadId"),
                (now - begun).total_seconds(),
            )
        marker = [
            ("key-marker", unquote_plus(text_of(found, "NextKeyMarker"))),
            ("upload-id-marker", text_of(found, "NextUploadIdMarker")),
        ]
        if text_of(found, "IsTruncated") != "true" or not marker[0][1]:
            return


def abandon(transport: Transport, key: str) -> int:
    """Abort every unfinished upload of exactly this key; returns how many."""
    found = [upload for upload in unfinished(transport, key) if upload.key == key]
    for upload in found:
        abort(transport, key, upload.id)
    return len(found)


def abort(transport: Transport, key: str, upload_id: str, patience: Patience | None = None) -> None:
    """Drop an unfinished upload; one that is gone already is no error."""
    transport.request(
        "DELETE", key, query=[("uploadId", upload_id)], accept=(204, 404), patience=patience
    )


def _server_time(date: str) -> datetime:
    # Ages by the clock that stamped the uploads: this machine's may be wrong.
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(date)
    except ValueError:
        return datetime.now(UTC)
