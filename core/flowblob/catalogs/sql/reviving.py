"""Taking tombstones away again, as long as the collector has not been there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flowblob.catalogs import refusals
from flowblob.catalogs.sql.deleting import Deleting
from flowblob.catalogs.sql.names import note_move
from flowblob.catalogs.sql.releasing import DROPPED, WITH_ITS_KEY
from flowblob.model import Blob, Ref

if TYPE_CHECKING:
    from flowblob.catalogs.sql.engine import Connection, Row

_DEAD = """SELECT v.seq FROM version v JOIN tombstone x ON x.version = v.seq
    WHERE v.incarnation = ?"""

_LIVES = "SELECT seq, ended_at, newest FROM incarnation WHERE key = ?"

_LAST_LIFE = f"{_LIVES} AND ended_at IS NOT NULL ORDER BY ended_at DESC, seq DESC LIMIT 1"

_LIFE_OF = """SELECT i.seq, i.ended_at, i.newest FROM incarnation i
    JOIN version v ON v.incarnation = i.seq WHERE v.id = ? AND i.ended_at IS NOT NULL"""

_LAST = """ AND x.cause = ? AND x.at = (
    SELECT max(y.at) FROM tombstone y JOIN version w ON w.seq = y.version
    WHERE w.incarnation = ? AND y.cause = ?)"""

# A put pins what it uses before it commits; this is the same for a version that comes back.
_HOLD = """UPDATE payload SET changed_at = ? WHERE state <> 'condemned'
    AND seq IN (SELECT m.payload FROM version_payload m WHERE m.version IN ({marks}))"""

_WHOLE = """SELECT v.seq FROM version v WHERE v.seq IN ({marks})
    AND v.parts + CASE WHEN v.digest <> '' AND v.external = '' THEN 1 ELSE 0 END
    = (SELECT count(*) FROM version_payload m WHERE m.version = v.seq) ORDER BY v.seq DESC"""

#: A key may come back with all its history: what is done is done to so many versions at once.
_CHUNK = 500


class Reviving(Deleting):
    """A version comes back as it was: the same id, number and payloads."""

    def undelete(self, ref: Ref, *, by: str = "") -> list[Blob]:
        refusals.check_revivable(ref)
        return self._write(self._undelete, ref, by)

    def _undelete(self, connection: Connection, ref: Ref, by: str) -> list[Blob]:
        key = ref.key or "".join(self._keys_of(connection, [ref.id]))
        self._serialize(connection, key)
        now = self._now(connection)
        life, found = _dropped(connection, ref, key)
        back = [seq for chunk in _chunks(found) for seq in _hold(connection, chunk, now)]
        if not back:
            raise refusals.collected(ref)
        for chunk in _chunks(back):
            connection.execute(
                f"DELETE FROM tombstone WHERE version IN ({_marks(chunk)})", tuple(chunk)
            )
        if life[1] is not None:
            connection.execute("UPDATE incarnation SET ended_at = NULL WHERE seq = ?", (life[0],))
            _return_aliases(connection, life[0], back, now, by)
        self._find_newest(connection, life[0])
        return [
            blob for chunk in _chunks(back) for blob in self._blobs_newest_first(connection, chunk)
        ]


def _dropped(connection: Connection, ref: Ref, key: str) -> tuple[Row, list[int]]:
    """Return the life in which what the reference means was dropped, and the versions."""
    standing = connection.execute(f"{_LIVES} AND ended_at IS NULL", (key,)).fetchone()
    if ref.id:
        ended = connection.execute(_LIFE_OF, (ref.id,)).fetchone()
    else:
        ended = connection.execute(_LAST_LIFE, (key,)).fetchone()
    for life in (standing, ended):
        found = [] if life is None else _dead(connection, ref, life)
        if not found:
            continue
        if standing is not None and life is not standing:
            raise refusals.reborn(key)
        return life, found
    raise refusals.not_dropped(ref)


def _dead(connection: Connection, ref: Ref, life: Row) -> list[int]:
    """Return the dropped versions of one life that a reference means, newest first."""
    seq, ended_at, newest = life
    sql, parameters = _DEAD, [seq]
    if ref.id:
        sql, parameters = f"{sql} AND v.id = ?", [seq, ref.id]
    elif ref.version is not None:
        sql, parameters = f"{sql} AND v.version = ?", [seq, ref.version]
    elif ended_at is None and newest is not None:
        return []  # the key lives: as a whole it was not dropped in this life
    else:
        cause = DROPPED if ended_at is None else WITH_ITS_KEY
        sql, parameters = sql + _LAST, [seq, cause, seq, cause]
    return [
        row[0] for row in connection.execute(f"{sql} ORDER BY v.seq DESC", parameters).fetchall()
    ]


def _hold(connection: Connection, versions: Sequence[int], now: int) -> list[int]:
    """Keep the payloads of some versions from the collector; returns those that have all still."""
    marks = _marks(versions)
    connection.execute(_HOLD.format(marks=marks), (now, *versions))
    return [
        seq for (seq,) in connection.execute(_WHOLE.format(marks=marks), tuple(versions)).fetchall()
    ]


def _chunks(versions: Sequence[int]) -> list[Sequence[int]]:
    return [versions[start : start + _CHUNK] for start in range(0, len(versions), _CHUNK)]


def _marks(versions: Sequence[int]) -> str:
    return ", ".join("?" * len(versions))


def _return_aliases(
    connection: Connection, incarnation: int, back: Sequence[int], now: int, by: str
) -> None:
    found = connection.execute(
        "SELECT name, version FROM alias WHERE incarnation = ?", (incarnation,)
    ).fetchall()
    living = set(back)
    for name, version in found:
        if version in living:
            note_move(connection, incarnation, name, version, at=now, by=by)
        else:
            connection.execute(
                "DELETE FROM alias WHERE incarnation = ? AND name = ?", (incarnation, name)
            )
