"""What the tests of every catalog share: the catalog, a second handle on it, and time."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from flowblob.abc import Catalog
from flowblob.model import Blob, Ref
from flowblob.testing.making import Make

#: What must not end while a test runs, however slow the machine is.
LONG = timedelta(hours=1)
#: What a test waits out. Nothing is asserted to happen *within* it.
SHORT = timedelta(milliseconds=50)
PAST_SHORT = 0.12
#: Longer than the coarsest clock of an engine takes to go on.
TICK = 0.005


class CatalogContract:
    """Base of the tests of catalogs: what an engine has to bring."""

    @pytest.fixture
    def catalog(self) -> Iterator[Catalog]:
        """Bring an empty catalog, and remove it after the test."""
        raise NotImplementedError("Override the fixture `catalog`: yield an empty catalog")

    def reopen(self, catalog: Catalog) -> Catalog:
        """Return another handle on the same records, as another process would open it.

        A catalog that cannot leave its process returns itself.
        """
        other: Catalog = pickle.loads(pickle.dumps(catalog))  # noqa: S301 - our own object
        return other

    def wait(self, seconds: float) -> None:
        """Let time pass on the catalog's clocks; an engine whose clock can be moved moves it."""
        time.sleep(seconds)

    @pytest.fixture
    def second(self, catalog: Catalog) -> Iterator[Catalog]:
        """A second handle on the catalog, closed after the test."""
        other = self.reopen(catalog)
        yield other
        if other is not catalog:
            other.close()

    @pytest.fixture
    def make(self) -> Make:
        """Maker of drafts."""
        return Make()

    @pytest.fixture
    def three(self, catalog: Catalog, make: Make) -> list[Blob]:
        """Three versions of `models/churn`: a, b, c."""
        return [catalog.commit(make.draft(data=data)).blob for data in (b"a", b"b", b"c")]


def found(catalog: Catalog, text: str) -> Blob:
    """Return the version that a reference means; there must be one."""
    record = catalog.find(Ref.parse(text))
    assert record is not None, text
    return record.blob


def is_absent(catalog: Catalog, text: str) -> bool:
    """Say whether a reference means nothing."""
    return catalog.find(Ref.parse(text)) is None


def numbers(catalog: Catalog, key: str = "models/churn") -> list[int]:
    """Return the numbers of the live versions of a key, newest first."""
    return [blob.version for blob in catalog.versions(key)]
