"""CatalogTests: every rule of the contract of catalogs."""

from __future__ import annotations

from flowblob.testing.caching import EntryTests
from flowblob.testing.keeping import KeepingTests
from flowblob.testing.leases import ReservationTests
from flowblob.testing.linking import LineageTests
from flowblob.testing.moving import MovingTests
from flowblob.testing.naming import NameTests
from flowblob.testing.payloads import PayloadTests
from flowblob.testing.rough import RoughTests
from flowblob.testing.versions import VersionTests


class CatalogTests(
    VersionTests,
    NameTests,
    PayloadTests,
    KeepingTests,
    EntryTests,
    ReservationTests,
    LineageTests,
    MovingTests,
    RoughTests,
):
    """Tests that every catalog must pass.

    A subclass brings the fixture `catalog` (an empty catalog, removed after the test), and
    overrides `reopen` if the catalog does not pickle.
    """
