"""Numbered migrations of the SQL catalogs: which there are, and what they say.

`schema/<engine>-<number>.sql`, 0001 first, without a gap. What has been released is never edited:
a change of the schema is a file with the next number, for every engine.
"""

from __future__ import annotations

import re
from pathlib import Path

from flowblob.errors import SchemaVersionError

#: Where the files are; tests put others beside the released ones. Not by `importlib.resources`:
#: what that imports takes a tenth of the time in which a process gets its first hit.
folder = Path(__file__).with_name("schema")

_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)


def name_of(engine: str, number: int) -> str:
    """Return the name of a step, such as `sqlite-0001`."""
    return f"{engine}-{number:04}"


def latest(engine: str) -> int:
    """Return the number of the schema that this code reads and writes."""
    names = {file.name for file in folder.iterdir()}
    number = 0
    while f"{name_of(engine, number + 1)}.sql" in names:
        number += 1
    return number


def text_of(engine: str, number: int) -> str:
    """Return the statements of one step."""
    return (folder / f"{name_of(engine, number)}.sql").read_text(encoding="utf-8")


def pending(engine: str, number: int, where: object) -> list[int]:
    """Return the steps that a store with this schema lacks.

    Raises:
        SchemaVersionError: Newer code made it.
    """
    newest = latest(engine)
    if number > newest:
        raise SchemaVersionError(
            f"{where} has schema {number}, this flowblob knows {newest}",
            hint="Upgrade flowblob to the version that wrote the store",
        )
    return list(range(number + 1, newest + 1))


def tables(engine: str) -> list[str]:
    """Return the names of all tables that the steps create."""
    text = "".join(text_of(engine, number + 1) for number in range(latest(engine)))
    return _TABLE.findall(text)
