"""The collections and their indexes, and how a store is made and opened.

No partial, text or TTL index: servers that only speak the protocol ignore them or fail. A pending
step carries its op where its number will be, so that a plain unique index can be decisive.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from flowblob.checks import new_id
from flowblob.errors import NotSupportedError, SchemaVersionError
from flowblob.mongodb import Database, Document, Table

#: Raised with every change that older code could not read.
FORMAT = 1

_STORE = "store"

#: Collection, fields, what more the index is.
_INDEXES: tuple[tuple[str, tuple[str, ...], dict[str, bool]], ...] = (
    ("steps", ("incarnation", "step"), {"unique": True}),
    ("steps", ("id",), {"unique": True}),
    ("steps", ("incarnation", "version"), {}),
    ("steps", ("key", "version"), {}),
    ("steps", ("digest",), {}),
    ("steps", ("payloads.gen",), {}),
    ("steps", ("parents.id",), {}),
    ("steps", ("run",), {}),
    ("steps", ("tags.name", "tags.value"), {}),
    ("steps", ("partitions.name", "partitions.value"), {}),
    ("steps", ("open",), {"sparse": True}),
    ("steps", ("what", "key"), {}),
    ("steps", ("life",), {"sparse": True}),
    ("keys", ("incarnation",), {}),
    ("keys", ("aliases.name",), {}),
    ("payloads", ("digest",), {}),
    ("payloads", ("state", "changed_at"), {}),
    ("payloads", ("base",), {"sparse": True}),
    ("pins", ("generations",), {}),
    ("runs", ("run_id",), {}),
    ("runs", ("order",), {}),
    ("runs", ("flow", "task"), {}),
    ("runs", ("task_run_id",), {}),
    ("uses", ("id", "role"), {}),
    ("uses", ("run", "role"), {}),
    ("slots", ("entry.id",), {"sparse": True}),
    ("slots", ("entry.name",), {"sparse": True}),
    ("slots", ("entry.updated_at",), {"sparse": True}),
    ("bounds", ("id",), {}),
)


@dataclass(frozen=True, slots=True)
class Tables:
    """The collections.

    Attributes:
        keys: What a key is now: its incarnation, newest version, aliases, and the last step.
        steps: Every change of a key, one document each; that of a put is its version.
        payloads: One physical copy of some bytes each, with the bytes where they are inline.
        pins: Puts that are still writing, by op.
        runs: Executions.
        uses: Edges from runs to versions.
        slots: One cache key each: its entry and its reservation.
        lookups: Look-ups by day and function.
        bounds: Opaque storage keys of hosts.
        store: One document: the id of the store and its format.
    """

    keys: Table
    steps: Table
    payloads: Table
    pins: Table
    runs: Table
    uses: Table
    slots: Table
    lookups: Table
    bounds: Table
    store: Table

    @classmethod
    def of(cls, database: Database) -> Tables:
        """Return the collections of a database."""
        return cls(*(database.table(field.name) for field in fields(cls)))


def open_store(database: Database) -> str:
    """Make the store if it is absent, check that it can be used, and return its id.

    Raises:
        NotSupportedError: The server's conditional updates are not atomic.
        SchemaVersionError: Newer code made the store.
    """
    _check_server(database)
    table = database.table("store")
    found = table.one({"_id": _STORE})
    if found is None or missing_indexes(database):
        _make_indexes(database)
    if found is None:
        table.insert_absent({"_id": _STORE, "id": new_id(), "format": FORMAT})
        found = table.one({"_id": _STORE})
        assert found is not None
    if found["format"] > FORMAT:
        raise SchemaVersionError(
            f"The store at {database.masked} has format {found['format']}, this flowblob knows "
            f"{FORMAT}",
            hint="Upgrade flowblob",
        )
    return str(found["id"])


def server_facts(database: Database) -> Document:
    """Return what the server says about itself."""
    found: Document = database.run(lambda db: db.command("buildInfo"))
    return found


def missing_indexes(database: Database) -> list[str]:
    """Return the indexes that are not there, or not as they should be."""
    missing = []
    for name in dict.fromkeys(name for name, _, _ in _INDEXES):
        standing = database.table(name).run(lambda found: found.index_information())
        for fields_of, options in ((f, o) for table, f, o in _INDEXES if table == name):
            index = standing.get("_".join(f"{field}_1" for field in fields_of), {})
            if not index or bool(index.get("unique")) != bool(options.get("unique")):
                missing.append(f"{name}({', '.join(fields_of)})")
    return missing


def _make_indexes(database: Database) -> None:
    for name in dict.fromkeys(name for name, _, _ in _INDEXES):
        mine = [(fields_of, options) for table, fields_of, options in _INDEXES if table == name]
        database.table(name).index([([(f, 1) for f in given], opts) for given, opts in mine])
    if missing := missing_indexes(database):
        raise NotSupportedError(
            f"{database.masked} does not keep these indexes: {', '.join(missing)}",
            hint="Use a server that keeps unique indexes",
        )


def _check_server(database: Database) -> None:
    version = _ferret_version(server_facts(database))
    if version.lstrip("v").startswith(("0.", "1.")):
        # 125 conditional updates reported success in a race where 41 had happened.
        raise NotSupportedError(
            f"FerretDB {version} at {database.masked} cannot hold a store: its conditional "
            "updates are not atomic, so that versions would be lost",
            hint="Use FerretDB 2, MongoDB, or PostgreSQL without FerretDB",
        )


def _ferret_version(facts: dict[str, Any]) -> str:
    told = facts.get("ferretdbVersion") or facts.get("ferretdb") or ""
    if isinstance(told, dict):
        told = told.get("version") or ""
    return str(told)
