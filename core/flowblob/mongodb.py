"""One MongoDB database as this process reaches it; the catalog and GridFS share it.

Every command is bounded in time, and errors of the driver become ours here. After a lost reply a
command is sent again. So each is written such that sending it twice does what sending it once
does, and that the documents say what the first sending did: by their state, or by `update_once`.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from flowblob.errors import (
    AuthError,
    FlowblobError,
    InvalidInputError,
    MissingDependencyError,
    UnavailableError,
)
from flowblob.urls import mask

try:
    import bson
    import bson.errors
    import pymongo
    import pymongo.errors
    import pymongo.uri_parser
except ImportError as error:
    raise MissingDependencyError(
        f"A store on MongoDB needs pymongo: {error}", hint="pip install 'flowblob[mongo]'"
    ) from error

T = TypeVar("T")
Document = dict[str, Any]
Filter = Mapping[str, Any]

#: How long one command may take at most, with looking for a server and all its repetitions; a URL
#: may say less. A put that fails sends one more, to drop its pins: together they take no minute.
WAIT = timedelta(seconds=20)

_PAUSE = 0.05
#: How many of its last changes by `update_once` a document knows.
_KNOWN = 16
#: Changes in one command, which must end in its time with inline payloads as well.
_BATCH = 200
#: Unauthorized, AuthenticationFailed, and what Atlas answers in their place.
_DENIED = frozenset({13, 18, 8000})
#: BSONObjectTooLarge, and an update that would make it so.
_TOO_LARGE = frozenset({10334, 17419, 17420})


class Taken(Exception):  # a step of a protocol, never seen by callers
    """A unique index has this value already; `is_resent` if an earlier sending may have put it."""

    def __init__(self, *, is_resent: bool) -> None:
        super().__init__()
        self.is_resent = is_resent


class Database:
    """A database, with one client for each process that uses it.

    Args:
        url: `mongodb://` or `mongodb+srv://`, with the name of a database.
        unavailable: Raised when the server does not answer.

    Raises:
        InvalidInputError: The URL names no database, or says something that cannot be.
    """

    def __init__(self, url: str, *, unavailable: type[UnavailableError]) -> None:
        self.url = url
        self.name = _name_of(url)
        self._unavailable = unavailable
        self._clients: dict[int, Any] = {}
        # Not a method of this object, or it would never be collected.
        weakref.finalize(self, _close, self._clients)
        self._check()

    @property
    def masked(self) -> str:
        """The URL with every secret masked."""
        return mask(self.url)

    def table(self, name: str) -> Table:
        """Return a collection by its name."""
        return Table(self, name)

    def run(self, command: Callable[[Any], T]) -> T:
        """Run a command on the database, again after a lost connection.

        Raises:
            Taken: A unique index refused it.
            UnavailableError: No answer in time.
            AuthError: Not allowed.
        """
        wait = min(WAIT.total_seconds(), self._answer)
        end = time.monotonic() + wait
        is_resent = False
        with pymongo.timeout(wait):
            while True:
                try:
                    return command(self._database())
                except pymongo.errors.DuplicateKeyError as error:
                    raise Taken(is_resent=is_resent) from error
                except (pymongo.errors.PyMongoError, bson.errors.BSONError) as error:
                    if not _is_lost(error) or time.monotonic() > end:
                        raise self._translated(error) from error
                    is_resent = True
                except (OverflowError, UnicodeEncodeError) as error:
                    raise InvalidInputError(f"MongoDB cannot keep this value: {error}") from error
                time.sleep(_PAUSE)

    def close(self) -> None:
        """Close this process's connections; the next command opens others."""
        client = self._clients.pop(os.getpid(), None)
        if client is not None:
            client.close()

    def _database(self) -> Any:
        # A client does not survive a fork: the child makes its own, and never closes the parent's.
        client = self._clients.get(os.getpid())
        if client is None:
            made = self._make()
            client = self._clients.setdefault(os.getpid(), made)
            if client is not made:
                made.close()
        if self._search < WAIT.total_seconds():
            # The limit of a command takes the place of the URL's own for finding a server.
            with pymongo.timeout(self._search):
                _ = client.is_primary  # which waits for a server, and asks none that is known
        return client[self.name]

    def _check(self) -> None:
        """Refuse options that the driver would only warn of, and read how long the URL waits."""
        try:
            if options := urlsplit(self.url).query:
                pymongo.uri_parser.split_options(options, warn=False)
        except (pymongo.errors.PyMongoError, ValueError, TypeError) as error:
            raise InvalidInputError(f"{self.masked!r} is no URL of MongoDB: {error}") from error
        made = self._make()  # which has connected to nothing: it reads the rest
        made.close()
        options = made.options
        # None and 0 mean no limit; but 0 for finding a server means that none is waited for.
        self._answer = min(
            options.timeout or math.inf, options.pool_options.socket_timeout or math.inf
        )
        self._search = max(options.server_selection_timeout, 0.001)

    def _make(self) -> Any:
        try:
            return pymongo.MongoClient(
                self.url,
                connect=False,
                appname="flowblob",
                tz_aware=True,
                retryWrites=False,  # a standalone server has no sessions; `run` repeats instead
                w="majority",
                journal=True,
                readConcernLevel="majority",
                readPreference="primary",
            )
        except (pymongo.errors.PyMongoError, ValueError, TypeError) as error:
            raise InvalidInputError(f"{self.masked!r} is no URL of MongoDB: {error}") from error

    def _translated(self, error: Exception) -> FlowblobError:
        code = getattr(error, "code", None)
        if isinstance(error, pymongo.errors.DocumentTooLarge) or code in _TOO_LARGE:
            return InvalidInputError(
                "A record would exceed the 16 MB that a document of MongoDB may have",
                hint="Give less metadata or fewer parts; leave inline out",
            )
        if isinstance(error, bson.errors.BSONError):
            return InvalidInputError(f"MongoDB cannot keep this value: {error}")
        if isinstance(error, pymongo.errors.ConfigurationError):
            return InvalidInputError(f"{self.masked!r} cannot be used: {error}")
        if code in _DENIED:
            return AuthError(
                f"{self.masked} refuses this user: {error}", hint="Check user, password and roles"
            )
        lost = isinstance(error, pymongo.errors.ConnectionFailure) or _is_timeout(error)
        hint = "Check that the server runs and can be reached"
        return self._unavailable(
            f"{self.masked} {'does not answer' if lost else 'failed'}: {_short(error)}",
            hint=f"{hint}; what was being changed may be done or not" if lost else hint,
            retryable=lost,
        )


