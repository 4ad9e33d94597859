"""The schema of one store in PostgreSQL: finding, making and migrating it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from flowblob.catalogs import migrations
from flowblob.catalogs.postgres_driver import psycopg
from flowblob.catalogs.postgres_errors import is_absent
from flowblob.catalogs.postgres_pool import Link
from flowblob.checks import new_id
from flowblob.errors import (
    CatalogUnavailableError,
    InvalidInputError,
    NotSupportedError,
    SchemaVersionError,
)

ENGINE = "postgres"
_OLDEST = 12


def lock_number(schema: str, name: str) -> int:
    """Return the number under which the stores of this schema queue for a name.

    Advisory locks are shared by everybody in the database, hence the schema. Two names that meet
    in one number only wait for each other.
    """
    text = f"flowblob\0{schema}\0{name}".encode(errors="surrogatepass")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def check_server(link: Link) -> None:
    """Refuse a server that cannot hold a store.

    Raises:
        NotSupportedError: It is too old, or its database has another encoding than UTF-8.
    """
    info = link.driver.info
    if info.server_version < _OLDEST * 10_000:
        raise NotSupportedError(
            f"PostgreSQL {info.server_version // 10_000} is too old",
            hint=f"Use PostgreSQL {_OLDEST} or newer",
        )
    encoding = info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        raise NotSupportedError(
            f"The database is encoded in {encoding}", hint="Create one with ENCODING 'UTF8'"
        )


def find_store(link: Link, schema: str, where: str) -> str | None:
    """Return the store's id, None where the schema has no store.

    Raises:
        SchemaVersionError: The code and the tables do not belong together.
    """
    try:
        found = link.fetch(
            f'SELECT s.id, (SELECT max(m.number) FROM "{schema}".migration m) '
            f'FROM "{schema}".store s'
        )
    except psycopg.Error as error:
        if is_absent(error):
            return None
        raise
    if not found:
        raise CatalogUnavailableError(
            f"{where} has lost the id of its store in the schema {schema!r}",
            hint="Restore the catalog from a backup",
            retryable=False,
        )
    [(store_id, number)] = found
    if lacking := migrations.pending(ENGINE, number, where):
        raise SchemaVersionError(
            f"{where} has schema {number}, this flowblob needs {lacking[-1]}",
            hint="Run 'flowblob migrate' once everybody who uses the store is upgraded",
        )
    return str(store_id)


def missing_steps(link: Link, schema: str, where: str) -> list[int]:
    """Return the migrations that have not run."""
    [(found,)] = link.fetch("SELECT to_regclass($1)::text", [f'"{schema}".migration'])
    if found is None:
        _refuse_foreign(link, schema, where)
        return migrations.pending(ENGINE, 0, where)
    [(number,)] = link.fetch(f'SELECT max(number) FROM "{schema}".migration')
    return migrations.pending(ENGINE, number, where)


def _refuse_foreign(link: Link, schema: str, where: str) -> None:
    [(tables,)] = link.fetch(
        "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace($1)", [f'"{schema}"']
    )
    if tables:
        raise InvalidInputError(
            f"The schema {schema!r} of {where} holds tables of another program",
            hint="Choose another one with ?schema=",
        )


def migrate(link: Link, schema: str, where: str) -> Sequence[int]:
    """Run the migrations that are missing, inside the transaction of the caller.

    Whoever comes meanwhile waits here, and then finds nothing left to do.
    """
    link.lock([lock_number(schema, "migrate")])
    steps = missing_steps(link, schema, where)
    if not steps:
        return steps
    # CREATE ... IF NOT EXISTS would ask for the right to create even where there is nothing to.
    if link.fetch("SELECT to_regnamespace($1)::text", [f'"{schema}"'])[0][0] is None:
        link.run(f'CREATE SCHEMA "{schema}"')
    link.run(f'SET LOCAL search_path = "{schema}"')
    for number in steps:
        link.run(migrations.text_of(ENGINE, number))
        link.fetch("INSERT INTO migration VALUES ($1, $2) RETURNING number", [number, link.clock()])
    if steps[0] == 1:
        values = [new_id(), link.clock()]
        link.fetch("INSERT INTO store VALUES (1, $1, $2) RETURNING one", values)
    return steps
