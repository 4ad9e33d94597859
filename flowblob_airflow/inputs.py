"""Arguments of cached tasks arrive lazily: the key needs their digests only, a hit no payload.

Airflow resolves `XComArg` arguments while it renders a task's fields. Where such an argument is one
whole XCom of a cached task, our XCom backend hands out an `Input` in place of the value; everything
else that reads an XCom (Jinja templates, `xcom_pull` in a function, `expand`) gets the value.

Airflow imports the XCom backend, and so this module, while its own modules are half imported:
nothing of Airflow may be imported here at the top.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

from flowblob.lazy import Lazy
from flowblob_airflow import runs

_lazily: ContextVar[bool] = ContextVar("flowblob_airflow_lazily", default=False)
#: From our backend up to `XComArg.resolve` there are four frames in Airflow 3.3.
_FRAMES = 10
#: Formats of arrays and frames.
_HEAVY = ("npy", "arrow", "pandas", "polars", "parquet")


class Input(Lazy):
    """An argument that its task has not asked for yet; Rendered Templates shows it by name.

    It is a class of its own because a lazy value that the user put into an XCom stays what it is.
    """

    __slots__ = ()


def is_wanted_lazily() -> bool:
    """Say whether the XCom that is being read now is a whole argument of a cached task."""
    if _lazily.get():
        return True
    context = runs.current_context()
    task = context.get("task") if context else None
    return task is not None and is_cached_task(task) and _is_rendered_argument(sys._getframe())


def is_cached_task(task: Any) -> bool:
    """Say whether a task goes through the cache; a mapped task not before it is expanded."""
    if getattr(task, "flowblob_cache", None) is not None:
        return True
    function = None if task.is_mapped else getattr(task, "python_callable", None)
    cached = sys.modules.get("flowblob.cached")
    return function is not None and cached is not None and bool(cached.is_cached(function))


def _is_rendered_argument(frame: FrameType | None) -> bool:
    # Airflow tells a backend nothing about who reads. What must be told apart is `f(x)` from
    # `f("{{ ti.xcom_pull(...) }}")` and `f(x.map(g))`, which need the value at once; the caller of
    # `resolve` says it. Should Airflow's inner names change, inputs are merely loaded eagerly.
    from airflow.sdk.definitions._internal.templater import Templater
    from airflow.sdk.definitions.xcom_arg import PlainXComArg

    for _ in range(_FRAMES):
        if frame is None:
            return False
        if frame.f_code is PlainXComArg.resolve.__code__:
            caller = frame.f_back
            return caller is not None and caller.f_code is Templater.render_template.__code__
        frame = frame.f_back
    return False


@contextmanager
def lazily() -> Iterator[None]:
    """Have all XComs that are read inside the block handed out as inputs."""
    token = _lazily.set(True)
    try:
        yield
    finally:
        _lazily.reset(token)


def settled(value: Any) -> Any:
    """Return an argument in which the outputs of mapped tasks are lists.

    A lazy sequence asks the API server for every item; one slice is one call, and a list is what
    the same function gets, and what its key is made of, in any other host.
    """
    if type(value).__module__.startswith("airflow.sdk.") and isinstance(value, Sequence):
        with lazily():
            return [settled(item) for item in (value[:] if _is_mapped_output(value) else value)]
    return _rebuilt(value, settled)


def _is_mapped_output(value: Any) -> bool:
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    return isinstance(value, LazyXComSequence)


def portable(value: Any) -> Any:
    """Return an argument whose key is the same as with eager values, as another host has them.

    A whole argument counts by its value's digest, lazy or not. Inside of a collection only arrays
    and frames do, so everything else there is loaded.
    """
    return value if isinstance(value, Input) else _without_light_inputs(value)


def _without_light_inputs(value: Any) -> Any:
    if not isinstance(value, Input):
        return _rebuilt(value, _without_light_inputs)
    return value if value.blob.serializer.startswith(_HEAVY) else value.load()


def loaded(value: Any) -> Any:
    """Return arguments in which every input is replaced by its value, for the computation."""
    return value.load() if isinstance(value, Input) else _rebuilt(value, loaded)


def _rebuilt(value: Any, change: Any) -> Any:
    """Return a built-in collection with its items changed, and itself where none is."""
    if type(value) is dict:
        items = {key: change(inner) for key, inner in value.items()}
        return items if any(items[key] is not value[key] for key in value) else value
    if type(value) in (list, tuple):
        changed = [change(inner) for inner in value]
        same = all(new is old for new, old in zip(changed, value, strict=True))
        return value if same else type(value)(changed)
    return value