class Table:
    """A collection, in the few ways that the protocols use one."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    def run(self, command: Callable[[Any], T]) -> T:
        """Run a command on the driver's collection."""
        return self._database.run(lambda db: command(db[self._name]))

    def one(
        self,
        where: Filter,
        fields: Any = None,
        *,
        sort: Sequence[tuple[str, int]] | None = None,
    ) -> Document | None:
        """Return the first document that matches."""
        return self.run(lambda found: _document(found.find_one(where, fields, sort=sort)))

    def many(
        self,
        where: Filter,
        fields: Any = None,
        *,
        sort: Sequence[tuple[str, int]] | None = None,
        limit: int | None = None,
    ) -> list[Document]:
        """Return the documents that match."""
        if limit is not None and limit <= 0:
            return []
        size = 0 if limit is None or limit >= 1 << 31 else limit
        return self.run(lambda found: list(found.find(where, fields, sort=sort, limit=size)))

    def insert(self, document: Document) -> None:
        """Insert a document.

        Raises:
            Taken: Its `_id` stands, perhaps from this very call, or another unique value.
        """
        self.run(lambda found: found.insert_one(document))

    def insert_absent(self, document: Document) -> bool:
        """Insert a document unless its `_id` stands; says whether this call did so.

        By its `order`, where it has one, it is told from others of the same `_id`.
        """
        try:
            self.insert(document)
        except Taken as taken:
            mine: Document = {n: document[n] for n in ("_id", "order") if n in document}
            return taken.is_resent and len(mine) == 2 and self.one(mine, {"_id": 1}) is not None
        return True

    def update(self, where: Filter, change: Filter) -> bool:
        """Change one document; says whether the filter still matched it.

        After a lost reply that is the answer to the second sending.

        Raises:
            Taken: The change would repeat a unique value.
        """
        return self.run(lambda found: bool(found.update_one(where, change).matched_count))

    def update_once(self, where: Filter, change: Filter, *, upsert: bool = False) -> bool:
        """Change one document, named by `_id` or `id`, once; says whether the filter matched it.

        The document keeps by whom it was changed last. So a second sending finds what the first
        one did, and undoes nothing of what others have done since.

        Args:
            where: What it must be like.
            change: What becomes of it.
            upsert: Make it where it is absent.
        """
        op = secrets.token_hex(8)
        asked = {**where, "ops": {"$ne": op}}
        mine = {name: where[name] for name in ("_id", "id") if name in where} | {"ops": op}
        pushed = {**change.get("$push", {}), "ops": {"$each": [op], "$slice": -_KNOWN}}
        change = {**change, "$push": pushed}
        while True:
            try:
                if self.run(lambda found: _is_done(found.update_one(asked, change, upsert=upsert))):
                    return True
            except Taken:  # it stands: made by the first sending, or by somebody else just now
                pass
            if self.one(mine, {"_id": 1}) is not None:
                return True
            if not upsert:
                return False

    def put(self, where: Filter, change: Filter) -> None:
        """Change one document, made first where it is absent."""
        self.run(lambda found: found.update_one(where, change, upsert=True))

    def put_all(self, changes: Sequence[tuple[Filter, Filter]]) -> None:
        """As `put`, for many documents in a few commands."""
        for batch in _batches(changes):
            operations = [pymongo.UpdateOne(w, c, upsert=True) for w, c in batch]
            self.run(partial(_bulk_write, operations))

    def update_each(self, changes: Sequence[tuple[Filter, Filter]]) -> bool:
        """As `update`, for many documents in a few commands; says whether all filters matched."""
        matched = 0
        for batch in _batches(changes):
            operations = [pymongo.UpdateOne(w, c) for w, c in batch]
            matched += self.run(partial(_bulk_write, operations))
        return matched == len(changes)

    def update_all(self, where: Filter, change: Filter) -> int:
        """Change every document that matches, each by itself; returns how many changed."""
        return self.run(lambda found: int(found.update_many(where, change).modified_count))

    def delete(self, where: Filter) -> bool:
        """Remove one document; says whether there was one."""
        return self.run(lambda found: bool(found.delete_one(where).deleted_count))

    def delete_all(self, where: Filter) -> int:
        """Remove every document that matches, each by itself."""
        return self.run(lambda found: int(found.delete_many(where).deleted_count))

    def index(self, wanted: Sequence[tuple[Sequence[tuple[str, int]], Mapping[str, bool]]]) -> None:
        """Make indexes that do not stand yet: for each the fields, and what more it is."""
        models = [pymongo.IndexModel(fields, **options) for fields, options in wanted]
        self.run(lambda found: found.create_indexes(models))

    def count(self) -> int:
        """Return how many documents there are, by the server's own books."""
        return self.run(lambda found: int(found.estimated_document_count()))

    def matching(self, where: Filter) -> int:
        """Return how many documents match."""
        return self.run(lambda found: int(found.count_documents(where)))

    def aggregate(self, pipeline: Sequence[Filter]) -> list[Document]:
        """Return the results of an aggregation."""
        return self.run(lambda found: list(found.aggregate(pipeline)))


