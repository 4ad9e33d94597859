"""A proxy before a server that breaks one connection at one message, and tells what got through."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

#: What becomes of the message at which the connection breaks.
FATES = (
    "answered",  # the server has done it, and its reply is lost
    "unsent",  # it never reaches the server
    "late",  # the client is told first; the server does it half a second later
    "given up",  # the client is told first; the server waits half a second for nothing
)
FORGOTTEN = "forgotten"  # the client is told; the server never is, and waits
_LATE_SECONDS = 0.5


class Cutter:
    """Stands between client and server.

    Args:
        url: The server's.
        pattern: The messages that count.

    Attributes:
        url: The server's, by way of this proxy.
        cuts: How often a connection was broken.
        messages: What clients sent, as it came.
        between: Called while the connection is broken, before the client is told.
    """

    def __init__(self, url: str, pattern: bytes) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.cuts = 0
        self.messages: list[bytes] = []
        self.between: Callable[[], Any] = lambda: None
        self._pattern = re.compile(pattern, re.DOTALL)
        self._number = 0  # of messages until the cut; none with 0
        self._fate = ""
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self.url = url.replace(
            f"{parts.hostname}:{parts.port}", f"127.0.0.1:{self.listener.getsockname()[1]}"
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def arm(self, fate: str = "answered", *, pattern: bytes = b"", number: int = 1) -> None:
        """Break the connection at the message with this number of those that match."""
        if pattern:
            self._pattern = re.compile(pattern, re.DOTALL)
        self._fate, self._number, self.cuts = fate, number, 0

    def disarm(self) -> None:
        """Let everything pass."""
        self._number = 0

    def close(self) -> None:
        """Let nobody through any more."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for link in self._links:
            with suppress(OSError):
                link.server.shutdown(socket.SHUT_RDWR)

    def _is_hit(self, data: bytes) -> bool:
        with self._lock:
            if not self._number or not self._pattern.search(data):
                return False
            self._number -= 1
            return not self._number

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client = self.listener.accept()[0]
                server = socket.create_connection(self._target)
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                link = _Link(client, server)
                self._links.append(link)
                threading.Thread(target=self._up, args=(link,), daemon=True).start()
                threading.Thread(target=link.down, daemon=True).start()

    def _up(self, link: _Link) -> None:
        with suppress(OSError):
            while data := link.client.recv(1 << 16):
                self.messages.append(data)
                if self._is_hit(data):
                    self._cut(link, data)
                    break
                link.server.sendall(data)
            if not link.is_forgotten:
                link.server.shutdown(socket.SHUT_RDWR)  # a close would wait for who reads there

    def _cut(self, link: _Link, data: bytes) -> None:
        link.is_mute, link.is_forgotten = True, self._fate == FORGOTTEN
        if self._fate == "answered":
            link.server.sendall(data)
            assert link.has_answered.wait(30)
        self.between()
        self.cuts += 1
        link.client.shutdown(socket.SHUT_RDWR)
        if self._fate in ("late", "given up"):
            time.sleep(_LATE_SECONDS)
        if self._fate == "late":
            link.server.sendall(data)
            link.has_answered.wait(30)


class _Link:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.is_mute = self.is_forgotten = False
        self.has_answered = threading.Event()

    def down(self) -> None:
        with suppress(OSError):
            while data := self.server.recv(1 << 16):
                if self.is_mute:
                    self.has_answered.set()
                else:
                    self.client.sendall(data)
            self.client.shutdown(socket.SHUT_RDWR)
        self.client.close()
        self.server.close()
