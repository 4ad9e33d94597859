"""The sensor that waits for a version, in a worker slot or in the triggerer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import TaskDeferred

from flowblob_airflow.stores import DEFAULT_CONN_ID
from flowblob_airflow.triggers import BlobTrigger, look

if TYPE_CHECKING:
    from airflow.sdk import Context


class BlobSensor(BaseSensorOperator):
    """Wait until a reference means something, and push what it means.

    Args:
        ref: What to wait for: `key`, `key@3`, `key@prod`, … (templated)
        newer_than: Only a version greater than this one counts. (templated)
        deferrable: Wait in the triggerer instead of a worker slot.
        flowblob_conn_id: The connection of the store. (templated)

    Returns:
        The reference of the version that was found, `key@version`.

    Example:
        ```python
        BlobSensor(task_id="wait", ref="models/churn@prod", deferrable=True)
        ```
    """

    template_fields: Sequence[str] = ("ref", "newer_than", "flowblob_conn_id")

    def __init__(
        self,
        *,
        ref: str,
        newer_than: int | str | None = None,
        deferrable: bool | None = None,
        flowblob_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ref = ref
        self.newer_than = newer_than
        self.flowblob_conn_id = flowblob_conn_id
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False)
            if deferrable is None
            else deferrable
        )

    def poke(self, context: Context) -> PokeReturnValue:
        found = look(self.ref, newer_than=self._newer_than, conn_id=self.flowblob_conn_id)
        return PokeReturnValue(found is not None, found and found["ref"])

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        # One look first: what is already there needs no triggerer.
        if found := self.poke(context):
            return found.xcom_value
        trigger = BlobTrigger(
            ref=self.ref,
            newer_than=self._newer_than,
            poll_interval=self.poke_interval,
            flowblob_conn_id=self.flowblob_conn_id,
        )
        timeout = timedelta(seconds=self.timeout)
        raise TaskDeferred(trigger=trigger, method_name="execute_complete", timeout=timeout)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str:
        """Push what the trigger has found."""
        self.log.info("%s is there", event["ref"])
        return str(event["ref"])

    @property
    def _newer_than(self) -> int | None:
        # A rendered template is text.
        return None if self.newer_than in (None, "", "None") else int(str(self.newer_than))
