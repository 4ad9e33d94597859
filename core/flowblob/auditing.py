"""The records of all versions, read one by one: each can be read, and agrees with its payloads.

An engine keeps its own promises; what a disk, a hand in the tables or half of a backup has done to
the rows, it keeps as well. This look is the same on every engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flowblob.errors import CatalogUnavailableError
from flowblob.portable import Portable, payload_problem

if TYPE_CHECKING:
    from flowblob.abc import Catalog


def wrong_records(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Yield each version whose record is wrong, and how; in constant memory.

    Raises:
        CatalogUnavailableError: The catalog did not answer.
    """
    after = ""
    while True:
        try:
            page = catalog.scan("version", after=after)
        except CatalogUnavailableError as error:
            if error.retryable:
                raise
            yield "catalog", f"{error.message}; the records behind it were not looked at"
            return
        for record in page.records:
            if payload_problem(record) and (problem := _again(catalog, record)):
                yield f"{record['key']}@{record['version']}", problem
        if not (after := page.after):
            return


def _again(catalog: Catalog, record: Portable) -> str:
    """Look once more: it may have been dropped and collected while its page was read."""
    after = ""
    while True:
        page = catalog.scan("version", after=after, key=record["key"])
        for found in page.records:
            if found["id"] == record["id"]:
                return payload_problem(found)
        if not (after := page.after):
            return ""
