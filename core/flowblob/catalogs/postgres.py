"""The catalog in a PostgreSQL database, shared by all machines that reach it."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

from flowblob.catalogs import (
    migrations,
    postgres_errors,
    postgres_put,
    postgres_schema,
    postgres_url,
)
from flowblob.catalogs.postgres_pool import Link, Pool
from flowblob.catalogs.postgres_settling import Change, Tries
from flowblob.catalogs.sql import Connection, Dialect, Row, SqlCatalog
from flowblob.catalogs.sql.engine import is_repeatable
from flowblob.drafts import Commit, Draft
from flowblob.errors import CatalogUnavailableError
from flowblob.urls import mask

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

WAIT_SECONDS = 60.0


class PostgresCatalog(SqlCatalog):
    """Records in PostgreSQL 12 or newer, in a schema of their own.

    It works behind a transaction pooler: nothing is kept in a session, and nothing is prepared
    unless the URL asks with `?prepare=`. Writers of one key queue on transaction-level advisory
    locks, first come, first served. Opening is left to the first use.

    Args:
        url: `postgresql://user@host/database?schema=flowblob&pool=5`, and what libpq takes.
        wait: Seconds after which every wait ends with CatalogUnavailableError.
    """

    dialect: ClassVar[Dialect] = Dialect(
        name="postgresql",
        json_array="json_build_array({})::text",
        json_object="coalesce(json_object_agg(t.name, t.value::json)::text, '{}')",
        text_list="string_agg(a.name, '/')",
        share="FOR SHARE OF p",
        lock="FOR NO KEY UPDATE",
    )

    def __init__(self, url: str, *, wait: float = WAIT_SECONDS) -> None:
        self._target = postgres_url.parse(url)
        self._wait = wait
        self._store_id = ""
        self._pool = Pool(self._target)
        # Not a method of this object, or it would never be collected.
        self._end = weakref.finalize(self, self._pool.close)

    def __reduce__(self) -> tuple[object, ...]:
        return (PostgresCatalog, (self._target.url,))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        return mask(self._target.url)

    @property
    def store_id(self) -> str:
        self._open(self._tries().deadline)
        return self._store_id

    def close(self) -> None:
        self._pool.close()

    # the engine -----------------------------------------------------

    def _tries(self, deadline: float | None = None) -> Tries:
        if deadline is None:
            deadline = time.monotonic() + self._wait
        return Tries(self._target, self._wait, deadline)

    def _open(self, deadline: float) -> None:
        if self._store_id:
            return
        found = self._attempt(self._find_store, self._tries(deadline))
        if found is None:
            self._migrate(self._tries(deadline))
            found = self._attempt(self._find_store, self._tries(deadline))
        if found is None:
            raise CatalogUnavailableError(f"The store in {self.url} was dropped meanwhile")
        self._store_id = found

    def _find_store(self, link: Link) -> str | None:
        postgres_schema.check_server(link)
        return postgres_schema.find_store(link, self._target.schema, self.url)

    def _migrate(self, tries: Tries) -> list[int]:
        def step(link: Link) -> list[int]:
            postgres_schema.check_server(link)
            return list(postgres_schema.migrate(link, self._target.schema, self.url))

        # Repeated, it finds nothing left to do; what settles other changes may not stand yet.
        steps = self._change(step, tries, is_repeatable=True)
        if steps:
            logger.info("Migrated %s to schema %s", self.url, steps[-1])
        return steps

    def migrate(self, *, dry_run: bool = False) -> list[str]:
        if dry_run:
            schema = self._target.schema
            steps = self._attempt(
                lambda link: postgres_schema.missing_steps(link, schema, self.url),
                self._tries(),
            )
        else:
            steps = self._migrate(self._tries())
        return [migrations.name_of(postgres_schema.ENGINE, number) for number in steps]

    def commit(self, draft: Draft) -> Commit:
        tries = self._tries()
        self._open(tries.deadline)
        done = self._put(draft, tries) if postgres_put.is_plain(draft) else None
        if done is not None:
            return done
        return self._change(lambda link: self._commit(link, draft), tries, is_repeatable=True)

    def _put(self, draft: Draft, tries: Tries) -> Commit | None:
        """Try the short way, once; the longer one finds out by `op` what became of it."""
        schema = self._target.schema
        number = postgres_schema.lock_number(schema, draft.key)
        link = None
        try:
            with self._pool.lease(tries.deadline) as link:
                return postgres_put.put(link, draft, schema=schema, lock=number)
        except postgres_errors.REFUSALS as error:
            self._judge(error, tries, link)
            return None

    def _attempt(self, work: Callable[[Link], T], tries: Tries) -> T:
        """Do the work on a connection, again where that is harmless and may help."""
        while True:
            link = None
            try:
                with self._pool.lease(tries.deadline) as link:
                    return work(link)
            except postgres_errors.REFUSALS as error:
                self._judge(error, tries, link)
            except CatalogUnavailableError as error:  # no connection came free
                if tries.is_unsure:
                    raise postgres_errors.unsure(self._target, error) from error
                raise

    def _judge(self, error: Exception, tries: Tries, link: Link | None) -> None:
        """Return to try again, else raise what the error means."""
        if tries.judge(error, is_committing=link is not None and link.is_committing):
            self._pool.close()  # what was idle has lost the same server

    def _change(self, step: Callable[[Link], T], tries: Tries, *, is_repeatable: bool) -> T:
        return self._attempt(Change(step, tries, is_repeatable=is_repeatable).make, tries)

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return self._read(lambda connection: connection.execute(sql, parameters).fetchall())

    def _read(self, step: Callable[[Connection], T]) -> T:
        tries = self._tries()
        self._open(tries.deadline)
        return self._attempt(step, tries)

    def _write(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        tries = self._tries()
        self._open(tries.deadline)
        return self._change(
            lambda link: step(link, *args, **kwargs), tries, is_repeatable=is_repeatable(step)
        )

    def _write_relaxed(
        self, step: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        # Durable here: a lease outlives the server that a crash takes down, since its holder does.
        return self._write(step, *args, **kwargs)

    def _insert(self, connection: Connection, sql: str, parameters: Sequence[Any]) -> int:
        row = connection.execute(f"{sql} RETURNING seq", parameters).fetchone()
        return int(row[0])

    def _serialize(self, connection: Connection, *names: str) -> None:
        schema = self._target.schema
        numbers = {postgres_schema.lock_number(schema, name) for name in names if name}
        if numbers:
            _link(connection).lock(list(numbers))

    def _hold_payloads(self, connection: Connection, payloads: Sequence[int]) -> list[int]:
        # Skipped where a put holds the row: what is in use is no garbage, and two who wait for
        # each other would be.
        found = connection.execute(
            "SELECT seq FROM payload WHERE seq = ANY(?) ORDER BY seq FOR UPDATE SKIP LOCKED",
            (list(payloads),),
        ).fetchall()
        return [seq for (seq,) in found]

    def _now(self, connection: Connection) -> int:
        return _link(connection).clock()

    def _ticks(self, connection: Connection) -> tuple[str, int]:
        # A server has no clock that nobody sets; its wall clock is one for all clients at least.
        return "server", _link(connection).clock()

    # upkeep ---------------------------------------------------------

    def _check_engine(self) -> list[str]:
        found = self._query(
            """SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
            WHERE c.relnamespace = to_regnamespace(?) AND NOT x.indisvalid""",
            (self._target.schema,),
        )
        return [f"the index {name} is not valid" for (name,) in found]

    def facts(self) -> dict[str, Any]:
        [(version, schema, size, commit, fsync)] = self._query(
            """SELECT current_setting('server_version'), (SELECT max(number) FROM migration),
            (SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
                WHERE relnamespace = to_regnamespace(?) AND relkind = 'r'),
            current_setting('synchronous_commit'), current_setting('fsync')""",
            (self._target.schema,),
        )
        return {
            "engine": "postgresql",
            "engine_version": version,
            "schema": schema,
            "database_schema": self._target.schema,
            "store_id": self.store_id,
            "counts": self._counts(),
            "size": size,
            "synchronous_commit": commit,
            "fsync": fsync,
        }


def _link(connection: Connection) -> Link:
    assert isinstance(connection, Link)
    return connection
