"""Operators for stores, in DAGs that name their objects themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from flowblob.errors import InvalidInputError
from flowblob_airflow.hooks import FlowblobHook
from flowblob_airflow.stores import DEFAULT_CONN_ID
from flowblob_airflow.xcom import for_xcom

if TYPE_CHECKING:
    from airflow.sdk import Context

    from flowblob import Store

_NOT_GIVEN: Any = "<not given>"


class _FlowblobOperator(BaseOperator):
    """What the operators share: the connection.

    Args:
        flowblob_conn_id: The connection of the store.
    """

    ui_color = "#e8f0ea"

    def __init__(self, *, flowblob_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flowblob_conn_id = flowblob_conn_id

    @property
    def store(self) -> Store:
        """The store of the connection; only a running task may ask."""
        return FlowblobHook(self.flowblob_conn_id).store


class FlowblobPutOperator(_FlowblobOperator):
    """Store a value, file or folder as the newest version of a key; push its reference.

    Unchanged content makes no new version. Exactly one of `value` and `path` is given.

    Args:
        key: The name. (templated)
        value: What to store, such as another task's output. (templated)
        path: A file or folder to store instead. (templated)
        kind: Free category. (templated)
        metadata: JSON-able facts of this version. (templated)
        tags: Labels. (templated)
        alias: An alias to move to the version. (templated)

    Returns:
        The reference, `key@version`.

    Example:
        ```python
        put = FlowblobPutOperator(
            task_id="put", key="reports/{{ ds }}", value=report(), tags={"team": "growth"}
        )
        ```
    """

    template_fields: Sequence[str] = (
        "key",
        "value",
        "path",
        "kind",
        "metadata",
        "tags",
        "alias",
        "flowblob_conn_id",
    )

    def __init__(
        self,
        *,
        key: str,
        value: Any = _NOT_GIVEN,
        path: str | None = None,
        kind: str = "",
        metadata: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        alias: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.key = key
        self.value = value
        self.path = path
        self.kind = kind
        self.metadata = metadata
        self.tags = tags
        self.alias = alias

    def execute(self, context: Context) -> str:
        has_value = not (isinstance(self.value, str) and self.value == _NOT_GIVEN)
        if has_value == (self.path is not None):
            raise InvalidInputError("Give the operator either a value or a path")
        options: dict[str, Any] = {
            "kind": self.kind,
            "metadata": self.metadata,
            "tags": self.tags,
            "alias": self.alias or None,
        }
        if self.path is not None:
            blob = self.store.upload(self.key, self.path, **options)
        else:
            blob = self.store.put(self.key, self.value, **options)
        self.log.info("Stored %s, %d bytes, %s", blob.ref, blob.size, blob.digest)
        return blob.ref


class FlowblobGetOperator(_FlowblobOperator):
    """Read a version: push its value, or write it to a file or folder.

    Args:
        ref: `key`, `key@3`, `key@prod`, … (templated)
        path: Where to write it; its value is pushed if not given. (templated)

    Returns:
        The value; with the flowblob XCom backend a large one moves no bytes here. With `path`, what
        was written.
    """

    template_fields: Sequence[str] = ("ref", "path", "flowblob_conn_id")

    def __init__(self, *, ref: str, path: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ref = ref
        self.path = path

    def execute(self, context: Context) -> Any:
        store = self.store
        if self.path is not None:
            return str(store.download(self.ref, self.path))
        blob = store.resolve(self.ref)
        self.log.info("Reading %s, %d bytes, %s", blob.ref, blob.size, blob.digest)
        return for_xcom(blob, self, store=store, load=store.load)


class FlowblobTagOperator(_FlowblobOperator):
    """Merge tags into a version, in place.

    Args:
        ref: The version. (templated)
        tags: Names and values to set. (templated)
        remove: Names to take away. (templated)

    Returns:
        The reference, `key@version`.
    """

    template_fields: Sequence[str] = ("ref", "tags", "remove", "flowblob_conn_id")

    def __init__(
        self,
        *,
        ref: str,
        tags: Mapping[str, Any] | None = None,
        remove: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ref = ref
        self.tags = tags
        self.remove = remove

    def execute(self, context: Context) -> str:
        return self.store.tag(
            self.ref, **{**dict.fromkeys(self.remove), **dict(self.tags or {})}
        ).ref


class FlowblobPromoteOperator(_FlowblobOperator):
    """Move an alias to a version, by compare-and-swap.

    Args:
        ref: The version. (templated)
        alias: The alias, such as `prod`. (templated)
        expect: The version where the alias must be now; anywhere if not given. (templated)
        immutable: Whether the alias may never move again.

    Returns:
        The reference, `key@version`.
    """

    template_fields: Sequence[str] = ("ref", "alias", "expect", "flowblob_conn_id")

    def __init__(
        self,
        *,
        ref: str,
        alias: str,
        expect: int | str | None = None,
        immutable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.ref = ref
        self.alias = alias
        self.expect = expect
        self.immutable = immutable

    def execute(self, context: Context) -> str:
        # A rendered template is text.
        expect = None if self.expect in (None, "", "None") else int(str(self.expect))
        blob = self.store.promote(self.ref, self.alias, expect=expect, immutable=self.immutable)
        self.log.info("%s is now %s", f"{blob.key}@{self.alias}", blob.ref)
        return blob.ref
