"""Which run is current: an open `run(…)`, else what a host says, else the environment.

This module never imports an orchestrator. A host tells its run through the entry-point group
`flowblob.runs`, where the name of the entry point is the module whose presence in `sys.modules`
shows that the host is in use.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from flowblob.checks import new_id, utc_now, validate_metadata
from flowblob.environment import Watched
from flowblob.errors import InvalidInputError
from flowblob.journal import best_effort
from flowblob.model import Run

logger = logging.getLogger(__name__)

#: More than the longest name a host gives, and little enough for an index of every engine.
_TEXT_LENGTH = 300
_TEXTS = ("flow", "run_id", "task", "task_run_id", "url", "name")
_current: ContextVar[Run | None] = ContextVar("flowblob_run", default=None)
_ENVIRONMENT = "FLOWBLOB_RUN_"
_run_id = Watched(f"{_ENVIRONMENT}ID")
#: Runs that are open now, by object, and the stores that were used inside.
_open: dict[int, weakref.WeakSet[Any]] = {}


def current() -> Run | None:
    """Return the run that writes and reads now, None outside of any.

    Example:
        >>> import flowblob
        >>> with flowblob.run("nightly"):
        ...     flowblob.current_run().flow
        'nightly'
    """
    if (opened := _current.get()) is not None:
        return opened
    with best_effort("Finding the current run"):
        for provider in ask_hosts("runs"):
            told: Run | None = provider()
            if told is not None:
                return told
        return _from_environment()
    return None


@contextmanager
def active(run: Run) -> Iterator[Run]:
    """Make a run the current one inside the block, in this thread or task only."""
    token = _current.set(run)
    try:
        yield run
    finally:
        _current.reset(token)


@contextmanager
def run(name: str, *, task: str = "", run_id: str | None = None, url: str = "") -> Iterator[Run]:
    """Open a run in plain Python; what is put and read inside is linked to it.

    Args:
        name: What the run is called; stands where a flow's or DAG's name does.
        task: Name of the step, if it has steps.
        run_id: Id shared by the steps of one run; a fresh one if not given.
        url: A page about this run.

    Yields:
        The run. Small JSON-able values may be put into its `used` and `generated`; they are kept
        when the block ends, in every store that was used inside.

    Example:
        >>> import flowblob
        >>> store = flowblob.Store("memory://")
        >>> with flowblob.run("nightly") as r:
        ...     blob = store.put("numbers", [1, 2])
        ...     r.generated["count"] = 2
        >>> store.producer("numbers").flow
        'nightly'
    """
    made = run_id or new_id()
    opened = Run(
        flow=name,
        run_id=made,
        task=task,
        task_run_id=f"{made}/{task}" if task else made,
        url=url,
        started_at=utc_now(),
    )
    _open[id(opened)] = weakref.WeakSet()
    try:
        with active(opened):
            yield opened
    finally:
        for user in list(_open.pop(id(opened))):
            user.run_ended(opened)


def used(run: Run | None, user: Any) -> None:
    """Have `user.run_ended(run)` called when this run ends, if it is one that `run` opened."""
    if (users := _open.get(id(run))) is not None:
        users.add(user)


def recordable(run: Run | None) -> Run | None:
    """Return the run as the catalog can keep it; what it cannot is left out and logged.

    A name with a lone surrogate or NUL, one too long for an index, or a value that is no JSON must
    never fail the write or the batch of records that it would be linked to.
    """
    if run is None or (not run.used and not run.generated and _is_plain(run)):
        return run
    kept: dict[str, Any] = {}
    with best_effort("Linking the current run"):
        kept |= {name: _to_text(name, getattr(run, name)) for name in _TEXTS}
        kept |= {name: _json_only(name, getattr(run, name)) for name in ("used", "generated")}
    return replace(run, **kept) if "generated" in kept else None


def _is_plain(run: Run) -> bool:
    texts = (getattr(run, name) for name in _TEXTS)
    return all(
        type(text) is str and text.isascii() and "\0" not in text and len(text) <= _TEXT_LENGTH
        for text in texts
    )


def _to_text(name: str, text: Any) -> str:
    plain = str(text).replace("\0", "\\x00").encode(errors="backslashreplace").decode()
    return plain if name == "url" else plain[:_TEXT_LENGTH]


def _json_only(what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in dict(values).items():
        try:
            validate_metadata({name: value}, what=f"value {name!r} in {what}")
        except InvalidInputError as error:
            logger.warning("The run does not keep it: %s", error)
        else:
            kept[name] = value
    return kept


def ask_hosts(question: str) -> list[Callable[..., Any]]:
    """Return what each host in use answers a question with.

    Args:
        question: `runs` (which run is current), `stores` (which store it uses) or `outputs` (what
            the output of a function is called): the entry-point group `flowblob.<question>`.
    """
    return [_load(question, name) for name in _entry_points(question) if name in sys.modules]


@functools.cache
def _entry_points(question: str) -> dict[str, Any]:
    from importlib.metadata import entry_points  # slow to load, and only needed at the first look

    return {found.name: found for found in entry_points(group=f"flowblob.{question}")}


@functools.cache
def _load(question: str, name: str) -> Callable[..., Any]:
    loaded: Callable[..., Any] = _entry_points(question)[name].load()
    return loaded


def _from_environment() -> Run | None:
    """Read `FLOWBLOB_RUN_ID` and beside it `_SYSTEM`, `_FLOW`, `_TASK` and the other fields."""
    if _run_id() == (None,) or not (run_id := os.environ.get(f"{_ENVIRONMENT}ID")):
        return None

    def read(name: str, default: str = "") -> str:
        return os.environ.get(_ENVIRONMENT + name, default)

    return Run(
        system=read("SYSTEM", "python"),
        flow=read("FLOW"),
        run_id=run_id,
        task=read("TASK"),
        task_run_id=read("TASK_RUN_ID"),
        attempt=int(read("ATTEMPT", "1")),
        map_index=int(read("MAP_INDEX", "-1")),
        url=read("URL"),
    )
