"""TXN-B: the one commit point of a put."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowblob.catalogs import rows
from flowblob.catalogs.content import content_hash
from flowblob.catalogs.refusals import check_newest
from flowblob.catalogs.sql.engine import repeatable
from flowblob.catalogs.sql.entries import Entries
from flowblob.catalogs.sql.lineage import Lineage
from flowblob.catalogs.sql.names import Names
from flowblob.catalogs.sql.placing import Placing
from flowblob.catalogs.sql.releasing import Releasing
from flowblob.checks import new_id
from flowblob.drafts import Commit, Draft, Part, PlacementLost
from flowblob.errors import (
    InvalidInputError,
)
from flowblob.model import Blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowblob.catalogs.sql.engine import Connection, Row

_OUTCOME = """SELECT seq, 1 FROM version WHERE op = ?
    UNION ALL SELECT version, 0 FROM outcome WHERE op = ?"""

#: The live incarnation of a key and its newest version, whose columns are null where none lives.
_HEAD = """SELECT i.seq, i.head, v.seq, v.version, v.content, v.history, v.signature_key
    FROM incarnation i LEFT JOIN version v ON v.seq = i.newest
    WHERE i.key = ? AND i.ended_at IS NULL"""

INSERT_VERSION = """INSERT INTO version (id, incarnation, version, prev_version, op, content,
    digest, size, checksum, kind, media_type, serializer, filename, metadata, partitions, parts,
    history, value_digest, external, signature, signature_key, preview, run, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_INLINE = """SELECT p.seq, d.data = ? FROM payload p JOIN inline_payload d ON d.payload = p.seq
    WHERE p.digest = ? AND p.state = 'ok' AND p.inline = 1 """

_PLACED = "SELECT p.seq, p.state, p.digest FROM payload p WHERE p.generation = ? "

_DAMAGED = "UPDATE payload SET state = 'damaged', changed_at = ? WHERE seq = ?"

_BAD = """SELECT 1 FROM payload WHERE digest = ? AND state IN ('suspect', 'damaged') LIMIT 1"""

#: Every version with that digest holds the same bytes, so all of them are healed.
_HEAL = """UPDATE version_payload SET payload = ? WHERE payload IN (SELECT seq FROM payload
    WHERE digest = ? AND state IN ('suspect', 'damaged'))"""

_OTHER = "SELECT payload FROM version_payload WHERE version = ? AND name = ? AND payload <> ?"

_MOVE_TO = "UPDATE version_payload SET payload = ? WHERE version = ? AND name = ?"

_LEAVE = "UPDATE payload SET changed_at = ? WHERE seq = ?"

_NO_PART = Part("", "", 0, "")


class Committing(Names, Lineage, Entries, Placing, Releasing):
    """The transaction that makes a put visible, and the look-up of what it did."""

    def commit(self, draft: Draft) -> Commit:
        return self._write(self._commit, draft)

    def outcome(self, op: str) -> Blob | None:
        found = self._query(_OUTCOME, (op, op))
        return self._query_blob(found[0][0]) if found else None

    @repeatable
    def _commit(self, connection: Connection, draft: Draft) -> Commit:
        self._serialize(connection, *_names(draft))
        done = connection.execute(_OUTCOME, (draft.op, draft.op)).fetchone()
        if done is not None:
            return Commit(self._blob(connection, done[0]), bool(done[1]))
        head = connection.execute(_HEAD, (draft.key,)).fetchone()
        check_newest(draft, None if head is None else head[3])
        now = self._now(connection)
        if draft.reservation is not None:
            self._check_lease(connection, draft.reservation)
        if draft.entry is not None:
            self._check_entry(connection, draft.entry, now)
        payloads = [self._settle(connection, part, now) for part in draft.parts]
        run = None if draft.run is None else self._put_run(connection, draft.run, now)
        content = content_hash(draft)
        is_new = head is None or _is_changed(draft, head, content)
        if is_new:
            seq = self._append(connection, draft, head, content=content, run=run, now=now)
            attach(connection, seq, draft.parts, payloads)
        else:
            seq = head[2]
            connection.execute("INSERT INTO outcome VALUES (?, ?, ?)", (draft.op, seq, now))
            _renew(connection, seq, draft.parts, payloads, now)
        heal(connection, draft.parts, payloads)
        self._link(connection, draft, seq, run, now)
        if draft.entry is not None:
            self._put_entry(connection, draft.entry, seq, run, now)
        if is_new and not draft.history and head is not None and head[5] == 0:
            self._release(connection, head[2], now)
        connection.execute("DELETE FROM pin WHERE op = ?", (draft.op,))
        return Commit(self._blob(connection, seq), is_new)

    def _append(
        self,
        connection: Connection,
        draft: Draft,
        head: Row | None,
        *,
        content: bytes,
        run: int | None,
        now: int,
    ) -> int:
        if head is None:
            incarnation, number, previous = self._incarnate(connection, draft.key, now), 0, None
        else:
            incarnation, number, previous = head[0], head[1] + 1, head[3]
        main = draft.parts[0] if draft.parts and not draft.parts[0].name else _NO_PART
        seq = self._insert(
            connection,
            INSERT_VERSION,
            (
                draft.blob_id, incarnation, number, previous, draft.op, content, main.digest,
                main.size, main.checksum, draft.kind, draft.media_type, draft.serializer,
                draft.filename, draft.metadata or "{}", rows.to_text(dict(draft.partitions)),
                len(draft.parts) - (main is not _NO_PART), int(draft.history), draft.value_digest,
                draft.external, draft.signature, draft.signature_key, draft.preview, run, now,
            ),
        )  # fmt: skip
        connection.execute(
            "UPDATE incarnation SET head = ?, newest = ? WHERE seq = ?", (number, seq, incarnation)
        )
        for name, value in draft.partitions.items():
            connection.execute("INSERT INTO partition VALUES (?, ?, ?)", (seq, name, value))
        return seq

    def _incarnate(self, connection: Connection, key: str, now: int) -> int:
        return self._insert(
            connection,
            "INSERT INTO incarnation (id, key, created_at) VALUES (?, ?, ?)",
            (new_id(), key, now),
        )

    def _link(
        self, connection: Connection, draft: Draft, seq: int, run: int | None, now: int
    ) -> None:
        if draft.tags:
            self._put_tags(connection, seq, draft.tags, now, by=str(draft.run or ""))
        if draft.parents:
            self._put_parents(connection, seq, draft.parents, now)
        if run is not None:
            self._put_use(connection, run, seq, "output", now)

    def _settle(self, connection: Connection, part: Part, now: int) -> int | None:
        """Return the row of a part's payload, made `ok`; None for a part that is only a digest."""
        if part.data is not None:
            sql = _INLINE + self.dialect.share
            found = connection.execute(sql, (part.data, part.digest)).fetchall()
            for seq, is_same in found:
                if is_same:
                    return int(seq)
            for seq, _ in found:  # under this digest, and yet other bytes
                connection.execute(_DAMAGED, (now, seq))
            seq, _ = self._insert_payload(connection, part, state="ok", now=now, data=part.data)
            return int(seq)
        if not part.generation:
            return None
        sql = _PLACED + self.dialect.share
        row = connection.execute(sql, (part.generation,)).fetchone()
        if row is None or row[1] not in ("uploading", "ok"):
            raise PlacementLost(part.generation)
        seq, state, digest = row
        if digest != part.digest:
            raise InvalidInputError(
                f"Generation {part.generation} holds {digest}, not {part.digest}"
            )
        if state == "uploading":
            connection.execute(
                "UPDATE payload SET state = 'ok', changed_at = ? WHERE seq = ?", (now, seq)
            )
        return int(seq)


def _is_changed(draft: Draft, head: Row, content: bytes) -> bool:
    """Say whether a put makes a new version on top of this one.

    One whose signature nobody here believes could not be loaded: it gives way to one that can.
    """
    is_believed = not draft.signers or head[6] in draft.signers
    return draft.new_version or head[4] != content or not is_believed


def _names(draft: Draft) -> set[str]:
    """Return what a commit changes or relies on, and others could change meanwhile."""
    leases = (draft.reservation, draft.entry.reservation if draft.entry else None)
    entry = {draft.entry.key.digest} if draft.entry else set()
    return {draft.key} | entry | {lease.key for lease in leases if lease}


def attach(
    connection: Connection, version: int, parts: Sequence[Part], payloads: Sequence[int | None]
) -> None:
    """Have a new version use its payloads, in this order."""
    for position, (part, payload) in enumerate(zip(parts, payloads, strict=True)):
        if payload is not None:
            connection.execute(
                "INSERT INTO version_payload VALUES (?, ?, ?, ?)",
                (version, part.name, position, payload),
            )


def _renew(
    connection: Connection,
    version: int,
    parts: Sequence[Part],
    payloads: Sequence[int | None],
    now: int,
) -> None:
    """Have an unchanged version use the bytes that this put wrote or has just verified."""
    for part, payload in zip(parts, payloads, strict=True):
        if payload is None:
            continue
        other = connection.execute(_OTHER, (version, part.name, payload)).fetchone()
        if other is not None:
            connection.execute(_MOVE_TO, (payload, version, part.name))
            # A reader may just have found what is left behind: its grace begins now.
            connection.execute(_LEAVE, (now, other[0]))


def heal(connection: Connection, parts: Sequence[Part], payloads: Sequence[int | None]) -> None:
    """Point all versions away from damaged bytes that this put brought anew."""
    for part, payload in zip(parts, payloads, strict=True):
        if payload is not None and connection.execute(_BAD, (part.digest,)).fetchone():
            connection.execute(_HEAL, (payload, part.digest))
