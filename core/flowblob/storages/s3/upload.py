"""Payloads into S3: in one request, or in parts that travel side by side.

Every request is signed over the sha256 of what it sends, which is known before, and which every
vendor compares with what arrived. Names are never used twice, so that writing again is harmless; a
reply that was lost is settled by the id of the put in the object's metadata, which saves sending
everything again.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import threading
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from xml.sax.saxutils import escape

from flowblob.drafts import Spooled
from flowblob.errors import FlowblobError, StorageUnavailableError
from flowblob.storages.s3 import replies
from flowblob.storages.s3.listing import abandon, abort
from flowblob.storages.s3.replies import Response
from flowblob.storages.s3.transport import Body, Patience, Transport

logger = logging.getLogger(__name__)

#: Payloads up to this size go in one request.
SINGLE = 64 << 20
#: The same where one connection is this fast: parts would only cost a second hash of everything.
#: In bytes per second; no connection to AWS comes near.
_FAST, _FAST_SINGLE = 200e6, 1 << 30
PART = 16 << 20
#: The most parts that S3 takes.
_MOST_PARTS = 10_000
_PARALLEL = 4
#: What one call to the socket sends: a slow line must move it within the connection's timeout.
_BLOCK = 1 << 18
_CHECKSUM = "x-amz-checksum-sha256"
_ABSENT = {"if-none-match": "*"}
_COMPLETION = (
    '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}'
    "</CompleteMultipartUpload>"
)
#: The id of the put that stored an object.
OP = "x-amz-meta-flowblob-op"


class Source:
    """The spooled bytes, read from any position by several threads in constant memory."""

    def __init__(self, spooled: Spooled) -> None:
        self.size = spooled.size
        self._spooled = spooled
        self._descriptor = -1
        #: Set to end all reading early.
        self.stopped = threading.Event()

    def __enter__(self) -> Source:
        if self._spooled.path is not None:
            try:
                self._descriptor = os.open(self._spooled.path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise self._lost(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def blocks(self, start: int, length: int) -> Iterator[memoryview]:
        """Yield a range; each block is valid until the next is asked for."""
        if self._spooled.data is not None:
            view = memoryview(self._spooled.data)[start : start + length]
            for position in range(0, length, _BLOCK):
                yield view[position : position + _BLOCK]
            return
        buffer = memoryview(bytearray(min(_BLOCK, length)))
        end = start + length
        while start < end:
            if self.stopped.is_set():
                raise StorageUnavailableError("Another part of the payload could not be stored")
            try:
                count = os.preadv(self._descriptor, [buffer[: end - start]], start)
            except OSError as error:
                raise self._lost(error) from error
            if not count:
                raise self._lost(EOFError("it is shorter than it was"))
            yield buffer[:count]
            start += count

    def body(self, start: int, length: int) -> Body:
        """Return a range as the body of a request."""
        whole = length == self.size
        digest = (
            self._spooled.digest.removeprefix("sha256:") if whole else self._hash(start, length)
        )
        return Body(length, digest, lambda: self.blocks(start, length))

    def _hash(self, start: int, length: int) -> str:
        hasher = hashlib.sha256()
        for block in self.blocks(start, length):
            hasher.update(block)
        return hasher.hexdigest()

    def _lost(self, error: Exception) -> StorageUnavailableError:
        return StorageUnavailableError(
            f"The temporary file {self._spooled.path} cannot be read: {error}",
            hint="Nothing was stored; put again",
        )


@dataclass(frozen=True, slots=True)
class Upload:
    """One payload on its way to its key.

    Attributes:
        transport: Sends the requests.
        key: Object key.
        op: Uuid of the put, kept with the object.
        headers: Encryption and storage class.
        source: The bytes.
    """

    transport: Transport
    key: str
    op: str
    headers: Mapping[str, str]
    source: Source

    def run(self) -> None:
        """Store the bytes; the object is complete and durable at return.

        Raises:
            StorageUnavailableError: Not stored, or unknown after all retries.
        """
        if self.source.size <= (_FAST_SINGLE if self.transport.pace >= _FAST else SINGLE):
            self._run_whole()
        else:
            _Parts(self).run()

    def _run_whole(self) -> None:
        body = self.source.body(0, self.source.size)

        def send(extras: Mapping[str, str]) -> Response:
            return self.transport.request(
                "PUT",
                self.key,
                headers={**self.headers, OP: self.op, **extras},
                body=body,
                accept=(200, 412, 501) if extras else (200,),
                settle=self.settle,
            )

        self.publish(send, {**_ABSENT, _CHECKSUM: base64_of(body.sha256)})

    def publish(
        self, send: Callable[[Mapping[str, str]], Response], extras: Mapping[str, str]
    ) -> None:
        """Send what makes the object appear, with conditions and checksums where they are taken.

        Nothing rests on either: a condition only keeps versioned buckets from a second copy, and
        the signature covers the bytes.
        """
        if self.transport.takes_extras:
            response = send(extras)
            if response.status == 412:
                response = self.settle(Patience()) or response
            if response.status not in (412, 501):
                self._check(response)
                return
            # 412: what stands under a name of ours is not what we send.
            self.transport.takes_extras = response.status != 501
        self._check(send({}))

    def _check(self, response: Response) -> None:
        if response.status == 404:
            raise StorageUnavailableError(
                f"The parts of {self.key} were removed while they were sent", hint="Put again"
            )

    def settle(self, patience: Patience) -> Response | None:
        """Return the head of the object if this put has stored it already."""
        found = self.transport.request("HEAD", self.key, accept=(200, 404), patience=patience)
        is_stored = (
            found.status == 200
            and found.headers.get(OP) == self.op
            and found.headers.get("content-length") == str(self.source.size)
        )
        return found if is_stored else None


class _Parts:
    """A payload that goes in parts; nothing is left of it unless all of them arrived.

    Args:
        upload: What is stored.
    """

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._transport = upload.transport
        self._size = upload.source.size
        self._length = max(PART, -(-self._size // _MOST_PARTS))
        self._id = ""
        self._is_begun_twice = False

    def run(self) -> None:
        self._begin()
        try:
            parts = self._send_all()
            self._upload.publish(functools.partial(self._complete, parts), _ABSENT)
        except BaseException:
            self._abort()
            raise
        if self._is_begun_twice:
            abandon(self._transport, self._upload.key)

    def _begin(self) -> None:
        patience = Patience()
        headers = {**self._upload.headers, OP: self._upload.op}
        response = None
        if self._transport.takes_extras:
            response = self._create(
                {**headers, "x-amz-checksum-algorithm": "SHA256"}, (200, 501), patience
            )
            self._transport.takes_extras = response.status != 501
        if response is None or response.status == 501:
            response = self._create(headers, (200,), patience)
        self._id = replies.text_of(replies.parse(response.data), "UploadId")
        # The answer to the first request was lost, perhaps with the name of an upload.
        self._is_begun_twice = patience.attempts > 0
        self._has_checksums = self._transport.takes_extras

    def _create(
        self, headers: Mapping[str, str], accept: Collection[int], patience: Patience
    ) -> Response:
        return self._transport.request(
            "POST",
            self._upload.key,
            query=[("uploads", "")],
            headers=headers,
            accept=accept,
            patience=patience,
        )

    def _send_all(self) -> list[str]:
        count = -(-self._size // self._length)
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="flowblob-s3") as pool:
            try:
                sent = [pool.submit(self._send, number) for number in range(1, count + 1)]
                for future in wait(sent, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                self._upload.source.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [future.result() for future in sent]

    def _send(self, number: int) -> str:
        """Send one part; returns it as the completion lists it."""
        start = (number - 1) * self._length
        body = self._upload.source.body(start, min(self._length, self._size - start))
        checksum = base64_of(body.sha256)
        response = self._transport.request(
            "PUT",
            self._upload.key,
            query=[("partNumber", str(number)), ("uploadId", self._id)],
            headers={_CHECKSUM: checksum} if self._has_checksums else {},
            body=body,
        )
        listed = f"<ChecksumSHA256>{checksum}</ChecksumSHA256>" if self._has_checksums else ""
        tag = escape(response.headers.get("etag", ""))
        return f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag>{listed}</Part>"

    def _complete(self, parts: list[str], extras: Mapping[str, str]) -> Response:
        text = _COMPLETION.format("".join(parts))
        response = self._transport.request(
            "POST",
            self._upload.key,
            query=[("uploadId", self._id)],
            headers={"content-type": "application/xml", **extras},
            body=Body.of(text.encode()),
            accept=(200, 404, 412, 501) if extras else (200, 404),
            settle=self._upload.settle,
        )
        # An upload that is gone was completed by a request whose answer was lost, or collected.
        if response.status == 404 and (settled := self._upload.settle(Patience())) is not None:
            return settled
        return response

    def _abort(self) -> None:
        """Drop what was sent; the collector does it again if this fails."""
        try:
            abort(self._transport, self._upload.key, self._id, Patience(5))
        except FlowblobError as error:
            logger.warning("Parts of a failed put stay until the next collection: %s", error)


def base64_of(digest: str) -> str:
    """Return a digest in hex as S3 writes checksums."""
    return b64encode(bytes.fromhex(digest)).decode()
