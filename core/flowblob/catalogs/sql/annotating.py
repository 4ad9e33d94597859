"""Taking in what hangs on versions: labels, links, cache entries, keys of hosts."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from flowblob.catalogs import rows
from flowblob.catalogs.sql.lineage import Lineage, seq_of
from flowblob.catalogs.sql.names import Names, note_move
from flowblob.portable import Portable, from_moment, gained

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_TAG_HISTORY = "SELECT name, value, at, by FROM tag_history WHERE version = ? ORDER BY seq"

_ALIAS_HISTORY = """SELECT h.name, v.version, h.at, h.by FROM alias_history h
    LEFT JOIN version v ON v.seq = h.version WHERE h.incarnation = ? ORDER BY h.seq"""

_ALIASES = """SELECT a.name, v.version, a.immutable, a.at, a.by FROM alias a
    JOIN version v ON v.seq = a.version WHERE a.incarnation = ? ORDER BY a.name"""

#: A version by its number, and whether an alias of its key may point at it.
_NUMBERED = """SELECT v.seq, i.ended_at IS NOT NULL
    OR NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = v.seq)
    FROM version v JOIN incarnation i ON i.seq = v.incarnation
    WHERE v.incarnation = ? AND v.version = ?"""

_ENTRY = """INSERT INTO entry (key, name, module, rev, version, run, cost, hits, last_hit_at,
    pinned, created_at, updated_at, expires_at, outputs, reads, metadata, ingredients)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_LOOKUP = """INSERT INTO lookup (day, name, hits, misses, seconds, size)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (day, name) DO UPDATE SET hits = excluded.hits,
    misses = excluded.misses, seconds = excluded.seconds, size = excluded.size"""

_BOUND = """INSERT INTO bound (space, name, version, record, at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (space, name) DO UPDATE SET version = excluded.version,
    record = excluded.record, at = excluded.at"""


def micros(text: str | None) -> Any:
    """Return the column of a record's time, None for none."""
    return None if text is None else rows.to_micros(from_moment(text))


