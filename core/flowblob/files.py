"""Files and folders as values: a task returns `File("report.pdf")` where it means the file itself.

A path stays a path: only these two types stand for content. They may stand anywhere inside a value,
and come back as the same type, over a verified private copy that bears the original name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True, slots=True, init=False)
class _Local(os.PathLike[str]):
    """A local path that stands for what is stored there."""

    path: Path

    def __init__(self, path: str | os.PathLike[str]) -> None:
        object.__setattr__(self, "path", Path(path))

    @property
    def name(self) -> str:
        """The name that goes with the content: the last part of the path."""
        return self.path.name or Path(os.path.abspath(self.path)).name

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.path,))


class File(_Local):
    """A file as a value.

    Attributes:
        path: Where it is on this machine; after a get, a verified private copy.

    Example:
        >>> File("data/report.csv").name
        'report.csv'
    """

    __slots__ = ()

    def open(self, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open the file; binary unless asked otherwise."""
        return self.path.open(mode, **options)

    def read_bytes(self) -> bytes:
        """Return the whole content."""
        return self.path.read_bytes()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole content as text."""
        return self.path.read_text(encoding=encoding)


class Dir(_Local):
    """A folder with everything in it as a value.

    Iterating gives the path of every file below, sorted; `folder / "name"` is the path of one.

    Attributes:
        path: Where it is on this machine; after a get, a verified private copy.

    Example:
        >>> Dir("data") / "report.csv"
        PosixPath('data/report.csv')
    """

    __slots__ = ()

    def __truediv__(self, name: str | os.PathLike[str]) -> Path:
        return self.path / name

    def __iter__(self) -> Iterator[Path]:
        found = [Path(folder, name) for folder, _, names in os.walk(self.path) for name in names]
        return iter(sorted(found))
