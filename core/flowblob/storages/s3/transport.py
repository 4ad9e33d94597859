"""Signed requests over our own pool of connections, repeated while that makes sense.

boto3 spends 2.6 ms of processor time on a request and hashes and sends in small blocks; urllib3
with a signature over the sha256 that is known already takes a third of it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from flowblob.storages.s3 import replies
from flowblob.storages.s3.access import Access, Address
from flowblob.storages.s3.location import Location, quoted
from flowblob.storages.s3.replies import Response, Trouble
from flowblob.storages.s3.signing import EMPTY, Credentials, Query, Signer, query_text

logger = logging.getLogger(__name__)

#: How long requests may go on without getting anywhere, in seconds.
PATIENCE = 60.0
_CONNECT, _ANSWER = 10.0, 30.0
_MOST_ATTEMPTS = 40
_CONNECTIONS = 16
#: Bodies of this size show how fast a connection is: smaller ones vanish in its buffers.
_TELLING = 8 << 20

_FAILURES = (HTTPError, OSError)


class Patience:
    """How much longer an operation may fail before it is given up.

    Time in which bytes move does not count, so that a slow line is no failure; nor does time before
    the first request, since a busy machine takes long to load botocore.

    Args:
        seconds: How long it may go on without getting anywhere.
    """

    def __init__(self, seconds: float = PATIENCE) -> None:
        self._limit = seconds
        self._began: float | None = None
        self._moving = 0.0
        self.attempts = 0

    def begin(self) -> None:
        """Start counting, unless an earlier request has."""
        if self._began is None:
            self._began = time.monotonic()

    @property
    def left(self) -> float:
        """Seconds that remain."""
        passed = 0.0 if self._began is None else time.monotonic() - self._began
        return self._limit - (passed - self._moving)

    def moved(self, seconds: float) -> None:
        """Take out the time that a block of bytes took."""
        self._moving += seconds

    def wait(self, trouble: Trouble) -> None:
        """Sleep before the next attempt.

        Raises:
            FlowblobError: That of the trouble, if it will not pass or patience is at its end.
        """
        self.attempts += 1
        # Full jitter: clients that were refused together must not come back together.
        pause = random.uniform(0, min(5.0, 0.1 * 2 ** min(self.attempts, 10)))  # noqa: S311
        pause = max(pause, trouble.wait)
        if not trouble.is_passing or self.attempts >= _MOST_ATTEMPTS or pause >= self.left:
            raise trouble.error
        logger.debug("Trying again in %.1f s: %s", pause, trouble.error)
        time.sleep(pause)


class Body:
    """What a request sends, from its beginning at every attempt.

    Attributes:
        size: Length in bytes.
        sha256: In hex; the server refuses other bytes.
        blocks: Gives the bytes; called for every attempt.
    """

    __slots__ = ("blocks", "sha256", "size")

    def __init__(self, size: int, sha256: str, blocks: Callable[[], Iterable[Any]]) -> None:
        self.size = size
        self.sha256 = sha256
        self.blocks = blocks

    @classmethod
    def of(cls, data: bytes) -> Body:
        """Return the body that bytes in memory are."""
        return cls(len(data), hashlib.sha256(data).hexdigest(), lambda: [data])


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    key: str
    query: Query
    headers: Mapping[str, str]
    body: Body | None
    stream: bool


class Transport:
    """Requests to one bucket. Safe in threads; a forked child opens connections of its own.

    Redirects are never followed: the answer of one server must not send our credentials, or
    whoever reads through us, to another.

    Args:
        location: Which bucket.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._access = Access(location)
        self._lock = threading.Lock()
        self._pool: tuple[int, Callable[..., Response], urllib3.PoolManager] | None = None
        self._signer: Signer | None = None
        #: Whether the server takes conditions and checksums beyond the signature; learnt when it
        #: refuses them, and nothing rests on it.
        self.takes_extras = True
        #: Bytes per second of the last large body, on its one connection; 0 before there was one.
        self.pace = 0.0
        _open.add(self)

    @property
    def address(self) -> Address:
        """Where the bucket answers."""
        return self._access.address

    @property
    def where(self) -> str:
        """The bucket, for messages."""
        return f"{self._location.bucket!r} at {self.address.url}"

    def request(
        self,
        method: str,
        key: str = "",
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        accept: Collection[int] = (200, 204),
        patience: Patience | None = None,
        settle: Callable[[Patience], Response | None] | None = None,
        stream: bool = False,
    ) -> Response:
        """Send a request until it is answered.

        Args:
            method: HTTP method.
            key: Object key; empty for the bucket itself.
            query: Parameters.
            headers: Headers in lower case.
            body: What to send.
            accept: Statuses that are answers; any other is a refusal.
            patience: That of the operation which this request is a part of.
            settle: Asked before a request is repeated whose effect is unknown; what it returns is
                the answer.
            stream: Leave the body of the answer to be read by the caller.

        Raises:
            StorageUnavailableError: No answer in time; the effect is unknown if there was one.
            AuthError: The credentials are missing, wrong or not allowed to do this.
            NotFoundError: There is no such bucket.
        """
        patience = patience or Patience()
        request = _Request(method, key, query, headers or {}, body, stream)
        is_renewed = False
        while True:
            credentials = self._access.credentials()
            try:
                response = self._send(request, credentials, patience)
            except _FAILURES as error:
                trouble = replies.unreachable(error, self.where)
            else:
                if (found := self._trouble(response, method, accept)) is None:
                    return response
                trouble = found
            if trouble.is_auth and not is_renewed and self._access.renew(credentials):
                is_renewed = True  # a rotated key: once, or a forbidden request would loop
                continue
            patience.wait(trouble)
            if settle is not None and (settled := settle(patience)) is not None:
                return settled

    def _trouble(self, response: Response, method: str, accept: Collection[int]) -> Trouble | None:
        is_expected = response.status in accept
        if is_expected and response.status < 300 and method != "POST":
            return None
        _read_rest(response)
        code, _ = replies.problem(response)
        # S3 begins some answers before it knows how they end: an error may stand under a 200.
        is_answer = code != "NoSuchBucket" if response.status >= 300 else not code
        if is_expected and is_answer:
            return None
        return replies.refused(response, method, self.where)

    def _send(self, request: _Request, credentials: Credentials, patience: Patience) -> Response:
        address = self.address
        patience.begin()
        path = f"{address.path}/{quoted(request.key)}"
        if self._signer is None:
            self._signer = Signer(address.region)
        body = request.body
        signed = self._signer.headers(
            request.method,
            path,
            request.query,
            {**request.headers, "host": address.host},
            payload=body.sha256 if body else EMPTY,
            credentials=credentials,
            now=datetime.now(UTC),
        )
        signed["Host"] = signed.pop("host")  # as urllib3 writes it before a proxy, or there are two
        signed["user-agent"] = "flowblob"
        if body is not None:
            signed["content-length"] = str(body.size)
        left = max(1.0, patience.left)
        return self._open()(
            request.method,
            f"{path}?{query_text(request.query)}" if request.query else path,
            body=self._timed(body, patience) if body else None,
            headers=signed,
            timeout=urllib3.Timeout(connect=min(_CONNECT, left), read=min(_ANSWER, left)),
            retries=False,
            redirect=False,
            preload_content=not request.stream,
            decode_content=False,
        )

    def _timed(self, body: Body, patience: Patience) -> Iterable[Any]:
        """Yield the blocks, and take the time that sending them takes out of the account."""
        moving = 0.0
        for block in body.blocks():
            began = time.monotonic()
            yield block
            taken = time.monotonic() - began
            moving += taken
            patience.moved(taken)
        if body.size >= _TELLING:
            self.pace = body.size / max(moving, 1e-6)

    def link(self, method: str, key: str, seconds: int) -> str:
        """Return a URL that anybody may use for a while."""
        address = self.address
        path = Signer(address.region).link(
            method,
            f"{address.path}/{quoted(key)}",
            address.host,
            credentials=self._access.credentials(),
            now=datetime.now(UTC),
            seconds=seconds,
        )
        return address.url.removesuffix(address.path) + path

    # ------------------------------------------------------------ connections

    def _open(self) -> Callable[..., Response]:
        """Return what sends a request, over connections of this process."""
        pool = self._pool
        if pool is None or pool[0] != os.getpid():
            with self._lock:
                pool = self._pool
                if pool is None or pool[0] != os.getpid():
                    pool = self._pool = (os.getpid(), *self._connect())
        return pool[1]

    def _connect(self) -> tuple[Callable[..., Response], urllib3.PoolManager]:
        address = self.address
        options: dict[str, Any] = {"maxsize": _CONNECTIONS, "block": True}
        if address.url.startswith("https:"):
            options |= {"ca_certs": address.ca_file, "cert_reqs": "CERT_REQUIRED"}
        if not address.proxy:
            manager = urllib3.PoolManager(**options)
            return manager.connection_from_url(address.url).urlopen, manager
        login = urllib3.util.parse_url(address.proxy).auth
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
        proxied = urllib3.ProxyManager(address.proxy, proxy_headers=headers, **options)
        root = address.url.removesuffix(address.path)

        def through_proxy(method: str, path: str, **options: Any) -> Response:
            return proxied.urlopen(method, root + path, **options)

        return through_proxy, proxied

    def forget_threads(self) -> None:
        """Take the locks from threads that stayed behind in the parent of a fork."""
        self._lock = threading.Lock()
        self._access.forget_threads()

    def close(self) -> None:
        """Give back connections; the transport may be used again."""
        with self._lock:
            if self._pool is not None and self._pool[0] == os.getpid():
                self._pool[2].clear()
            self._pool = None


def _read_rest(response: Response) -> None:
    """Read what is left of a streamed answer, so that its connection can be used again."""
    try:
        response.data  # noqa: B018 - reads and keeps it
    except _FAILURES:
        response.close()


_open: weakref.WeakSet[Transport] = weakref.WeakSet()


def _forget_all() -> None:
    for transport in list(_open):
        transport.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
