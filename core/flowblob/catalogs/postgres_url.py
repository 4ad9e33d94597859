"""What a PostgreSQL URL says: flowblob's own parameters, and all that libpq takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowblob.catalogs.postgres_driver import psycopg
from flowblob.errors import InvalidInputError
from flowblob.urls import mask, split_query

SCHEMA = "flowblob"
POOL = 5

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_OWN = ("schema", "pool", "prepare")
_SECRETS = ("password", "sslpassword", "passfile", "oauth_client_secret")

#: A dead peer is noticed within half a minute, and nothing waits for ever to connect.
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "fallback_application_name": "flowblob",
    "client_encoding": "utf8",
}


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """Where a catalog is, and how to reach it.

    Attributes:
        url: The URL as it was given.
        schema: Schema of the tables.
        pool: Connections that one process opens at most.
        prepare: After how many uses a statement is prepared; None for never, which is what a
            transaction pooler needs.
        parameters: What libpq is given.
    """

    url: str
    schema: str
    pool: int
    prepare: int | None
    parameters: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Target({mask(self.url)!r})"

    def without_secrets(self, text: str) -> str:
        """Return a message with every secret of this URL replaced."""
        for name in _SECRETS:
            if secret := str(self.parameters.get(name) or ""):
                text = text.replace(secret, "***")
        return text


def parse(url: str) -> Target:
    """Read a URL.

    Raises:
        InvalidInputError: It says something that cannot be.
    """
    dsn, own = split_query(url, _OWN, ())
    try:
        parameters = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        # libpq's message may repeat any part of the URL, so it is neither told nor chained.
        parameters = {}
    if not parameters:
        raise InvalidInputError(
            f"libpq cannot read {mask(url)!r}",
            hint="Write postgresql://user@host/database?schema=flowblob; a password's @ : / ? # % "
            "are written as %40 %3A %2F %3F %23 %25",
        )
    schema = own.get("schema", SCHEMA)
    if not _SCHEMA.match(schema) or schema.startswith("pg_") or schema == "information_schema":
        raise InvalidInputError(
            f"Invalid schema {schema!r} in {mask(url)!r}",
            hint="At most 63 lower-case letters, digits and _, not beginning with a digit or pg_",
        )
    return Target(
        url,
        schema,
        _number(own, "pool", POOL, url) or POOL,
        _number(own, "prepare", None, url),
        _DEFAULTS | parameters,
    )


def _number(own: Mapping[str, str], name: str, default: int | None, url: str) -> int | None:
    text = own.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 6) or (
        name == "pool" and not int(text)
    ):
        raise InvalidInputError(
            f"Invalid {name} {text!r} in {mask(url)!r}", hint=f"Write a number, as in {name}=5"
        )
    return int(text)
