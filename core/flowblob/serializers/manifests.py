"""The manifest of a folder: which files, links and empty folders it holds.

It is canonical JSON: equal folders have equal manifests, whatever the order of the file system.
Every file is named by its digest, so the manifest's own digest stands for the whole folder. Of
permissions only the executable bit is kept.

`parse` is the gate for what comes from outside: an entry that would leave the target (absolute,
`..`, through a link) is refused before anything is made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flowblob.errors import PayloadUnsafeError, SerializationError

#: A manifest beyond this is refused before it is parsed: a million files need half of it.
MAX_MANIFEST = 1 << 28
_FORMAT = "tree/1"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a manifest: a file, a link, or an empty folder.

    Attributes:
        path: Relative, with `/`.
        part: Name of the attached payload; empty unless it is a file.
        size: Length of the file in bytes.
        is_executable: Whether the owner may run it.
        link: Target of a link; empty unless it is one.
    """

    path: str
    part: str = ""
    size: int = 0
    is_executable: bool = False
    link: str = ""


def encode(entries: list[Entry]) -> bytes:
    """Return the canonical manifest of these entries."""
    lines = [_line(entry) for entry in sorted(entries, key=lambda entry: os.fsencode(entry.path))]
    document = {"entries": lines, "flowblob": _FORMAT}
    # ASCII, since a name that is not UTF-8 stands in Python as lone surrogates.
    return json.dumps(document, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def _line(entry: Entry) -> dict[str, Any]:
    if entry.link:
        return {"path": entry.path, "link": entry.link}
    if not entry.part:
        return {"path": entry.path, "folder": True}
    line: dict[str, Any] = {"path": entry.path, "part": entry.part, "size": entry.size}
    return line | {"executable": True} if entry.is_executable else line


# ------------------------------------------------------------------ checking


def path_problem(path: str) -> str:
    """Say why a path is not kept; empty if it is."""
    if "\x00" in path:
        return "its name holds a NUL"
    if "\\" in path:
        return "its name holds a backslash, which other systems read as a separator"
    if any(name in ("", ".", "..") for name in path.split("/")):
        return "its path is absolute or leads upward"
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        return "its name is no text and no bytes"
    return f"its path has {size:,} bytes" if size > 4096 else ""


def link_problem(path: str, target: str) -> str:
    """Say why a link is not kept: one that leads out of the tree, on this machine or any other.

    `..` may only stand first: then it counts from the link's own folder, which is a real one, and
    what follows only leads down. Behind a name it would count from wherever that name's link leads.
    """
    names = [name for name in target.split("/") if name != "."]
    if not target or target.startswith("/"):
        return "it is absolute"
    steps = 0
    while steps < len(names) and names[steps] == "..":
        steps += 1
    if steps > path.count("/"):
        return "it leads out of the folder"
    rest = "/".join(name for name in names[steps:] if name)
    return path_problem(rest) if rest else ""


def parse(manifest: bytes) -> list[Entry]:
    """Return the entries of a manifest that leads nowhere but below its target.

    Raises:
        SerializationError: It is no manifest.
        PayloadUnsafeError: It would leave the target; the message names the entry.
    """
    try:
        document = json.loads(manifest)
        if document["flowblob"] != _FORMAT:
            raise ValueError(f"unknown format {document['flowblob']!r}; upgrade flowblob")
        entries = [_parse_line(line) for line in document["entries"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SerializationError(
            f"The stored folder has a manifest that cannot be read: {error}"
        ) from error
    seen: set[str] = set()
    for entry in entries:
        problem = path_problem(entry.path) or (entry.link and link_problem(entry.path, entry.link))
        if problem or entry.path in seen:
            raise _unsafe(entry.path, problem or "it is named twice")
        seen.add(entry.path)
    folders = {parent for entry in entries for parent in parents(entry.path)}
    if through := folders & seen:
        raise _unsafe(
            min(through), "another entry lies below it, though it is no folder with content"
        )
    return entries


def _parse_line(line: dict[str, Any]) -> Entry:
    entry = Entry(
        line["path"],
        line.get("part", ""),
        line.get("size", 0),
        line.get("executable", False),
        line.get("link", ""),
    )
    kinds = [
        type(value)
        for value in (entry.path, entry.part, entry.size, entry.is_executable, entry.link)
    ]
    is_folder = line.get("folder", False)
    if (
        kinds != [str, str, int, bool, str]
        or bool(entry.part) + bool(entry.link) + bool(is_folder) != 1
        or entry.size < 0
    ):
        raise ValueError(f"invalid entry {line!r:.200}")
    return entry


def parents(path: str) -> Iterator[str]:
    """Yield the folders above an entry, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _unsafe(path: str, problem: str) -> PayloadUnsafeError:
    return PayloadUnsafeError(
        f"The stored folder holds the entry {path!r}, which is refused: {problem}",
        hint="It was not written by flowblob; delete this version",
    )
