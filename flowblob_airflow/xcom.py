"""The XCom backend: small exact values as before, all others in flowblob, by readable reference.

Only workers run a backend. Airflow's UI, API and scheduler read what stands in the database, so the
reference is what people see, and what the scheduler needs is never replaced by one.

Airflow imports this module while its own are half imported; only leaves of it may be imported here.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.configuration import conf

from flowblob.lazy import Lazy
from flowblob_airflow import references, runs
from flowblob_airflow.exact import is_exact
from flowblob_airflow.inputs import Input, is_wanted_lazily, settled
from flowblob_airflow.stores import SECTION, store_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowblob import Blob, Store

_INLINE_BYTES = 1024
#: The scheduler reads it without any backend, to skip the tasks of a cleared branch again.
_SKIP_KEY = "skipmixin_key"


class FlowblobXCom(BaseXCom):
    """Keep task outputs as versions of `<dag>/<task>`, linked to the try that made them.

    A value stays in Airflow's database, exactly as with Airflow's own backend, if it is small and
    JSON gives it back as it is. Everything else is stored, of any type that flowblob stores, and
    the database gets a reference. Reading verifies the payload and raises if it is missing or
    damaged; a task never gets the reference in place of the value.

    Example:
        ```bash
        export AIRFLOW__CORE__XCOM_BACKEND=flowblob_airflow.xcom.FlowblobXCom
        ```
    """

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """Return what Airflow's database gets for a pushed value.

        Raises:
            SerializationError: The value cannot be stored.
            UnavailableError: The store did not answer; the task fails, nothing is lost silently.
        """
        if is_control(key):
            return BaseXCom.serialize_value(value)
        if isinstance(value, Lazy):
            # What a cached task returns, or what a task read lazily: it is stored already.
            return references.reference_to(store_for(), value.blob)
        value = settled(value)
        if is_inline(value):
            return BaseXCom.serialize_value(value)
        if (blob := _Returned.take(value, key)) is not None:
            return references.reference_to(store_for(), blob)
        run = runs.run_for(dag_id, run_id, task_id, map_index)
        where = None
        if dag_id and task_id:
            side = key if key not in (None, BaseXCom.XCOM_RETURN_KEY) else None
            where = references.output_key(dag_id, task_id, map_index, xcom=side)
        store = store_for()
        return references.reference_to(store, store.put(where, value, run=run))

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Return the value of a row; other rows are read as Airflow reads them.

        Raises:
            NotFoundError: The version was deleted, or the reference was tampered with.
            PayloadError: The payload is missing or damaged.
        """
        if not references.is_reference(result.value):
            return BaseXCom.deserialize_value(result)
        store = store_for()
        blob = references.resolve(store, result.value)
        return Input(store, blob) if is_wanted_lazily() else store.get(blob)

    @classmethod
    def purge(cls, xcom: Any, *args: Any) -> None:
        """Keep the version: a row that goes away is not the end of a history.

        Airflow calls this before every try, and fails the task if it raises.
        """

    @classmethod
    def store_value(cls, coordinate: Any, key: str, value: Any) -> Any:
        """Do what `serialize_value` does, as Airflow 3.4 asks for it."""
        ti = runs.current_ti()
        is_mine = ti is not None and str(ti.id) == str(coordinate.ti_id)
        return cls.serialize_value(
            value,
            key=key,
            task_id=coordinate.task_id,
            dag_id=coordinate.dag_id,
            run_id=coordinate.run_id,
            map_index=ti.map_index if ti is not None and is_mine else None,
        )

    @classmethod
    def load_value(cls, stored: Any) -> Any:
        """Do what `deserialize_value` does, as Airflow 3.4 asks for it."""
        return cls.deserialize_value(_Row(stored))


class _Returned:
    """The value that a cached task has just returned, and the version that holds it.

    Where Airflow needs the value itself, it pushes that very object next; it is stored already.
    """

    last: tuple[Any, Blob] | None = None

    @classmethod
    def take(cls, value: Any, key: str | None) -> Blob | None:
        """Return the version that holds this object, once."""
        if key != BaseXCom.XCOM_RETURN_KEY or cls.last is None or cls.last[0] is not value:
            return None
        blob, cls.last = cls.last[1], None
        return blob


class _Row:
    """A raw value in the shape that `deserialize_value` gets."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def is_inline(value: Any) -> bool:
    """Say whether a value stays in Airflow's database."""
    return is_exact(value, _inline_bytes())


def _inline_bytes() -> int:
    return int(conf.getint(SECTION, "xcom_inline_bytes", fallback=_INLINE_BYTES))


def is_backend() -> bool:
    """Say whether this process pushes XComs through flowblob."""
    from airflow.sdk.execution_time.xcom import XCom

    return isinstance(XCom, type) and issubclass(XCom, FlowblobXCom)


def for_xcom(
    blob: Blob, task: Any, *, store: Store, load: Callable[[Blob], Any] | None = None
) -> Any:
    """Return what a task returns in place of a stored value, so that no payload moves needlessly.

    A lazy value becomes a reference to the very version when it is pushed. The value itself is
    needed where Airflow looks into it, and where it stays inline.

    Args:
        blob: The version.
        task: The task.
        store: The store of the version.
        load: Loads it where the value is needed. If not given, that is no input of the run: a hit
            is a use already.
    """
    load = load or partial(_served, store)
    if _needs_value(task, store):
        return _returned(load(blob), blob, task, store)
    lazy = Lazy(store, blob)
    if blob.size > 2 * _inline_bytes() or not task.do_xcom_push:
        return lazy
    value = load(blob)
    return value if is_inline(value) else lazy


def _served(store: Store, blob: Blob) -> Any:
    from flowblob import Ref

    return store.objects.load(store.objects.resolve(Ref(id=blob.id), payload=True))


def for_computed(value: Any, blob: Blob, task: Any, *, store: Store) -> Any:
    """Return what a task returns for a value that it has just stored; nothing is stored twice."""
    if _needs_value(task, store):
        return _returned(value, blob, task, store)
    return value if is_inline(value) else Lazy(store, blob)


def _returned(value: Any, blob: Blob, task: Any, store: Store) -> Any:
    # A hook of the user's runs before the push and may change the object.
    is_final = task._post_execute_hook is None and task.do_xcom_push
    is_mine = is_backend() and store.store_id == store_for().store_id
    _Returned.last = (value, blob) if is_final and is_mine else None
    return value


def forget_returned() -> None:
    """Let go of the last value; the task is over."""
    _Returned.last = None


def _needs_value(task: Any, store: Store) -> bool:
    """Say whether Airflow, or another store than the backend's, needs the value itself."""
    if not is_backend() or store.store_id != store_for().store_id:
        return True
    if task._post_execute_hook is not None:
        return True
    if not task.do_xcom_push:
        return False
    return bool(task.multiple_outputs) or next(task.iter_mapped_dependants(), None) is not None


def is_control(key: str | None) -> bool:
    """Say whether Airflow itself reads an XCom of this name, so that it is never a reference."""
    return key is not None and (key == _SKIP_KEY or key.startswith("_"))
