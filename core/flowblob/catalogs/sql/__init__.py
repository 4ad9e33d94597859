"""The statements of every SQL catalog, split by what they are about.

Text is portable: `?` stands for a value, and what engines spell differently is in `Dialect`.
"""

from __future__ import annotations

from flowblob.catalogs.sql.absorbing import Absorbing
from flowblob.catalogs.sql.accounting import Accounting
from flowblob.catalogs.sql.engine import Connection, Dialect, Row
from flowblob.catalogs.sql.healing import Healing
from flowblob.catalogs.sql.reservations import Reservations
from flowblob.catalogs.sql.reviving import Reviving
from flowblob.catalogs.sql.scanning import Scanning
from flowblob.catalogs.sql.upkeep import Upkeep


class SqlCatalog(Reservations, Absorbing, Reviving, Upkeep, Accounting, Scanning, Healing):
    """All of a catalog but the engine."""


__all__ = ["Connection", "Dialect", "Row", "SqlCatalog"]
