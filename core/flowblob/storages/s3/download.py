"""Payloads out of S3: ranges that travel side by side, straight into the final buffer."""

from __future__ import annotations

import functools
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from urllib3.exceptions import HTTPError

from flowblob.errors import PayloadMissingError, StorageUnavailableError
from flowblob.storages.s3 import replies
from flowblob.storages.s3.replies import Response, Trouble
from flowblob.storages.s3.transport import Patience, Transport

#: What one request fetches of a large payload.
RANGE = 8 << 20
_PARALLEL = 4
_BLOCK = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (?:\d+-\d+|\*)/(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Download:
    """One object on its way into memory.

    Attributes:
        transport: Sends the requests.
        key: Object key.
    """

    transport: Transport
    key: str
    _stopped: threading.Event = field(default_factory=threading.Event)

    def fill(self, buffer: memoryview, offset: int) -> int:
        """Fill a buffer from `offset` on; returns how much of it, less only at the end.

        Raises:
            PayloadMissingError: There is no such object.
        """
        starts = range(0, len(buffer), RANGE)
        if len(starts) <= 1:
            return self._fetch(buffer, offset) if len(buffer) else 0
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="flowblob-s3") as pool:
            try:
                return sum(pool.map(functools.partial(self._fetch_range, buffer, offset), starts))
            except BaseException:
                self._stopped.set()
                raise

    def _fetch_range(self, buffer: memoryview, offset: int, start: int) -> int:
        # Released by name, here and below: the frames of an error that was dealt with live until
        # the next garbage collection, and a buffer that somebody looks at cannot be given out.
        with buffer[start : start + RANGE] as view:
            return self._fetch(view, offset + start)

    def _fetch(self, view: memoryview, offset: int) -> int:
        """Fill a view by one request, or by more if answers are cut."""
        done, wanted = 0, len(view)
        patience = Patience()
        while done < wanted:
            if self._stopped.is_set():
                raise StorageUnavailableError("Another range of the payload could not be read")
            response = self._ask(offset + done, offset + wanted, patience)
            wanted = max(done, min(wanted, _total(response) - offset))
            with view[done:wanted] as rest:
                got, trouble = self._take(response, rest, patience)
            done += got
            if got:
                patience = Patience()  # whoever gives bytes may go on
            if done < wanted:
                patience.wait(trouble)
        return done

    def _ask(self, start: int, end: int, patience: Patience) -> Response:
        response = self.transport.request(
            "GET",
            self.key,
            headers={"range": f"bytes={start}-{end - 1}"},
            accept=(200, 206, 404, 416),
            patience=patience,
            stream=True,
        )
        if response.status == 404:
            raise missing_payload(self.key, self.transport)
        if response.status == 200 and start:
            response.close()
            raise StorageUnavailableError(
                f"{self.transport.where} answers a range with everything", retryable=False
            )
        return response

    def _take(
        self, response: Response, view: memoryview, patience: Patience
    ) -> tuple[int, Trouble]:
        """Read an answer into a view; returns how much came, and why no more did."""
        done = 0
        trouble = replies.unreachable(EOFError("the answer ended early"), self.transport.where)
        try:
            while done < len(view) and not self._stopped.is_set():
                began = time.monotonic()
                block = response.read(min(_BLOCK, len(view) - done), decode_content=False)
                patience.moved(time.monotonic() - began)
                if not block:
                    break
                view[done : done + len(block)] = block
                done += len(block)
        except (HTTPError, OSError) as error:
            trouble = replies.unreachable(error, self.transport.where)
        if done < len(view) or response.status == 200:
            response.close()  # what is left of it must not stand before the next answer
        return done, trouble


def _total(response: Response) -> int:
    """Return the size of the whole object, by an answer to a range of it."""
    if response.status == 200:
        return int(response.headers.get("content-length", 0))
    found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    return int(found[1]) if found else 0


def missing_payload(name: str, transport: Transport) -> PayloadMissingError:
    """Return the error for a payload that is not where it was written."""
    return PayloadMissingError(
        f"The payload {name} is gone from {transport.where}",
        hint="Store the value again to heal it",
    )
