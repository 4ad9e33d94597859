"""The driver, or what to do where it is missing."""

from __future__ import annotations

from flowblob.errors import MissingDependencyError

try:
    import psycopg
    import psycopg.conninfo
except ImportError as error:  # also where libpq is missing
    raise MissingDependencyError(
        f"A store on PostgreSQL needs psycopg: {error}", hint="pip install 'flowblob[postgres]'"
    ) from error

__all__ = ["psycopg"]
