"""put, get, cat: bytes in and out. Nothing here loads a value, so nothing here can run one."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from flowblob.cli.commands import Command
from flowblob.cli.filters import parse_tag
from flowblob.cli.listing import BLOB_COLUMNS
from flowblob.cli.progress import Transfer
from flowblob.cli.records import blob_record
from flowblob.cli.refs import complete_key, complete_ref
from flowblob.cli.session import Session, current_session
from flowblob.errors import AlreadyExistsError, FlowblobError, InvalidInputError
from flowblob.wording import duration, size

if TYPE_CHECKING:
    from flowblob.model import Blob
    from flowblob.store import Store

_BLOCK = 1 << 20
_JSON_LIMIT = 64 << 20
_TREE = "tree"


@click.command(
    cls=Command,
    examples=[
        ("flowblob put model.safetensors models/churn --alias champion", ""),
        ("pg_dump db | flowblob put - backups/db --filename db.sql", ""),
    ],
)
@click.argument("source", metavar="PATH|-", type=click.Path(exists=True, allow_dash=True))
@click.argument("key", metavar="KEY", shell_complete=complete_key)
@click.option("--kind", default="", help="Category, such as dataset or ml_model.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Tag; k:=3 for a number.")
@click.option("--meta", metavar="JSON", help="Metadata of this version, a JSON object.")
@click.option("--alias", help="Point this alias at the new version.")
@click.option("--media-type", default="", help="Media type, if the name does not tell it.")
@click.option("--filename", default="", help="File name to keep, for standard input.")
@click.option(
    "--expect-version", type=click.IntRange(min=0), metavar="N", help="Newest version you know of."
)
@click.option("--create", is_flag=True, help="Refuse if the key exists.")
@click.option("--new-version", is_flag=True, help="Append a version even if nothing changed.")
@click.pass_context
def put(ctx: click.Context, /, source: str, key: str, tags: tuple[str, ...], **rest: Any) -> None:
    """Store a file, a folder or standard input (-) as the newest version of KEY.

    Unchanged content makes no new version.
    """
    session = current_session(ctx)
    options = {name: value for name, value in rest.items() if value not in (None, "")}
    options["tags"] = dict(map(parse_tag, tags))
    options["metadata"] = _metadata(options.pop("meta", "{}"))
    store = session.store(make=True)
    before = _newest(store, key)
    start = time.monotonic()
    with _opened(source) as data, Transfer(session, "storing", _size_of(source)) as transfer:
        blob = store.upload(key, data, progress=transfer, **options)
    _tell_put(session, blob, is_new=blob.id != before, seconds=time.monotonic() - start)


@contextmanager
def _opened(source: str) -> Iterator[str | BinaryIO]:
    path = Path(source)
    if source == "-":
        yield sys.stdin.buffer
    elif path.is_file() or path.is_dir():
        yield source
    else:  # a named pipe or `<(command)`: a stream without a size
        with path.open("rb") as stream:
            yield stream


def _metadata(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as error:
        raise InvalidInputError(
            f"--meta is not JSON: {error}", hint="""Write '{"rows": 3}'"""
        ) from error
    if not isinstance(read, dict):
        raise InvalidInputError("--meta is not a JSON object", hint="""Write '{"rows": 3}'""")
    return read


def _newest(store: Store, key: str) -> str:
    try:
        return store.head(key).id
    except LookupError:
        return ""


def _size_of(source: str) -> int | None:
    if source == "-":
        return None
    path = Path(source)
    if path.is_file():
        return path.stat().st_size
    if not path.is_dir():
        return None  # a pipe or a device
    return sum(found.stat().st_size for found in path.rglob("*") if found.is_file())


def _tell_put(session: Session, blob: Blob, *, is_new: bool, seconds: float) -> None:
    if session.json:
        session.document(blob=blob_record(blob), is_new=is_new, seconds=round(seconds, 3))
    elif session.is_human:
        word = session.style(
            "stored" if is_new else "unchanged", fg="green" if is_new else "yellow"
        )
        took = f"in {duration(seconds)}" if is_new else "nothing stored"
        ref = session.style(blob.ref, bold=True)
        aliases = "".join(f"  @{session.style(alias)}" for alias in blob.aliases)
        session.say(f"{word} {ref}  {size(blob.size)}  {took}{aliases}")
        session.say(session.style(f"  {blob.digest}", dim=True))
    else:
        _one(session, blob)


def _one(session: Session, blob: Blob) -> None:
    session.listing(
        "blobs", [blob], BLOB_COLUMNS, record=blob_record, address=lambda found: found.ref
    )


@click.command(cls=Command)
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    type=click.Path(allow_dash=True),
    default=".",
    help="File or folder to write; - is stdout. Default: here, under its own name.",
)
@click.option("--force", is_flag=True, help="Replace a file that exists.")
@click.pass_context
def get(ctx: click.Context, /, ref: str, output: str, *, force: bool) -> None:
    """Write the payload of a version to a file or folder, as it was stored.

    Bytes are verified before they are written, and a file appears complete or not at all. A pickled
    value is written as the pickle: load it in Python, with flowblob.Store().get(REF).
    """
    session = current_session(ctx)
    if output == "-":
        _stream(session, ref)
        return
    store = session.store()
    blob = store.resolve(ref)
    target = _target(blob, Path(output), force=force)
    with Transfer(session, "fetching", _size_to_come(blob)) as transfer:
        written = store.download(blob, target, progress=transfer)
    if session.json:
        session.document(path=str(written), blob=blob_record(blob))
    elif session.is_human:
        ref = session.style(blob.ref, bold=True)
        session.say(f"{session.style('wrote', fg='green')} {session.style(written)}  from {ref}")
    else:
        session.say(str(written))


def _size_to_come(blob: Blob) -> int | None:
    """Return how many bytes will be written; of a folder, the payload is the list of its files."""
    if blob.serializer != _TREE:
        return blob.size
    return blob.preview.get("bytes") if isinstance(blob.preview, dict) else None


def _target(blob: Blob, output: Path, *, force: bool) -> Path:
    from flowblob.transfer import safe_name

    if blob.serializer == _TREE:
        # A stored folder becomes a new folder: unpacking it over another would mix the two.
        return output / safe_name(blob) if output.is_dir() and any(output.iterdir()) else output
    target = output / safe_name(blob) if output.is_dir() else output
    if target.exists() and not force:
        raise AlreadyExistsError(
            f"{target} exists", hint=f"flowblob get {blob.ref} -o OTHER, or add --force"
        )
    return target


@click.command(cls=Command)
@click.argument("ref", metavar="REF", shell_complete=complete_ref)
@click.pass_context
def cat(ctx: click.Context, /, ref: str) -> None:
    """Write the bytes of a version to stdout, verified, and nothing else."""
    _stream(current_session(ctx), ref)


def _stream(session: Session, ref: str) -> None:
    store = session.store()
    blob = store.resolve(ref)
    if blob.serializer == _TREE:
        raise InvalidInputError(
            f"{blob.ref} is a folder, not one stream of bytes",
            hint=f"flowblob get {blob.ref} -o FOLDER",
        )
    with store.open(blob) as source:
        if session.json:
            _tell_content(session, blob, source)
            return
        block = source.read(_BLOCK)
        if sys.stdout.isatty() and _is_binary(block):
            raise FlowblobError(
                f"{blob.ref} is binary ({blob.media_type}), which would garble the terminal",
                hint=f"flowblob get {blob.ref} -o FILE",
            )
        out = sys.stdout.buffer
        while block:
            out.write(block)
            block = source.read(_BLOCK)
        out.flush()


def _is_binary(block: bytes) -> bool:
    if b"\x00" in block or b"\x1b" in block:
        return True
    try:
        block.decode()
    except UnicodeDecodeError as error:
        return len(block) < _BLOCK or error.start < len(block) - 4  # cut within a character
    return False


def _tell_content(session: Session, blob: Blob, source: BinaryIO) -> None:
    if blob.size > _JSON_LIMIT:
        raise InvalidInputError(
            f"{blob.ref} has {size(blob.size)}, too much for one JSON text",
            hint=f"flowblob get {blob.ref} -o FILE",
        )
    data = source.read()
    try:
        encoding, content = "utf-8", data.decode()
    except UnicodeDecodeError:
        encoding, content = "base64", base64.b64encode(data).decode()
    session.document(blob=blob_record(blob), encoding=encoding, content=content)