class Annotating(Names, Lineage):
    """One record each; every step answers whether it brought anything new."""

    def _take_tags(self, connection: Connection, record: Portable) -> bool:
        version = seq_of(connection, record["id"])
        if version is None:
            return False
        standing = map(tuple, connection.execute(_TAG_HISTORY, (version,)).fetchall())
        arriving = [
            (name, None if value is None else rows.to_tag(value), micros(at), by)
            for name, value, at, by in record["history"]
        ]
        news = gained(list(standing), arriving) or []
        for name, text, at, by in news:
            value = None if text is None else rows.from_tag(text)
            self._put_tags(connection, version, {name: value}, at, by=by)
        return bool(news)

    def _take_aliases(self, connection: Connection, record: Portable) -> bool:
        life = connection.execute(
            "SELECT seq FROM incarnation WHERE id = ?", (record["incarnation"],)
        ).fetchone()
        if life is None:
            return False
        history = [(name, number, micros(at), by) for name, number, at, by in record["history"]]
        standing = [
            (name, number, int(immutable), micros(at), by)
            for name, number, immutable, at, by in record["standing"]
        ]
        known = map(tuple, connection.execute(_ALIAS_HISTORY, life).fetchall())
        news = gained(list(known), history)
        found = {
            number: connection.execute(_NUMBERED, (life[0], number)).fetchone()
            for number in {row[1] for row in (*history, *standing)} - {None}
        }
        # What was changed here since stays, and so does what points at a version that is to come.
        if news is None or None in found.values() or not all(found[n][1] for _, n, *_ in standing):
            return False
        for name, number, at, by in news:
            version = None if number is None else found[number][0]
            note_move(connection, life[0], name, version, at=at, by=by)
        current = [tuple(row) for row in connection.execute(_ALIASES, life).fetchall()]
        if current == standing:
            return bool(news)
        connection.execute("DELETE FROM alias WHERE incarnation = ?", life)
        for name, number, immutable, at, by in standing:
            connection.execute(
                "INSERT INTO alias VALUES (?, ?, ?, ?, ?, ?)",
                (life[0], name, found[number][0], immutable, at, by),
            )
        return True

    def _take_parents(self, connection: Connection, record: Portable) -> bool:
        version = seq_of(connection, record["id"])
        is_new = False
        for parent, at in record["parents"] if version is not None else ():
            done = connection.execute(
                """INSERT INTO parent (version, parent, at)
                SELECT ?, seq, ? FROM version WHERE id = ? ON CONFLICT DO NOTHING""",
                (version, micros(at), parent),
            )
            is_new |= done.rowcount > 0
        return is_new

    def _take_use(self, connection: Connection, record: Portable) -> bool:
        run, version = run_seq(connection, record["run"]), seq_of(connection, record["id"])
        if run is None or version is None:
            return False
        done = connection.execute(
            "INSERT INTO use (run, version, role, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (run, version, record["role"], micros(record["at"])),
        )
        return done.rowcount > 0

    # the cache ------------------------------------------------------

    def _take_entry(self, connection: Connection, record: Portable) -> bool:
        key = record["key"]
        row = connection.execute(
            "SELECT rev, updated_at, hits, last_hit_at FROM entry WHERE key = ?", (key,)
        ).fetchone()
        if row is not None and row[0] == record["rev"]:
            return _count_hits(connection, record, row[2], row[3])
        if row is not None and row[1] >= micros(record["updated_at"]):
            return False  # computed here since
        version = seq_of(connection, record["id"])
        run = record["run"] and run_seq(connection, record["run"])
        outputs = [seq_of(connection, blob_id) for blob_id in record["outputs"].values()]
        if version is None or None in outputs or (record["run"] and run is None):
            return False
        connection.execute("DELETE FROM entry WHERE key = ?", (key,))
        connection.execute(_ENTRY, _entry_row(record, version, run))
        return True

    def _take_lookup(self, connection: Connection, record: Portable) -> bool:
        """Keep the larger figures: they only grow, and adding would count twice."""
        arriving = tuple(record[name] for name in ("hits", "misses", "seconds", "size"))
        row = connection.execute(
            "SELECT hits, misses, seconds, size FROM lookup WHERE day = ? AND name = ?",
            (record["day"], record["name"]),
        ).fetchone()
        figures = arriving if row is None else tuple(map(max, row, arriving))
        if row is not None and figures == tuple(row):
            return False
        connection.execute(_LOOKUP, (record["day"], record["name"], *figures))
        return True

    # other names ----------------------------------------------------

    def _take_outcome(self, connection: Connection, record: Portable) -> bool:
        done = connection.execute(
            """INSERT INTO outcome (op, version, at) SELECT ?, seq, ? FROM version WHERE id = ?
            ON CONFLICT DO NOTHING""",
            (record["op"], micros(record["at"]), record["id"]),
        )
        return done.rowcount > 0

    def _take_bound(self, connection: Connection, record: Portable) -> bool:
        name, at = (record["space"], record["name"]), micros(record["at"])
        row = connection.execute(
            "SELECT at FROM bound WHERE space = ? AND name = ?", name
        ).fetchone()
        version = seq_of(connection, record["id"])
        if version is None or (row is not None and row[0] >= at):
            return False
        data = base64.b64decode(record["record"])
        connection.execute(_BOUND, (*name, version, data, at))
        return True


def run_seq(connection: Connection, identity: list[Any]) -> int | None:
    """Return the row number of a run by [system, task_run_id, attempt]."""
    row = connection.execute(
        "SELECT seq FROM run WHERE system = ? AND task_run_id = ? AND attempt = ?", tuple(identity)
    ).fetchone()
    return None if row is None else int(row[0])


def _count_hits(connection: Connection, record: Portable, hits: int, last: int | None) -> bool:
    """Keep the larger count of one entry, which two stores go on counting."""
    arriving = micros(record["last_hit_at"])
    if record["hits"] <= hits and (arriving or 0) <= (last or 0):
        return False
    connection.execute(
        "UPDATE entry SET hits = ?, last_hit_at = ? WHERE key = ?",
        (max(record["hits"], hits), max(arriving or 0, last or 0) or None, record["key"]),
    )
    return True


def _entry_row(record: Portable, version: int, run: int | None) -> tuple[Any, ...]:
    ingredients = record["ingredients"]
    return (
        record["key"], record["name"], record["module"], record["rev"], version, run,
        record["cost"], record["hits"], micros(record["last_hit_at"]), int(record["pinned"]),
        micros(record["created_at"]), micros(record["updated_at"]), micros(record["expires_at"]),
        rows.to_text(record["outputs"]), rows.to_text(record["reads"]),
        rows.to_text(record["metadata"]), rows.to_text(ingredients) if ingredients else "",
    )  # fmt: skip
