"""Prefect's result store for a task under the FLOWBLOB policy: values go to the store as they are.

The policy puts it in the place of the task's own result store when it computes the key. The engine
then asks it, by public methods only, whether the result exists, reads it, makes a record and
persists that; Prefect's own record holds no value but a handle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from prefect.results import (  # type: ignore[attr-defined]  # they have no other public home
    ResultRecord,
    ResultRecordMetadata,
    ResultStore,
)
from pydantic import PrivateAttr

from flowblob.pausing import sleep_through, wait_through
from flowblob_prefect.locks import FlowblobLockManager
from flowblob_prefect.serializers import FlowblobSerializer

if TYPE_CHECKING:
    from prefect.transactions import IsolationLevel
    from prefect.types import DateTime

    from flowblob_prefect.blocks import FlowblobStorage
    from flowblob_prefect.calls import Call


class FlowblobResults(ResultStore):
    """The results of one task try; any other key is the business of Prefect's own methods."""

    _plain: ResultStore = PrivateAttr()
    _storage: FlowblobStorage = PrivateAttr()
    _call: Call = PrivateAttr()

    @classmethod
    def over(cls, plain: ResultStore, storage: FlowblobStorage, call: Call) -> FlowblobResults:
        """Return a store in the place of `plain`, whose result storage is `storage`."""
        fields = {name: getattr(plain, name) for name in ResultStore.model_fields}
        made = cls.model_construct(**fields)
        made._plain, made._storage, made._call = plain, storage, call
        return made

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        # Prefect copies the store for what runs inside the task: that has a result of its own.
        return self._plain.model_copy(update=update, deep=deep)  # type: ignore[return-value]

    # ------------------------------------------------------------ before the function

    def supports_isolation_level(self, level: IsolationLevel) -> bool:
        return self._plain.supports_isolation_level(level)

    def acquire_lock(
        self, key: str, holder: str | None = None, timeout: float | None = None
    ) -> bool:
        if not self._reserves(key):
            return super().acquire_lock(key, holder, timeout)
        try:
            sleep_through(self._call.reserving())
        except BaseException:  # the task's timeout: the engine releases only what it has begun
            self._call.release()
            raise
        self._call.enter_refresh()
        return True

    async def aacquire_lock(
        self, key: str, holder: str | None = None, timeout: float | None = None
    ) -> bool:
        if not self._reserves(key):
            return await super().aacquire_lock(key, holder, timeout)
        try:
            await wait_through(self._call.reserving())
        except BaseException:  # the task was cancelled; its step goes on in a thread
            self._call.abandon()
            raise
        self._call.enter_refresh()
        return True

    def release_lock(self, key: str, holder: str | None = None) -> None:
        if self._is_own(key):
            self._call.release()
        if not self._reserves(key):
            super().release_lock(key, holder)

    def is_locked(self, key: str) -> bool:
        return not self._reserves(key) and super().is_locked(key)

    def is_lock_holder(self, key: str, holder: str | None = None) -> bool:
        # The commit is fenced by the reservation's token, whatever is answered here.
        return self._reserves(key) or super().is_lock_holder(key, holder)

    def exists(self, key: str) -> bool:
        if not self._is_own(key):
            return super().exists(key)
        found = self._call.find()
        if not found:
            self._call.enter()
        return found

    async def aexists(self, key: str) -> bool:
        if not self._is_own(key):
            return await super().aexists(key)
        found = await asyncio.to_thread(self._call.find)
        if not found:
            self._call.enter()  # not in the thread, whose context ends with it
        return found

    def read(self, key: str, holder: str | None = None) -> ResultRecord[Any]:
        if not self._is_own(key):
            return super().read(key, holder)
        record = self._record(self._call.take())
        record.mark_persisted()
        return record

    async def aread(self, key: str, holder: str | None = None) -> ResultRecord[Any]:
        if not self._is_own(key):
            return await super().aread(key, holder)
        record = self._record(await asyncio.to_thread(self._call.take))
        record.mark_persisted()
        return record

    # ------------------------------------------------------------ after the function

    def create_result_record(
        self, obj: Any, key: str | None = None, expiration: DateTime | None = None
    ) -> ResultRecord[Any]:
        if key is None or not self._is_own(key):
            return super().create_result_record(obj, key, expiration)
        # No expiration: the entry has it, and the engine would compare it with this clock.
        return self._record(obj)

    def persist_result_record(
        self, result_record: ResultRecord[Any], holder: str | None = None
    ) -> None:
        if not self._is_own(result_record.metadata.storage_key):
            super().persist_result_record(result_record, holder)
            return
        with self._storage.writing(self._call.storage_key):
            self._call.keep(result_record.result)
            result_record.mark_persisted()

    async def apersist_result_record(
        self, result_record: ResultRecord[Any], holder: str | None = None
    ) -> None:
        if self._is_own(result_record.metadata.storage_key):
            await asyncio.to_thread(self.persist_result_record, result_record)
        else:
            await super().apersist_result_record(result_record, holder)

    def _record(self, value: Any) -> ResultRecord[Any]:
        metadata = ResultRecordMetadata(
            storage_key=self._call.storage_key,
            serializer=FlowblobSerializer(),
            storage_block_id=self.result_storage_block_id,
        )
        return ResultRecord(result=value, metadata=metadata)

    def _is_own(self, key: str | None) -> bool:
        return key == self._call.storage_key

    def _reserves(self, key: str) -> bool:
        """Whether single flight is ours for this key: users may bring a lock manager of theirs."""
        return self._is_own(key) and isinstance(self.lock_manager, FlowblobLockManager)
