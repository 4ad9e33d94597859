"""What the driver's errors mean, and which of them another try may cure."""

from __future__ import annotations

import re

from flowblob.catalogs.postgres_driver import psycopg
from flowblob.catalogs.postgres_url import Target
from flowblob.errors import (
    AuthError,
    CatalogUnavailableError,
    ConflictError,
    FlowblobError,
    InvalidInputError,
)
from flowblob.urls import mask


class LateError(Exception):
    """The server did not answer before the operation's deadline."""


#: What this module translates.
REFUSALS = (psycopg.Error, LateError, UnicodeError, OverflowError)

# Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_COLLISIONS = ("40001", "40P01", "23505")
_ENDED = ("57P01", "57P02", "57P03", "57P05", "25P03")
_BUSY = ("55P03", "57014")
#: libpq gives no code for what goes wrong while connecting.
_TOLD = {
    "28P01": r"password authentication failed|no password supplied|no pg_hba\.conf entry",
    "28000": r'role ".*" (does not exist|is not permitted to log in)',
    "3D000": r'database ".*" does not exist',
    "53300": "too many connections|too many clients|remaining connection slots"
    "|no more connections allowed",
}
_STARTING = ("is starting up", "is in recovery mode", "is not yet accepting connections")
_DENIED = ("28000", "28P01", "42501")
_ABSENT = ("42P01", "3F000")
#: Too long for an index, or of a type that no column has.
_MISTYPED = ("54000", "42804", "42883")

#: Without a code they come from the driver: NUL, a lone surrogate, a type it does not know.
_UNFIT = (psycopg.DataError, psycopg.ProgrammingError, UnicodeError, OverflowError)

_HINTS = {
    "25006": "This server is a standby or read-only: name the primary in the URL, "
    "or add target_session_attrs=read-write",
    "53100": "Free space on the server's disk",
    "53200": "The server lacks memory or locks; try again, or raise max_locks_per_transaction",
    "53300": "Too many connections: lower ?pool=, or put a pooler before the server",
    "3D000": "Create the database first: createdb NAME",
}
_LASTING = ("25006", "3D000", "XX001", "XX002", *_ABSENT)


def is_collision(error: Exception) -> bool:
    """Whether another transaction was quicker, so that the same step may succeed now."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _COLLISIONS


def is_lost(error: Exception) -> bool:
    """Whether the connection ended, so that a fresh one may do."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return False
    code = error.sqlstate or ""
    return not code or code.startswith("08") or code in _ENDED


def is_passing(error: Exception) -> bool:
    """Whether the server had no room for one more connection, or was not ready for any."""
    return isinstance(error, psycopg.OperationalError) and (
        _code(error) == "53300" or any(words in str(error) for words in _STARTING)
    )


def _code(error: Exception) -> str:
    """Return the error's code, or that of what was told instead of one; empty if there is none."""
    if code := getattr(error, "sqlstate", None):
        return str(code)
    return next((code for code, words in _TOLD.items() if re.search(words, str(error))), "")


def is_absent(error: Exception) -> bool:
    """Whether the tables are not there."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _ABSENT


def translate(error: Exception, target: Target, wait: float) -> FlowblobError:
    """Return the error of ours that says what a driver's error means here."""
    where = mask(target.url)
    if isinstance(error, psycopg.OperationalError):
        # A failed connection rides on the error, its password readable; ours is raised from it.
        error._pgconn = None
    if isinstance(error, LateError):
        return CatalogUnavailableError(
            f"{where} did not answer within {wait:g} s", hint="Look at the server, then try again"
        )
    code = _code(error)
    text = _text(error, target)
    if code in _BUSY:
        return CatalogUnavailableError(
            f"Others have held {where} for {wait:g} s",
            hint="Look for a stuck transaction in pg_stat_activity, then try again",
        )
    if code in _DENIED:
        return AuthError(
            f"{where} refuses this user: {text}",
            hint="Check user, password and the rights on the schema (how-to: PostgreSQL)",
        )
    if code in _MISTYPED or code.startswith("22") or _is_of_the_value(error, code):
        return InvalidInputError(f"The catalog cannot hold this value: {text}")
    if code.startswith("23"):
        return ConflictError(f"{where} refused a record: {text}", hint="Try again")
    hint = "Another program dropped the store's tables" if code in _ABSENT else ""
    return CatalogUnavailableError(
        f"{where}: {text}",
        hint=_HINTS.get(code) or hint or "Check that the server runs and can be reached",
        retryable=code not in _LASTING and not code.startswith("42"),
    )


def _text(error: Exception, target: Target) -> str:
    told = error.diag.message_primary if isinstance(error, psycopg.Error) else ""
    return " ".join(target.without_secrets(told or str(error)).split()) or "no answer"


def _is_of_the_value(error: Exception, code: str) -> bool:
    return not code and isinstance(error, _UNFIT)


def unsure(target: Target, error: Exception) -> CatalogUnavailableError:
    """Return the error of a change whose commit got no answer, and that cannot be asked about."""
    return CatalogUnavailableError(
        f"{mask(target.url)} was lost while it committed, so the change may be done or not: "
        f"{_text(error, target)}",
        hint="Look whether it was done before you repeat it",
        retryable=False,
    )
