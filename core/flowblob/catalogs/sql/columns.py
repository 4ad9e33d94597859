"""The column lists that `rows` reads, and the joins they need."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from flowblob.errors import InvalidInputError

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Dialect


def run_columns(r: str) -> str:
    """Columns of a run under the name `r`."""
    names = (
        "system flow run_id task task_run_id attempt map_index url name started_at used generated"
    )
    return ", ".join(f"{r}.{name}" for name in names.split())


@cache
def blob_columns(dialect: Dialect) -> str:
    """Columns of a blob and its run, from `version v`, `incarnation i` and `run r`."""
    return f"""v.id, i.key, v.version, i.id, v.digest, v.size, v.checksum, v.kind, v.media_type,
        v.serializer, v.created_at, v.prev_version, v.filename, v.metadata,
        (SELECT {dialect.json_object} FROM tag t WHERE t.version = v.seq),
        v.partitions,
        (SELECT {dialect.text_list} FROM alias a WHERE a.version = v.seq AND i.ended_at IS NULL),
        v.value_digest, v.parts, v.history, v.external, v.signature, v.signature_key, v.preview,
        {run_columns("r")}"""


RUN_JOIN = "LEFT JOIN run r ON r.seq = v.run"

BLOB_JOINS = f"JOIN incarnation i ON i.seq = v.incarnation {RUN_JOIN}"

#: From a key to its newest version, without looking at the others; and from a version to its key,
#: since what few versions have (a tag, a run) is found without walking all keys.
NEWEST = "incarnation i JOIN version v ON v.seq = i.newest AND i.seq = v.incarnation"

LIVE = "NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = v.seq)"

PAYLOAD = """p.digest, p.size, p.checksum, p.generation, p.state, p.inline, p.stored_size,
    p.encoding, p.base"""

MAIN_PAYLOAD = f"m.name, {PAYLOAD}, d.data"

MAIN_PAYLOAD_JOINS = """LEFT JOIN version_payload m ON m.version = v.seq AND m.name = ''
    LEFT JOIN payload p ON p.seq = m.payload
    LEFT JOIN inline_payload d ON d.payload = p.seq"""

ENTRY = """e.key, e.name, e.rev, e.created_at, e.updated_at, e.expires_at, e.cost, e.hits,
    e.last_hit_at, e.pinned, e.outputs, e.reads, e.metadata"""


def comparable(value: object) -> object:
    """Return a value to compare a column with; no column holds text with NUL.

    Raises:
        InvalidInputError: The value does, which not every engine would take.
    """
    if isinstance(value, str) and "\0" in value:
        raise InvalidInputError(f"{value[:80]!r} holds NUL, so nothing can equal it")
    return value


def limited(sql: str, parameters: list[object], limit: int | None) -> str:
    """Add a limit where there is one; engines disagree on how to spell none."""
    if limit is None:
        return sql
    parameters.append(limit)
    return f"{sql} LIMIT ?"
