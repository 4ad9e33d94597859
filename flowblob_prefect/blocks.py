"""The block: result storage for Prefect, and a typed store inside flows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, Unpack
from uuid import UUID

from prefect.context import TaskRunContext
from prefect.exceptions import SerializationError as PrefectSerializationError
from prefect.filesystems import WritableFileSystem
from pydantic import Field, SecretStr

from flowblob.errors import FlowblobError, SerializationError, UnavailableError
from flowblob.model import Blob, Ref
from flowblob.store import PutOptions, Store
from flowblob_prefect import records, runs, stores, writes
from flowblob_prefect.calls import run_logger


class FlowblobStorage(WritableFileSystem):
    """Keep results as versioned blobs, linked to the runs that made them and reused by later ones.

    Attributes:
        url: Where the store is: a folder or a URL. Empty means `FLOWBLOB_URL` where the flow runs,
            else the user's own store.
        on_write_error: What happens to a task whose result cannot be stored: `continue` logs a
            warning and leaves the task as it is, `raise` rolls it back.

    Example:
        ```python
        from flowblob_prefect import FLOWBLOB, FlowblobStorage

        FlowblobStorage(url="/srv/flowblob").save("default")

        @task(cache_policy=FLOWBLOB)
        def features(day): ...

        @flow(result_storage="flowblob-storage/default")
        def daily():
            return features("2026-11-21")
        ```
    """

    _block_type_name: ClassVar[str | None] = "Flowblob Storage"
    _block_type_slug: ClassVar[str | None] = "flowblob-storage"

    url: SecretStr = Field(
        default=SecretStr(""),
        title="Store URL",
        description="A folder or URL. Empty: FLOWBLOB_URL where flows run, else your own store.",
    )
    on_write_error: Literal["continue", "raise"] = Field(
        default="continue",
        title="When a result cannot be stored",
        description="continue: log a warning, the task stays completed. raise: roll the task back.",
    )

    def block_initialization(self) -> None:
        # A runner that crosses processes rebuilds the block from a dict, in which Prefect leaves
        # the id among the extras: without it the block counts as unsaved, and the state of the run
        # does not say where its result is.
        extra = self.model_extra or {}
        if self._block_document_id is None and (found := extra.get("_block_document_id")):
            self._block_document_id = found if isinstance(found, UUID) else UUID(found)
            self._block_document_name = extra.get("_block_document_name")

    def _resolve_path(self, path: str) -> str | None:
        # Of an unsaved block Prefect asks for the path, and without an answer takes it to be below
        # the working directory.
        return path or None

    # ------------------------------------------------------------ inside flows

    @property
    def store(self) -> Store:
        """The store, opened once per process; everything a store does can be done with it."""
        return stores.store_for(self.url.get_secret_value())

    def put(self, key: str, value: Any, **options: Unpack[PutOptions]) -> Blob:
        """Store a value as the newest version of a key, linked to the current run.

        Args:
            key: The name.
            value: Anything that the store takes; see `Store.put`.
            **options: As for `Store.put`.

        Raises:
            SerializationError: The value cannot be stored.
            UnavailableError: The store does not answer.
        """
        return self.store.put(key, value, **options)

    async def aput(self, key: str, value: Any, **options: Unpack[PutOptions]) -> Blob:
        """Store a value without blocking the event loop; see `put`."""
        return await asyncio.to_thread(self.put, key, value, **options)

    def get(self, ref: str | Ref | Blob, *, lazy: bool = False) -> Any:
        """Return the value of a version; the read is linked to the current run.

        Args:
            ref: `key`, `key@3`, `key@prod` and the other forms of a reference.
            lazy: Return a `Lazy` that loads when it is asked.

        Raises:
            NotFoundError: The reference names nothing.
            PayloadError: The payload is missing or damaged.
        """
        return self.store.get(ref, lazy=lazy)

    async def aget(self, ref: str | Ref | Blob, *, lazy: bool = False) -> Any:
        """Return the value of a version without blocking the event loop; see `get`."""
        return await asyncio.to_thread(self.get, ref, lazy=lazy)

    def promote(self, ref: str | Ref | Blob, alias: str, *, expect: int | None = None) -> Blob:
        """Move an alias to a version.

        Args:
            ref: The version.
            alias: The alias, such as `prod`.
            expect: Where the alias must stand now.

        Raises:
            NotFoundError: The reference names nothing.
            VersionConflictError: The alias stands elsewhere.
        """
        return self.store.promote(ref, alias, expect=expect)

    async def apromote(
        self, ref: str | Ref | Blob, alias: str, *, expect: int | None = None
    ) -> Blob:
        """Move an alias without blocking the event loop; see `promote`."""
        return await asyncio.to_thread(self.promote, ref, alias, expect=expect)

    # ------------------------------------------------------------ what Prefect calls

    def read_path(self, path: str, _sync: bool | None = None) -> Any:
        """Return what stands under a storage key.

        Args:
            path: The storage key.
            _sync: Prefect says here whether it wants the bytes or a coroutine of them.

        Raises:
            NotFoundError: Nothing stands there.
        """
        return self._read(path) if _is_sync(_sync) else self.aread_path(path)

    async def aread_path(self, path: str) -> bytes:
        """Return what stands under a storage key; see `read_path`."""
        return await asyncio.to_thread(self._read, path)

    def write_path(self, path: str, content: bytes, _sync: bool | None = None) -> Any:
        """Keep bytes under a storage key, or the value that they hold.

        Args:
            path: The storage key.
            content: Prefect's record of a result, or any bytes.
            _sync: As for `read_path`.
        """
        return self._write(path, content) if _is_sync(_sync) else self.awrite_path(path, content)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Keep bytes under a storage key; see `write_path`."""
        await asyncio.to_thread(self._write, path, content)

    def exists(self, path: str) -> bool:
        """Say whether something stands under a storage key; reads no payload."""
        return records.Binding.find(self.store, path) is not None

    async def aexists(self, path: str) -> bool:
        """Say whether something stands under a storage key; see `exists`."""
        return await asyncio.to_thread(self.exists, path)

    def _read(self, path: str) -> bytes:
        try:
            return writes.read(self.store, path, self._block_document_id)
        except UnavailableError as error:
            # The engine takes whatever is raised here for a miss.
            run_logger().warning(
                "the store failed (this is an outage, not a miss): could not look up %s: %s",
                path, error,
            )  # fmt: skip
            raise

    def _write(self, path: str, content: bytes) -> None:
        with self.writing(path):
            writes.write(self.store, path, content)

    @contextmanager
    def writing(self, path: str) -> Iterator[None]:
        """Apply `on_write_error` to what fails inside: a finished task must not be undone by it.

        Raises:
            SerializationError: Prefect's own, after which it goes on without the result.
        """
        try:
            yield
        except SerializationError as error:
            raise PrefectSerializationError(str(error)) from error
        except FlowblobError as error:
            if self.on_write_error == "raise":
                raise
            run_logger().warning(
                "the store failed, so the result %s is not stored and the next run computes it "
                "again: %s", path, error,
            )  # fmt: skip


def _is_sync(asked: bool | None) -> bool:
    """Say whether the caller wants a value and not a coroutine."""
    if asked is not None:
        return asked
    context = runs.current_context()
    if isinstance(context, TaskRunContext):
        return not context.task.isasync
    if context is not None and context.flow is not None:
        return not context.flow.isasync
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return True
    return False
