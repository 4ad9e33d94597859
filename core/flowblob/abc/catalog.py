"""The contract of what keeps records."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from flowblob.abc.entries import Entries
from flowblob.abc.versions import Versions
from flowblob.drafts import Part, Payload
from flowblob.model import EMPTY, Blob
from flowblob.portable import Kind, Page, Portable


class Catalog(Versions, Entries):
    """Metadata of one store, and the only place where races are decided.

    Every method is one atomic step unless it says otherwise, may be called from any thread and
    process, and raises CatalogUnavailableError when the database does not answer in time. All text
    is data, compared by its code points; text that no database can hold (a lone surrogate) is
    refused with InvalidInputError. A catalog pickles as a storage does.
    """

    #: Largest payload the catalog may hold inline, in bytes.
    inline_limit: ClassVar[int] = 1 << 28

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the records are, with every secret masked."""

    @property
    @abstractmethod
    def store_id(self) -> str:
        """Uuid of the store, made with it."""

    @property
    def is_shared(self) -> bool:
        """Whether somebody other than this user could have written a record.

        From a shared catalog no pickle is loaded unless its signature verifies. Asked again for
        each pickle as long as it says yes.
        """
        return True

    @abstractmethod
    def now(self) -> datetime:
        """Return the catalog's wall clock, aware UTC: ages are never judged by a client's."""

    # upkeep ---------------------------------------------------------

    @abstractmethod
    def condemned(self, *, grace: timedelta, limit: int, dry_run: bool = False) -> list[Payload]:
        """Condemn what has no reference or live pin, and is old; return all condemned.

        A dropped version refers to its payloads until its tombstone is older than `grace`; the
        payload that is condemned then is its own no longer.

        Args:
            grace: How long nothing may have used a payload, on the catalog's wall clock.
            limit: At most so many.
            dry_run: Change nothing; also return what would be condemned.
        """

    @abstractmethod
    def forget(self, generation: str) -> None:
        """Drop the row of a condemned payload whose bytes are gone."""

    @abstractmethod
    def generations(self, *, after: str = "", limit: int = 10_000) -> list[Payload]:
        """Return payload rows in order of generation, without inline bytes."""

    @abstractmethod
    def copies(self, digest: str) -> list[Payload]:
        """Return every physical copy of some bytes, inline bytes included, in any state."""

    @abstractmethod
    def users(self, generation: str, *, limit: int = 100) -> list[Blob]:
        """Return live versions that use a payload, newest first."""

    @abstractmethod
    def repoint(self, generation: str, to: str) -> int:
        """Have all versions that use a damaged payload use another copy of the same bytes.

        The first is `damaged` from now on, whether anything used it or not.

        Returns:
            How many references moved.

        Raises:
            ConflictError: The other copy is not `ok` any more, or not of the same bytes.
        """

    # moving to another store ----------------------------------------

    @abstractmethod
    def scan(
        self, kind: Kind, *, after: str = "", limit: int = 1000, prefix: str = "", key: str = ""
    ) -> Page:
        """Return portable records of one kind, dropped versions and ended keys included.

        Each record is of one moment, a page need not be; nothing that stood before the first page
        was asked for is left out.

        Args:
            kind: One of `flowblob.portable.KINDS`, where the records are described.
            after: What the page before ended with.
            limit: At most so many.
            prefix: Only what belongs to keys that begin so: with runs those that wrote, used or
                computed any of it; no lookups.
            key: As `prefix`, for exactly this key.
        """

    @abstractmethod
    def known(self, blob_ids: Sequence[str]) -> set[str]:
        """Return which of these versions stand here, dropped or not; a few hundred at a time."""

    @abstractmethod
    def absorb(
        self,
        kind: Kind,
        records: Sequence[Portable],
        *,
        parts: Mapping[str, Part] = EMPTY,
        op: str = "",
    ) -> int:
        """Take in portable records of one kind, in one transaction where there are any; idempotent.

        What stands here stays; records only add to it. What a record refers to stands here first:
        one that refers to a version, run or incarnation that does not is left out, for a later
        call. Ids, numbers, times and signatures are those of the record. After every call versions
        are dense, `head` is the last of them, and each live one has its payloads.

        Args:
            kind: What the records are; the kinds come in the order of `flowblob.portable.KINDS`.
            records: As `scan` returned them; at most a thousand.
            parts: For versions, where each payload went, by digest: a generation that `place` gave
                to `op` and that was written, or the inline bytes.
            op: Whose pins end with this call.

        Returns:
            How many records brought something new.

        Raises:
            ConflictError: A record contradicts one that stands here: its key lives another life,
                its number or id is another version's, or its key was deleted here and lives on
                there. Nothing of that record was taken in, and nothing after it.
            PlacementLost: A payload was condemned meanwhile: place it again.
        """

    # health ---------------------------------------------------------

    @abstractmethod
    def check(self) -> list[str]:
        """Return what is wrong with the catalog itself; empty when sound."""

    def migrate(self, *, dry_run: bool = False) -> list[str]:
        """Bring the records of an older flowblob up to date, or make the store where it is absent.

        Nothing happens in part, and of several who come at once one does it. The other verbs raise
        SchemaVersionError as long as a step is missing, unless the engine migrates by itself.

        Args:
            dry_run: Change nothing.

        Returns:
            The steps that ran, or that would run.
        """
        del dry_run
        return []

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what `doctor` shows: `engine`, `engine_version`, `store_id`, `counts` and more.

        `counts` has at least `payload`, the number of payload rows.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back connections; the catalog may be used again."""
