"""Taking portable records in; `flowblob.portable` says what they look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.refusals import check_next, parts_of
from flowblob.catalogs.sql.annotating import Annotating, micros, run_seq
from flowblob.catalogs.sql.committing import INSERT_VERSION, Committing, attach, heal
from flowblob.catalogs.sql.deleting import Deleting
from flowblob.catalogs.sql.releasing import WITH_ITS_KEY
from flowblob.drafts import Part
from flowblob.model import EMPTY, Run
from flowblob.portable import CAUSES, Kind, Portable, from_moment

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection

_LIFE = "SELECT seq, key, head, ended_at FROM incarnation WHERE id = ?"

_STANDING = """SELECT v.seq, i.id, v.version, v.value_digest FROM version v
    JOIN incarnation i ON i.seq = v.incarnation WHERE v.id = ?"""

_DROPPABLE = """SELECT v.seq, v.incarnation FROM version v
    JOIN incarnation i ON i.seq = v.incarnation WHERE v.id = ?
    AND NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = v.seq)
    AND NOT EXISTS (SELECT 1 FROM alias a WHERE a.version = v.seq AND i.ended_at IS NULL)"""


class Absorbing(Annotating, Committing, Deleting):
    """Records of another store, with their ids, numbers and times."""

    def absorb(
        self,
        kind: Kind,
        records: Sequence[Portable],
        *,
        parts: Mapping[str, Part] = EMPTY,
        op: str = "",
    ) -> int:
        return self._write(self._absorb, kind, records, parts, op) if records else 0

    def _absorb(
        self,
        connection: Connection,
        kind: Kind,
        records: Sequence[Portable],
        parts: Mapping[str, Part],
        op: str,
    ) -> int:
        # In one order for everybody who locks several.
        self._serialize(connection, *sorted(self._keys(connection, kind, records)))
        now = self._now(connection)
        steps: dict[Kind, Callable[[Portable], bool]] = {
            "run": lambda record: self._take_run(connection, record, now),
            "incarnation": lambda record: self._take_incarnation(connection, record),
            "version": lambda record: self._take_version(connection, record, parts, now),
            "tags": lambda record: self._take_tags(connection, record),
            "aliases": lambda record: self._take_aliases(connection, record),
            "tombstone": lambda record: self._take_tombstone(connection, record),
            "parents": lambda record: self._take_parents(connection, record),
            "use": lambda record: self._take_use(connection, record),
            "entry": lambda record: self._take_entry(connection, record),
            "lookup": lambda record: self._take_lookup(connection, record),
            "outcome": lambda record: self._take_outcome(connection, record),
            "bound": lambda record: self._take_bound(connection, record),
        }
        taken = sum(map(steps[kind], records))
        if op:
            connection.execute("DELETE FROM pin WHERE op = ?", (op,))
        return taken

    def _keys(self, connection: Connection, kind: Kind, records: Sequence[Portable]) -> set[str]:
        """Return what other transactions on the same records queue by."""
        if kind in ("incarnation", "version", "entry"):
            return {record["key"] for record in records}
        if kind == "tombstone":
            return set(self._keys_of(connection, [record["id"] for record in records]))
        if kind == "aliases":
            lives = [record["incarnation"] for record in records]
            marks = ", ".join("?" * len(lives))
            sql = f"SELECT key FROM incarnation WHERE id IN ({marks})"
            return {key for (key,) in connection.execute(sql, lives).fetchall()}
        return set()

    def _take_run(self, connection: Connection, record: Portable, now: int) -> bool:
        run = _to_run(record)
        is_new = run_seq(connection, list(run.identity)) is None
        self._put_run(connection, run, now)
        return is_new

    # lives and versions ---------------------------------------------

    def _take_incarnation(self, connection: Connection, record: Portable) -> bool:
        key, ended = record["key"], micros(record["ended_at"])
        life = connection.execute(_LIFE, (record["id"],)).fetchone()
        if life is None:
            if ended is None:
                _refuse_second_life(connection, key)
            self._insert(
                connection,
                "INSERT INTO incarnation (id, key, created_at, ended_at) VALUES (?, ?, ?, ?)",
                (record["id"], key, micros(record["created_at"]), ended),
            )
            return True
        seq, standing_key, _, ended_here = life
        if standing_key != key:
            raise refusals.of_another_key(record, standing_key)
        if ended is None or ended_here is not None:
            return False
        self._end_life(connection, seq, ended, by=record["ended_by"])
        return True

    def _end_life(self, connection: Connection, incarnation: int, at: int, *, by: str) -> None:
        found = connection.execute(
            """SELECT v.seq FROM version v WHERE v.incarnation = ?
            AND NOT EXISTS (SELECT 1 FROM tombstone x WHERE x.version = v.seq)""",
            (incarnation,),
        ).fetchall()
        for (version,) in found:
            self._bury(connection, version, at, cause=WITH_ITS_KEY, by=by)
        connection.execute(
            "UPDATE incarnation SET ended_at = ?, newest = NULL WHERE seq = ?", (at, incarnation)
        )

    def _take_version(
        self, connection: Connection, record: Portable, parts: Mapping[str, Part], now: int
    ) -> bool:
        standing = connection.execute(_STANDING, (record["id"],)).fetchone()
        if standing is not None:
            refusals.check_same(record, incarnation=standing[1], version=standing[2])
            if not standing[3] and record["value_digest"]:
                connection.execute(
                    "UPDATE version SET value_digest = ? WHERE seq = ?",
                    (record["value_digest"], standing[0]),
                )
            return False
        life = connection.execute(_LIFE, (record["incarnation"],)).fetchone()
        if life is None:
            return False
        _, key, head, ended = life
        check_next(record, key=key, head=head, is_ended=ended is not None)
        mine = parts_of(record, parts)
        payloads = [self._settle(connection, part, now) for part in mine]
        run = record["run"] and self._put_run(connection, _to_run(record["run"]), now)
        seq = self._insert(connection, INSERT_VERSION, _version_row(record, life[0], run or None))
        for name, value in record["partitions"].items():
            connection.execute("INSERT INTO partition VALUES (?, ?, ?)", (seq, name, value))
        attach(connection, seq, mine, payloads)
        heal(connection, mine, payloads)
        number = record["version"]
        if record["dropped"] is None:
            connection.execute(
                "UPDATE incarnation SET head = ?, newest = ? WHERE seq = ?", (number, seq, life[0])
            )
        else:
            connection.execute("UPDATE incarnation SET head = ? WHERE seq = ?", (number, life[0]))
            at, by, cause = record["dropped"]
            self._bury(connection, seq, micros(at), cause=CAUSES.index(cause), by=by)
        return True

    def _take_tombstone(self, connection: Connection, record: Portable) -> bool:
        found = connection.execute(_DROPPABLE, (record["id"],)).fetchone()
        if found is None:
            return False
        cause = CAUSES.index(record["cause"])
        self._bury(connection, found[0], micros(record["at"]), cause=cause, by=record["by"])
        self._find_newest(connection, found[1])
        return True


def _refuse_second_life(connection: Connection, key: str) -> None:
    row = connection.execute(
        "SELECT id FROM incarnation WHERE key = ? AND ended_at IS NULL", (key,)
    ).fetchone()
    if row is not None:
        raise refusals.second_life(key)


def _version_row(record: Portable, incarnation: int, run: int | None) -> tuple[Any, ...]:
    return (
        record["id"], incarnation, record["version"], record["prev_version"], record["op"],
        bytes.fromhex(record["content"]), record["digest"], record["size"], record["checksum"],
        record["kind"], record["media_type"], record["serializer"], record["filename"],
        rows.to_text(record["metadata"]), rows.to_text(record["partitions"]), record["parts"],
        int(record["history"]), record["value_digest"], record["external"], record["signature"],
        record["signature_key"], record["preview"], run, micros(record["created_at"]),
    )  # fmt: skip


def _to_run(record: Portable) -> Run:
    return Run(**{**record, "started_at": from_moment(record["started_at"])})
