"""Hashes of bytes, of lists of texts and of plain values, each kind with a tag of its own."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, Final

_ATOM: Final = b"flowblob atom fb1\n"
_PARTS: Final = b"flowblob parts fb1\n"
_WINDOW: Final = 16 << 20  # of a mapped file no more than this is touched at once
#: Exact builtins that hold nothing else.
PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes, bytearray})


@functools.cache
def hasher() -> Callable[..., Any]:
    """Return the class of BLAKE3 hashes."""
    # `import flowblob` loads no third-party module. max_threads stays 1: BLAKE3's thread pool does
    # not survive a fork, and hosts fork their workers.
    from blake3 import blake3

    return blake3


def new_hash(head: bytes = b"") -> Any:
    """Return a BLAKE3 hash object that has read `head`."""
    return hasher()(head)


def hash_parts(*parts: str) -> str:
    """Return the digest of a list of texts, length-prefixed so that no two lists meet.

    Args:
        *parts: Texts, lone surrogates allowed.
    """
    text = "".join([f"{len(part)}:{part}," for part in parts])
    return "b3:" + str(hasher()(_PARTS + text.encode("utf-8", "surrogatepass")).hexdigest())


def hash_buffer(view: memoryview | bytes) -> str:
    """Return the BLAKE3 hex digest of a contiguous buffer, without a copy."""
    if len(view) <= _WINDOW:
        return str(hasher()(view).hexdigest())
    sink = hasher()()
    for start in range(0, len(view), _WINDOW):
        sink.update(view[start : start + _WINDOW])
    return str(sink.hexdigest())


def atom_digest(value: Any, kind: type) -> str:
    """Return the digest of an exact builtin that holds nothing else.

    Args:
        value: A value whose type is in `PLAIN`.
        kind: Its type.
    """
    if kind is str:
        body = b"s" + value.encode("utf-8", "surrogatepass")
    elif kind is int:
        body = b"i%x" % value
    elif kind is float:
        body = b"f" + struct.pack(">d", value)
    elif kind is bool or value is None:
        body = b"n" if value is None else b"t" if value else b"0"
    else:
        sink = hasher()(_ATOM + (b"b" if kind is bytes else b"a"))
        sink.update(value)
        return "b3:" + str(sink.hexdigest())
    return "b3:" + str(hasher()(_ATOM + body).hexdigest())
