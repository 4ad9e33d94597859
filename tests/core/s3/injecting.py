"""A proxy before an S3 server that fails requests by a plan, and remembers what passed."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_END = b"\r\n\r\n"


@dataclass
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict[str, str]
    head: bytes
    body: bytes

    @property
    def key(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def raw(self) -> bytes:
        return self.head + _END + self.body


@dataclass
class Reply:
    """What the server answered."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def raw(self) -> bytes:
        return self.head + _END + self.body


#: Gets the request and a way to pass it on; returns what the client receives before the connection
#: is closed, or a Reply to go on.
Fault = Callable[[Request, Callable[[Request], Reply]], "bytes | Reply"]


@dataclass
class Rule:
    fault: Fault
    method: str
    key: str
    query: str
    times: int
    after: int
    met: int = 0

    def takes(self, request: Request) -> bool:
        if self.method not in ("", request.method):
            return False
        if not re.search(self.key, request.key) or not re.search(self.query, request.query):
            return False
        self.met += 1
        return self.after < self.met <= self.after + self.times


@dataclass
class Proxy:
    """Listens on a port of its own as long as it is open.

    Attributes:
        upstream: URL of the real server; empty where every request is answered by a rule.
        seen: What came, with the status that the server gave it, 0 if it never saw it.
    """

    upstream: str = ""
    seen: list[tuple[Request, int]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Proxy:
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hanging.set()
        self._listener.close()

    def plan(
        self,
        fault: Fault,
        *,
        method: str = "",
        key: str = "",
        query: str = "",
        times: int = 1,
        after: int = 0,
    ) -> None:
        """Fail requests that match; `times` of them, after the first `after`."""
        self.rules.append(Rule(fault, method, key, query, times, after))

    def statuses(self, method: str, query: str = "") -> list[int]:
        """Return what the server gave the requests of a method, 0 for those it never saw."""
        return [
            status
            for request, status in self.seen
            if request.method == method and re.search(query, request.query)
        ]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (request := _read(client)) is not None:
                head, body = request
                method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
                answer = self._answer(Request(method, target, _headers(head), head, body))
                if isinstance(answer, bytes):
                    client.sendall(answer)
                    return
                client.sendall(answer.raw)

    def _answer(self, request: Request) -> bytes | Reply:
        status = [0]

        def forward(changed: Request) -> Reply:
            reply = self._forward(changed)
            status[0] = reply.status
            return reply

        with self._lock:
            rule = next((rule for rule in self.rules if rule.takes(request)), None)
        try:
            return rule.fault(request, forward) if rule else forward(request)
        finally:
            with self._lock:
                self.seen.append((request, status[0]))

    def _forward(self, request: Request) -> Reply:
        parts = urlsplit(self.upstream)
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as server:
            server.sendall(request.raw)
            found = _read(server, is_head=request.method == "HEAD")
        assert found is not None
        return Reply(*found)


def _read(source: socket.socket, *, is_head: bool = False) -> tuple[bytes, bytes] | None:
    data = bytearray()
    while _END not in data:
        if not (block := source.recv(1 << 16)):
            return None
        data += block
    head, _, body = bytes(data).partition(_END)
    headers = _headers(head)
    if is_head or (head.startswith(b"HTTP/1.1 204")):
        return head, b""
    if headers.get("transfer-encoding") == "chunked":
        return _read_chunks(source, head, body)
    blocks, left = [body], int(headers.get("content-length", 0)) - len(body)
    while left > 0 and (block := source.recv(min(left, 1 << 20))):
        blocks.append(block)
        left -= len(block)
    return head, b"".join(blocks)


def _read_chunks(source: socket.socket, head: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Read a chunked body as it stands, up to its last chunk."""
    while not body.endswith(b"0\r\n\r\n"):
        body += source.recv(1 << 16)
    return head, body


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


# ------------------------------------------------------------------ faults


def answer(status: int, code: str = "", message: str = "", headers: Iterable[str] = ()) -> Fault:
    """Answer in place of the server."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]

    def fault(request: Request, forward: Callable[[Request], Reply]) -> Reply:
        return Reply("\r\n".join(lines).encode(), b"" if request.method == "HEAD" else body)

    return fault


def answer_after(status: int, code: str = "") -> Fault:
    """Let the server do it, and answer with a failure."""

    def fault(request: Request, forward: Callable[[Request], Reply]) -> bytes | Reply:
        forward(request)
        return answer(status, code)(request, forward)

    return fault


def cut(request: Request, forward: Callable[[Request], Reply]) -> bytes:
    """Close the connection; the server never sees the request."""
    return b""


def cut_after(request: Request, forward: Callable[[Request], Reply]) -> bytes:
    """Let the server do it, and close the connection without a word."""
    forward(request)
    return b""


def truncate(request: Request, forward: Callable[[Request], Reply]) -> bytes:
    """Give half of the answer's body."""
    reply = forward(request)
    return reply.head + _END + reply.body[: len(reply.body) // 2]


def flip_answer(request: Request, forward: Callable[[Request], Reply]) -> Reply:
    """Change one byte of the answer's body."""
    reply = forward(request)
    return Reply(reply.head, _flip(reply.body))


def flip_request(request: Request, forward: Callable[[Request], Reply]) -> Reply:
    """Change one byte of what was sent."""
    return forward(Request(**{**vars(request), "body": _flip(request.body)}))


def hang(proxy: Proxy) -> Fault:
    """Never answer."""

    def fault(request: Request, forward: Callable[[Request], Reply]) -> bytes:
        proxy.hanging.wait(120)
        return b""

    return fault


def _flip(body: bytes) -> bytes:
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else body
