"""The catalog on MongoDB, without transactions: see `docs/design/0006-mongodb.md`."""

from __future__ import annotations

from typing import ClassVar

from flowblob.catalogs.mongo.absorbing import Absorbing
from flowblob.catalogs.mongo.checking import Checking
from flowblob.catalogs.mongo.healing import Healing
from flowblob.catalogs.mongo.reservations import Reservations
from flowblob.catalogs.mongo.reviving import Reviving
from flowblob.catalogs.mongo.schema import Tables
from flowblob.errors import CatalogUnavailableError
from flowblob.mongodb import Database


class MongoCatalog(Absorbing, Reservations, Reviving, Healing, Checking):
    """A catalog in one database of a MongoDB server, standalone or replica set.

    Any number of processes on any number of machines may use it. Nothing is read or written before
    the first use.

    Args:
        url: `mongodb://` or `mongodb+srv://`, with the name of a database; the driver's own
            parameters pass through.
    """

    #: A document holds at most 16 MB; the rest of the payload's record is small.
    inline_limit: ClassVar[int] = 8 << 20

    def __init__(self, url: str) -> None:
        self._database = Database(url, unavailable=CatalogUnavailableError)
        self._known_tables = Tables.of(self._database)
        self._store_id = ""

    def __reduce__(self) -> tuple[object, ...]:
        return (MongoCatalog, (self._database.url,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        return self._database.masked

    @property
    def store_id(self) -> str:
        self._opened  # noqa: B018 - which opens the store
        return self._store_id

    def close(self) -> None:
        self._database.close()


__all__ = ["MongoCatalog"]