def _batches(changes: Sequence[tuple[Filter, Filter]]) -> Iterator[Sequence[Any]]:
    return (changes[start : start + _BATCH] for start in range(0, len(changes), _BATCH))


def _bulk_write(operations: list[Any], found: Any) -> int:
    return int(found.bulk_write(operations, ordered=False).matched_count)


def _is_done(done: Any) -> bool:
    return bool(done.matched_count or done.upserted_id is not None)


def _document(found: Any) -> Document | None:
    return None if found is None else dict(found)


def next_order() -> Any:
    """Return what sorts after all that this process has made, to tell equal milliseconds apart."""
    return bson.ObjectId()


def order_from(text: str) -> Any:
    """Return what `str` made text of."""
    return bson.ObjectId(text)


def _name_of(url: str) -> str:
    name = unquote(urlsplit(url).path.strip("/"))
    if not name:
        raise InvalidInputError(
            f"{mask(url)!r} names no database", hint="Write mongodb://host:27017/DATABASE"
        )
    if re.search(r'[/\\. "$*<>:|?\x00]', name):
        raise InvalidInputError(f"{name!r} is no name of a database")
    return name


def _is_lost(error: Exception) -> bool:
    """Say whether the connection went, so that nobody knows what the server did."""
    if isinstance(error, pymongo.errors.ServerSelectionTimeoutError):
        return False  # which has waited long enough already
    closed = isinstance(error, pymongo.errors.InvalidOperation) and "close" in str(error)
    return closed or isinstance(error, pymongo.errors.AutoReconnect)


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, pymongo.errors.PyMongoError) and error.timeout


def _short(error: Exception) -> str:
    # The driver appends its picture of all servers.
    return str(error).partition(", Timeout:")[0].partition(", full error:")[0]


def _close(clients: dict[int, Any]) -> None:
    client = clients.pop(os.getpid(), None)
    if client is not None:
        client.close()


__all__ = ["WAIT", "Database", "Document", "Filter", "Table", "Taken", "next_order", "order_from"]
