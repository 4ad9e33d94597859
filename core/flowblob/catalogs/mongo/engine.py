"""What every part of the catalog needs: the collections, the server's clock, fresh stamps."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from flowblob.abc import Catalog
from flowblob.catalogs.mongo.documents import to_moment
from flowblob.catalogs.mongo.schema import Tables, open_store
from flowblob.mongodb import Database

T = TypeVar("T")

_CHUNK = 1000


class MongoEngine(Catalog):
    """Base of the mixins; opening is left to the first use."""

    _database: Database
    _known_tables: Tables
    _store_id: str

    @property
    def _opened(self) -> Database:
        if not self._store_id:
            # Two threads may both do this; it is idempotent, and a lock would not survive a fork.
            self._store_id = open_store(self._database)
        return self._database

    @property
    def _tables(self) -> Tables:
        if not self._store_id:
            self._opened  # noqa: B018 - which opens the store
        return self._known_tables

    def _now(self) -> datetime:
        """Return the server's time, in whole milliseconds."""
        found = self._tables.store.aggregate([{"$limit": 1}, {"$project": {"now": "$$NOW"}}])
        return to_moment(found[0]["now"])

    def now(self) -> datetime:
        return self._now()

    @staticmethod
    def _stamp() -> int:
        # Random, so that what was changed and changed back never shows an old stamp again.
        return secrets.randbits(62) or 1


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the values in lists that fit a filter."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
