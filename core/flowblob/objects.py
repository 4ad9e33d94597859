"""From a value to a committed version, and back: what the facade's put and get stand on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from flowblob import runs, serializers
from flowblob.abc import Catalog, Serializer, Storage
from flowblob.checks import new_id, quote_segment, validate_key, validate_metadata, validate_tags
from flowblob.drafts import Commit, Draft, EntryDraft, Payload, Record
from flowblob.errors import (
    InvalidInputError,
    NotFoundError,
    PayloadCorruptError,
    PayloadMissingError,
)
from flowblob.files import File
from flowblob.journal import best_effort
from flowblob.model import Blob, Ref, Reservation, Run, TagValue
from flowblob.payload import Progress, Verifier
from flowblob.reader import PayloadReader
from flowblob.serializers.manifests import path_problem
from flowblob.trust import Trust
from flowblob.writing import Intake, Put

if TYPE_CHECKING:
    from flowblob.config import Settings

_RESTORE = "Restore a backup of the catalog; 'flowblob verify' lists what is wrong"
_PREVIEW_BYTES = 4096
_TEXT_LIMIT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class PutRequest:
    """One put as the facade was asked for it; `Store.put` documents the fields."""

    kind: str = ""
    metadata: Mapping[str, Any] | None = None
    tags: Mapping[str, TagValue] | None = None
    partitions: Mapping[str, str] | None = None
    parents: Sequence[str | Ref | Blob] = ()
    run: Run | None = None
    serializer: str | None = None
    media_type: str = ""
    filename: str = ""
    expect_version: int | None = None
    create: bool = False
    new_version: bool = False
    history: bool = True
    inline: bool | None = None
    progress: Progress | None = None
    value_digest: str = ""
    reservation: Reservation | None = None
    entry: EntryDraft | None = None


@dataclass(slots=True)
class Objects:
    """The values of one store.

    Attributes:
        catalog: Keeps the records.
        storage: Keeps what is not inline.
        settings: Limits.
        trust: Decides which pickles may be loaded, and signs those that are written.
        verifier: What this process has verified already.
    """

    catalog: Catalog
    storage: Storage
    settings: Settings
    trust: Trust
    verifier: Verifier = field(default_factory=Verifier)

    # ------------------------------------------------------------ writing

    def put(self, key: str | None, value: Any, request: PutRequest) -> Commit:
        """Store a value; everything that can be refused is refused before any I/O."""
        key = validate_key(f"objects/{new_id()}" if key is None else key)
        chosen = (
            serializers.by_name(request.serializer)
            if request.serializer
            else serializers.for_value(value)
        )
        draft = self._draft(key, value, chosen, request)
        with ExitStack() as stack:
            intake = self._intake(stack, request)
            chosen.dump(value, intake)
            return self._commit(draft, intake, request)

    def put_stream(self, key: str, source: BinaryIO, request: PutRequest) -> Commit:
        """Store a stream to its end, as a file."""
        chosen = serializers.by_id("file")
        if not callable(getattr(source, "read", None)):
            raise InvalidInputError(
                f"A {type(source).__name__} is no path and no stream",
                hint="Give a path or an open file; put(key, value) stores a value",
            )
        name = validate_key(key).rpartition("/")[2]
        draft = self._draft(
            key, None, chosen, request, filename="" if _filename_problem(name) else name
        )
        with ExitStack() as stack:
            intake = self._intake(stack, request)
            intake.copy(source)
            return self._commit(draft, intake, request)

    def _intake(self, stack: ExitStack, request: PutRequest) -> Intake:
        return Intake(
            self.storage,
            stack,
            inline=request.inline,
            inline_limit=self.settings.inline_limit,
            progress=request.progress,
        )

    def _commit(self, draft: Draft, intake: Intake, request: PutRequest) -> Commit:
        put = Put(
            self.catalog,
            self.storage,
            self.verifier,
            inline=request.inline,
            inline_limit=self.settings.inline_limit,
        )
        payloads = intake.finish()
        if self.trust.can_sign and serializers.by_id(draft.serializer).is_pickle:
            draft = self.trust.sign(draft, payloads[0].spooled.digest)
        return put.run(draft, payloads)

    def _draft(
        self, key: str, value: Any, chosen: Serializer, request: PutRequest, *, filename: str = ""
    ) -> Draft:
        filename = (
            request.filename or filename or getattr(value, "name", "")
            if _is_file(chosen)
            else request.filename
        )
        _check(request, filename)
        return Draft(
            op=new_id(),
            key=key,
            parts=(),
            kind=_text(request.kind, "kind"),
            media_type=_text(request.media_type, "media_type") or _media_type(chosen, filename),
            serializer=chosen.id,
            metadata=validate_metadata(request.metadata) if request.metadata else "{}",
            filename=_text(filename, "filename"),
            tags=validate_tags(request.tags) if request.tags else {},
            partitions=_partitions(request.partitions),
            parents=tuple(self.resolve(Ref.parse(parent)).blob.id for parent in request.parents),
            run=runs.recordable(request.run),
            value_digest=request.value_digest,
            preview=_preview(chosen, value),
            expect_version=request.expect_version,
            create=request.create,
            new_version=request.new_version,
            history=request.history,
            reservation=request.reservation,
            entry=request.entry,
        )

    # ------------------------------------------------------------ reading

    def resolve(self, ref: Ref, *, payload: bool = False) -> Record:
        """Return what a reference means now.

        Raises:
            NotFoundError: It names the part that does not exist.
        """
        found = self.catalog.find(ref, payload=payload)
        if found is None:
            raise self._not_found(ref)
        return found

    def _not_found(self, ref: Ref) -> NotFoundError:
        if not ref.key:
            return NotFoundError(f"Nothing is stored under {ref}", hint="It may have been deleted")
        head = self.catalog.find(Ref(ref.key))
        if head is None:
            return NotFoundError(f"No key {ref.key!r}", hint="'flowblob ls' lists the keys")
        what = f"version {ref.version}" if ref.version is not None else f"alias {ref.alias!r}"
        if ref.digest:
            what = f"version with the digest {ref.digest}"
        return NotFoundError(
            f"{ref.key!r} has no {what}",
            hint=f"Its newest version is {head.blob.version}; see 'flowblob log {ref.key}'",
        )

    def reader(self, record: Record) -> PayloadReader:
        """Return the verified bytes of a version."""
        blob = record.blob
        payload = own_payload(blob, record.payload)
        parts: dict[str, Payload] = {}

        def part(name: str) -> PayloadReader:
            if not parts:
                parts.update({found.part: found for found in self.catalog.payloads(blob.id)})
            if name not in parts:
                raise PayloadMissingError(f"{blob.ref} has no attached payload {name!r}")
            if name.startswith("sha256:") and parts[name].digest != name:
                raise _mixed_up(f"{blob.ref} ({name})")
            return self._reader(parts[name], f"{blob.ref} ({name})", part)

        return self._reader(payload, blob.ref, part, filename=blob.filename)

    def _reader(
        self, payload: Payload, what: str, part: Any, *, filename: str = ""
    ) -> PayloadReader:
        return PayloadReader(
            payload,
            self.storage,
            self.verifier,
            what=what,
            filename=filename,
            parts=part,
            report=self._suspect,
            is_foreign=not self.trust.is_settled,
        )

    def load(self, record: Record, *, mmap: bool = False, is_code: bool = False) -> Any:
        """Return the value of a version, verified.

        Args:
            record: The version.
            mmap: Return the value over the mapped file.
            is_code: The caller unpickles the value, whatever its format: it is let through as
                pickles are.

        Raises:
            PayloadError: Missing, damaged, or a pickle that nothing vouches for.
            SerializationError: This process cannot build the value.
        """
        serializer = serializers.by_id(record.blob.serializer)
        is_open = (serializer.is_pickle or is_code) and self.trust.admit(record.blob)
        reader = self.reader(record)
        if is_open:  # others can write where the bytes are
            reader = reader.sealed(record.blob.digest)
        return serializer.view(reader) if mmap else serializer.load(reader)

    def check_trust(self, blob: Blob) -> None:
        """Refuse a version that `load` would refuse for want of trust; no payload is read.

        Raises:
            PayloadUnsafeError: A pickle that nothing vouches for.
        """
        if serializers.by_id(blob.serializer).is_pickle:
            self.trust.admit(blob)

    def _suspect(self, payload: Payload) -> None:
        """Have the next put of these bytes write them anew: that is how a store heals."""
        with best_effort("Marking a damaged payload"):
            self.catalog.mark(payload.generation, "suspect")


def _check(request: PutRequest, filename: str) -> None:
    """Refuse what the types of the keywords rule out, before any I/O."""
    if problem := _filename_problem(_text(filename, "filename")):
        raise InvalidInputError(
            f"Invalid filename {filename!r}: {problem}",
            hint="A filename is one name without a path; every reader makes a file of it",
        )
    expected = request.expect_version
    if expected is not None and (type(expected) is not int or expected < 0):
        raise InvalidInputError(f"expect_version is a version number, not {expected!r}")
    if isinstance(request.parents, str | Ref | Blob):
        raise InvalidInputError(
            "parents is a list of references", hint=f"Write parents=[{str(request.parents)!r}]"
        )
    if request.run is not None and not isinstance(request.run, Run):
        raise InvalidInputError(f"run is a flowblob.Run, not {type(request.run).__name__}")


def _filename_problem(name: str) -> str:
    """Say why no file can bear this name; empty if one can."""
    if "/" in name:
        return "it is a path"
    if len(name.encode()) > _TEXT_LIMIT:  # NAME_MAX of every file system that we know
        return f"it has more than {_TEXT_LIMIT} bytes"
    return path_problem(name) if name else ""


def own_payload(blob: Blob, payload: Payload | None) -> Payload:
    """Return the main payload that the catalog has for a version, if it can be that.

    Raises:
        PayloadMissingError: It has none.
        PayloadCorruptError: It is another version's, and sound, so that no checksum would tell.
    """
    if payload is None and blob.digest and not blob.external:
        raise PayloadMissingError(f"The catalog has lost the payload of {blob.ref}", hint=_RESTORE)
    if payload is None:
        where = f"; it lives at {blob.external}" if blob.external else ""
        raise PayloadMissingError(f"{blob.ref} holds no payload{where}")
    if (payload.digest, payload.checksum) != (blob.digest, blob.checksum):
        raise _mixed_up(blob.ref)
    return payload


def _mixed_up(what: str) -> PayloadCorruptError:
    return PayloadCorruptError(
        f"The catalog names other bytes for {what} than were stored there", hint=_RESTORE
    )


def _is_file(chosen: Serializer) -> bool:
    return chosen.id in ("file", "tree")


def _media_type(chosen: Serializer, filename: str) -> str:
    if chosen.id != "file":
        return chosen.media_type
    import mimetypes

    return mimetypes.guess_type(filename)[0] or chosen.media_type


def _text(text: str, what: str) -> str:
    if not isinstance(text, str) or len(text) > _TEXT_LIMIT or "\x00" in text:
        raise InvalidInputError(
            f"Invalid {what} {text!r}", hint=f"Text of at most {_TEXT_LIMIT} characters"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"The {what} {text!r} cannot be written as UTF-8") from error
    return text


def _partitions(partitions: Mapping[str, str] | None) -> dict[str, str]:
    for name, value in (partitions or {}).items():
        if not isinstance(name, str) or not name or not isinstance(value, str):
            raise InvalidInputError(
                f"Invalid partition {name!r}: {value!r}", hint="Partitions map text to text"
            )
        _text(name, "partition name")
        _text(value, "partition value")
    return dict(partitions or {})


def _preview(chosen: Serializer, value: Any) -> str:
    if value is None or isinstance(value, File):
        return ""
    text = ""
    with best_effort("Making a preview"):
        text = json.dumps(chosen.describe(value), ensure_ascii=True, allow_nan=True)
    return text if len(text) <= _PREVIEW_BYTES else ""


def default_key(*segments: str) -> str:
    """Return a key of these segments, whatever text they are: `<flow>/<task>` and the like."""
    return "/".join(quote_segment(segment) for segment in segments if segment)
