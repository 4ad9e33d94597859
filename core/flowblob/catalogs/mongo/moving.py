"""Taking records over from another store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flowblob.catalogs.mongo.lineage import Lineage
from flowblob.drafts import Part
from flowblob.errors import NotSupportedError
from flowblob.model import EMPTY
from flowblob.portable import Kind, Page, Portable


class Moving(Lineage):
    """Portable records."""

    def known(self, blob_ids: Sequence[str]) -> set[str]:
        return self._known(blob_ids)

    def scan(
        self, kind: Kind, *, after: str = "", limit: int = 1000, prefix: str = "", key: str = ""
    ) -> Page:
        raise NotSupportedError("A store on MongoDB cannot be copied")

    def absorb(
        self,
        kind: Kind,
        records: Sequence[Portable],
        *,
        parts: Mapping[str, Part] = EMPTY,
        op: str = "",
    ) -> int:
        raise NotSupportedError("A store on MongoDB cannot take records")
