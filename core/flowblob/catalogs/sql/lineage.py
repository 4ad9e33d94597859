"""Runs, the uses that link them to versions, and explicit parents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowblob.catalogs import refusals, rows
from flowblob.catalogs.sql import columns
from flowblob.catalogs.sql.accounting import count_lookups
from flowblob.catalogs.sql.engine import SqlEngine
from flowblob.model import Blob, Run, Use

if TYPE_CHECKING:
    from datetime import datetime

    from flowblob.catalogs.sql.engine import Connection, Row
    from flowblob.drafts import Note

_FIND_RUN = """SELECT seq, url, name, used, generated FROM run
    WHERE system = ? AND task_run_id = ? AND attempt = ? """

_INSERT_RUN = """INSERT INTO run (system, flow, run_id, task, task_run_id, attempt, map_index, url,
    name, started_at, used, generated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_INSERT_USE = "INSERT INTO use (run, version, role, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class Lineage(SqlEngine):
    """Who wrote and read which version."""

    def record(self, notes: Sequence[Note]) -> None:
        if any(note.run for note in notes):
            self._write_relaxed(self._record, notes)
        elif notes:
            self._write_counts(self._record, notes)

    def _record(self, connection: Connection, notes: Sequence[Note]) -> None:
        runs: dict[tuple[str, str, int], int] = {}
        hits: dict[str, list[datetime]] = defaultdict(list)
        for note in notes:
            if note.entry:
                hits[note.entry].append(note.at)
            if note.run is None:
                continue
            at = rows.to_micros(note.at)
            if not note.blob_id:  # nothing new is used: the run ended, and its values are final
                self._put_run(connection, note.run, at)
                continue
            version = seq_of(connection, note.blob_id)
            if version is None:
                continue  # written to a store that was replaced since: nothing to link to
            if note.run.identity not in runs:
                runs[note.run.identity] = self._put_run(connection, note.run, at)
            self._put_use(connection, runs[note.run.identity], version, note.role, at)
        count_lookups(connection, notes)
        for key, moments in hits.items():
            last = rows.to_micros(max(moments))
            connection.execute(
                """UPDATE entry SET hits = hits + ?, last_hit_at =
                CASE WHEN last_hit_at > ? THEN last_hit_at ELSE ? END WHERE key = ?""",
                (len(moments), last, last, key),
            )

    def _put_use(self, connection: Connection, run: int, version: int, role: str, at: int) -> None:
        connection.execute(_INSERT_USE, (run, version, role, at))

    def _put_run(self, connection: Connection, run: Run, now: int) -> int:
        found = connection.execute(_FIND_RUN, run.identity).fetchone()
        if found is None:
            used, made = rows.to_text(dict(run.used)), rows.to_text(dict(run.generated))
            started = now if run.started_at is None else rows.to_micros(run.started_at)
            return self._insert(
                connection,
                _INSERT_RUN,
                (
                    run.system, run.flow, run.run_id, run.task, run.task_run_id, run.attempt,
                    run.map_index, run.url, run.name, started, used, made,
                ),
            )  # fmt: skip
        # A run is met many times; what it learnt since (a page, small values) is added.
        if _learnt(run, found) != found:
            sql = _FIND_RUN + self.dialect.lock  # another process may be adding values, too
            found = _learnt(run, connection.execute(sql, run.identity).fetchone())
            connection.execute(
                "UPDATE run SET url = ?, name = ?, used = ?, generated = ? WHERE seq = ?",
                (*found[1:], found[0]),
            )
        return int(found[0])

    def _put_parents(
        self, connection: Connection, version: int, parents: Sequence[str], now: int
    ) -> None:
        for parent in parents:
            seq = seq_of(connection, parent)
            if seq is None:
                raise refusals.no_parent(parent)
            connection.execute(
                "INSERT INTO parent (version, parent, at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (version, seq, now),
            )

    def runs(
        self, *, filters: Mapping[str, Any] | None = None, limit: int | None = None
    ) -> list[Run]:
        parameters: list[object] = []
        where = _match_runs(filters or {}, parameters)
        sql = f"SELECT {columns.run_columns('r')} FROM run r{where} ORDER BY r.seq DESC"
        found = self._query(columns.limited(sql, parameters, limit), parameters)
        return [run for run in map(rows.to_run, found) if run is not None]

    def uses(
        self, *, blob_id: str = "", run: Mapping[str, Any] | None = None, role: str = ""
    ) -> list[Use]:
        parameters: list[object] = []
        where = _match_runs(run or {}, parameters, name="ur")
        for text, value in (("v.id = ?", blob_id), ("u.role = ?", role)):
            if value:
                where += f" {'AND' if where else 'WHERE'} {text}"
                parameters.append(value)
        found = self._query(
            f"""SELECT {columns.blob_columns(self.dialect)}, {columns.run_columns("ur")},
            u.role, u.at FROM use u JOIN version v ON v.seq = u.version
            JOIN run ur ON ur.seq = u.run {columns.BLOB_JOINS}{where}
            ORDER BY u.at, u.run, u.version""",
            parameters,
        )
        uses = []
        for row in found:
            user = rows.to_run(row, rows.BLOB_WIDTH)
            assert user is not None
            uses.append(Use(user, rows.to_blob(row), row[-2], rows.to_datetime(row[-1])))
        return uses

    def parents(self, blob_id: str) -> list[Blob]:
        return self._related("l.parent", "l.version", blob_id)

    def children(self, blob_id: str) -> list[Blob]:
        return self._related("l.version", "l.parent", blob_id)

    def _related(self, wanted: str, given: str, blob_id: str) -> list[Blob]:
        found = self._query(
            f"""SELECT {columns.blob_columns(self.dialect)} FROM parent l
            JOIN version v ON v.seq = {wanted} {columns.BLOB_JOINS}
            WHERE {given} = (SELECT seq FROM version WHERE id = ?) ORDER BY v.seq""",
            (blob_id,),
        )
        return [rows.to_blob(row) for row in found]


def seq_of(connection: Connection, blob_id: str) -> int | None:
    """Return the row number of a version, dropped or not."""
    row = connection.execute("SELECT seq FROM version WHERE id = ?", (blob_id,)).fetchone()
    return None if row is None else int(row[0])


def _match_runs(filters: Mapping[str, Any], parameters: list[object], *, name: str = "r") -> str:
    refusals.check_run_fields(filters)
    parameters += map(columns.comparable, filters.values())
    where = " AND ".join(f"{name}.{field} = ?" for field in filters)
    return f" WHERE {where}" if where else ""


def _learnt(run: Run, row: Row) -> Row:
    """Return a row of `_FIND_RUN` with what the record says beyond it."""
    seq, url, name, used, made = row
    return (
        seq,
        run.url or url,
        run.name or name,
        _merge(used, rows.to_text(dict(run.used))),
        _merge(made, rows.to_text(dict(run.generated))),
    )


def _merge(old: str, new: str) -> str:
    if new in ("{}", old):
        return old
    return rows.to_text(rows.from_text(old) | rows.from_text(new))
