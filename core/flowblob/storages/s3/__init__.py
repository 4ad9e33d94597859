"""Payloads as objects in S3, or on a server that speaks its protocol.

botocore finds credentials, region and endpoint; everything that moves bytes goes over our own
connections, signed over the sha256 that the payload is named by, so that the server refuses what
was damaged on the way. Correctness rests on names that are never used twice, and on no feature
that vendors differ in.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from flowblob.abc import Storage
from flowblob.drafts import Spooled
from flowblob.errors import (
    ConflictError,
    InvalidInputError,
    PayloadMissingError,
    StorageUnavailableError,
)
from flowblob.storages.s3 import listing
from flowblob.storages.s3.download import Download, missing_payload
from flowblob.storages.s3.location import Location, quoted
from flowblob.storages.s3.transport import Body, Patience, Transport
from flowblob.storages.s3.upload import SINGLE, Source, Upload
from flowblob.storages.spools import Spools, shared_root
from flowblob.urls import mask

_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{64}\.[0-9a-f-]{32,36}\Z")
_OWNER = "flowblob-store-id"
_DAMAGED = "damaged"
#: S3 copies no larger object in one request.
_LARGEST_COPY = 5 << 30
#: No put takes this long; what was begun before was left by a process that died.
_ABANDONED = timedelta(days=1)
#: A wrong endpoint should be told of soon.
_OPENING = 20.0
_LONGEST_LINK = timedelta(days=7)


class S3Storage(Storage):
    """Payloads as objects under one prefix of a bucket.

    Args:
        url: `s3://bucket/prefix?endpoint=…&region=…&profile=…&path_style=…&sse=…&kms_key=…`
            `&storage_class=…`; credentials come from botocore's chain, or `s3://key:secret@bucket`.

    Raises:
        InvalidInputError: The URL says something that cannot be.

    Example:
        >>> S3Storage("s3://id:key@bucket/flow").url
        's3://id:***@bucket/flow'
    """

    def __init__(self, url: str) -> None:
        self._location = Location.parse(url)
        self._transport = Transport(self._location)
        self._spools = Spools(shared_root())

    @property
    def url(self) -> str:
        return mask(self._location.url)

    def __repr__(self) -> str:
        return f"S3Storage({self.url!r})"

    def __reduce__(self) -> tuple[type[S3Storage], tuple[str]]:
        return S3Storage, (self._location.url,)

    # ------------------------------------------------------------ temporary files

    def spool_folder(self) -> Path:
        try:
            return self._spools.folder()
        except OSError as error:
            raise _no_spool(error) from error

    def sweep_spool(self) -> int:
        """Remove what processes that died left here, and their parts in the bucket."""
        try:
            files = self._spools.sweep()
        except OSError as error:
            raise _no_spool(error) from error
        return files + self.abort_older(_ABANDONED)

    def abort_older(self, age: timedelta) -> int:
        """Abort the unfinished uploads of payloads that are older; returns how many."""
        aborted = 0
        for upload in listing.unfinished(self._transport, self._location.prefix):
            name = upload.key.removeprefix(self._location.prefix)
            if _NAME.match(name) and upload.age >= age.total_seconds():
                listing.abort(self._transport, upload.key, upload.id)
                aborted += 1
        return aborted

    def close(self) -> None:
        self._transport.close()
        self._spools.close()

    # ------------------------------------------------------------ payloads

    def claim(self, store_id: str) -> None:
        owner = self._owner() or self._claim(store_id)
        if owner != store_id:
            raise ConflictError(
                f"The payloads in {self.url} are of store {owner}, not of {store_id}",
                hint="Open the catalog with the storage it was made with, or take another prefix",
            )

    def _owner(self) -> str:
        found = self._transport.request(
            "GET", self._location.prefix + _OWNER, accept=(200, 404), patience=Patience(_OPENING)
        )
        return found.data.decode("utf-8", "replace").strip() if found.status == 200 else ""

    def _claim(self, store_id: str) -> str:
        """Leave our mark; of two who come at the same moment, both read who was first."""
        put = functools.partial(
            self._transport.request,
            "PUT",
            self._location.prefix + _OWNER,
            body=Body.of(store_id.encode()),
        )
        own = self._location.headers
        if put(headers={**own, "if-none-match": "*"}, accept=(200, 412, 501)).status == 501:
            put(headers=own, accept=(200,))
        return self._owner()

    def write(self, name: str, spooled: Spooled, *, op: str) -> None:
        with Source(spooled) as source:
            Upload(self._transport, self._key(name), op, self._location.headers, source).run()

    def size(self, name: str) -> int | None:
        return self._length(self._key(name))

    def read(self, name: str, offset: int = 0, length: int = -1) -> bytes:
        if length <= 0:
            size = self.size(name)
            if size is None:
                raise missing_payload(name, self._transport)
            length = max(0, size - offset) if length else 0
        # bytes(n) takes no memory before it is written to, and is given out without a copy.
        made = io.BytesIO(bytes(length))
        with made.getbuffer() as buffer:
            count = self.read_into(name, buffer, offset)
        made.truncate(count)
        return made.getvalue()

    def read_into(self, name: str, buffer: memoryview, offset: int = 0) -> int:
        return Download(self._transport, self._key(name)).fill(buffer, offset)

    def delete(self, name: str) -> None:
        key = self._key(name)
        size = self._length(key)
        # Only what went in parts, or never arrived, can have left parts behind.
        if size is None or size > SINGLE:
            listing.abandon(self._transport, key)
        self._transport.request("DELETE", key, accept=(200, 204, 404))

    def set_aside(self, name: str) -> str:
        source = self._key(name)
        target = f"{self._location.prefix}{_DAMAGED}/{name.partition('/')[2]}"
        size = self._length(source)
        if size is None or size > _LARGEST_COPY:
            return ""
        self._transport.request(
            "PUT",
            target,
            headers={
                **self._location.headers,
                "x-amz-copy-source": quoted(f"/{self._location.bucket}/{source}"),
            },
        )
        # An error may stand under a 200, and the bytes must be somewhere.
        if self._length(target) != size:
            return ""
        self._transport.request("DELETE", source, accept=(200, 204, 404))
        return f"s3://{self._location.bucket}/{target}"

    def _length(self, key: str) -> int | None:
        found = self._transport.request("HEAD", key, accept=(200, 404))
        return int(found.headers.get("content-length", 0)) if found.status == 200 else None

    def names(self) -> Iterator[tuple[str, int, datetime]]:
        for found in listing.objects(self._transport, self._location.prefix):
            name = found.key.removeprefix(self._location.prefix)
            if _NAME.match(name):
                yield name, found.size, found.changed_at

    def presign(self, name: str, *, method: str = "GET", expires: timedelta) -> str:
        """Return a link by which anybody may read or write this payload for a while.

        Args:
            name: Physical name.
            method: `GET` or `PUT`.
            expires: How long; S3 allows seven days, and no longer than temporary credentials last.

        Raises:
            InvalidInputError: The method or the time is not possible.
        """
        if method not in ("GET", "PUT", "HEAD") or not timedelta(0) < expires <= _LONGEST_LINK:
            raise InvalidInputError(
                f"No link for {method} that lasts {expires}", hint="GET or PUT, at most 7 days"
            )
        return self._transport.link(method, self._key(name), int(expires.total_seconds()))

    def _key(self, name: str) -> str:
        # Names come from the catalog, but a forged catalog must not reach outside the prefix.
        if not _NAME.match(name):
            raise PayloadMissingError(f"{name!r} is no name of a payload")
        return self._location.prefix + name


def _no_spool(error: OSError) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"The temporary folder failed: {error.strerror or error}",
        hint="Check space and permissions, or set TMPDIR to another folder",
    )
