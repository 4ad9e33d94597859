"""What sort of object code has reached."""

from __future__ import annotations

import collections
import contextvars
import functools
import logging
import os
import pickle
import sys
import threading
import types
from typing import Any, Final, TypeGuard

from flowblob.files import Dir, File
from flowblob.keys.origin import is_host_object, is_user_module
from flowblob.keys.syntax import COUNTS, FILLING, FILLS, Chain
from flowblob.model import Blob, Ref

MISSING: Final = object()
CYTHON_FUNCTION: Final = "cython_function_or_method"

# Where wrapper objects keep the function: Prefect, functools, Airflow, numba.
_INNER: Final = ("fn", "__wrapped__", "function", "py_func")
_DEPTH: Final = 4
_CONTAINERS: Final = (
    list,
    set,
    dict,
    collections.deque,
    collections.Counter,
    collections.defaultdict,
    collections.OrderedDict,
)
_COUNTABLE: Final = (*_CONTAINERS, int, float, str, bytes, tuple)
_RECORDS: Final = (Blob, Ref, File, Dir)
_SERVICES: Final = (
    logging.Logger,
    logging.LoggerAdapter,
    contextvars.ContextVar,
    threading.local,
    type(os.environ),
    type(threading.Lock()),
    type(threading.RLock()),
)


def is_service(value: object) -> bool:
    """Say whether an object serves the code rather than feeds it: a logger, a lock, a sentinel.

    Args:
        value: What a name means.
    """
    return type(value) is object or isinstance(value, _SERVICES)


def is_class(value: object) -> TypeGuard[type]:
    """Say whether a value is a class.

    Args:
        value: Anything; `list[int]` only claims to be a class, so isinstance is no test.
    """
    return issubclass(type(value), type)


def is_code(value: object) -> bool:
    """Say whether a value is a function, a class, or wraps one.

    Args:
        value: Anything.
    """
    return _is_function(value) or is_class(value) or inner_function(value) is not None


def _is_function(value: object) -> bool:
    return isinstance(value, types.FunctionType | types.MethodType | functools.partial)


def inner_function(value: Any, depth: int = 0) -> Any:
    """Return what a wrapper object wraps, None if it does not say.

    Args:
        value: An instance of a library's class.
        depth: How many wrappers lie around it.
    """
    for name in _INNER:
        try:
            inner = getattr(value, name, None)
        except Exception:  # noqa: BLE001 - a foreign object's attribute may do anything
            return None
        if _is_function(inner):
            return inner
        if inner is not None and depth < _DEPTH and inner_function(inner, depth + 1) is not None:
            return inner
    return None


def is_compiled(value: object) -> bool:
    """Say whether a value is a function of C, or one that Cython wrote.

    Args:
        value: Anything. Each module of Cython's has a function type of its own.
    """
    return (
        isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType)
        or type(value).__name__ == CYTHON_FUNCTION
    )


def is_filling(value: Any) -> bool:
    """Say whether a bound method only puts something into a plain container, as `calls.append`.

    Args:
        value: A method that is bound to an object.
    """
    return (
        type(value.__self__) in _CONTAINERS
        and value.__name__ in FILLING
        and value.__name__ != "setdefault"  # it reads, too
    )


def is_only_written(chains: set[Chain], value: object) -> bool:
    """Say whether a function only fills or counts up what a name means: that is no input of it.

    A list of calls that a function appends to would otherwise make every call a miss.

    Args:
        chains: How the name is used.
        value: What it means.
    """
    heads = {chain[0] if chain else "" for chain in chains}
    if not heads <= {FILLS, COUNTS}:
        return False
    return type(value) in (_CONTAINERS if FILLS in heads else _COUNTABLE)


def is_module_function(value: Any) -> bool:
    """Say whether a bound method is what a library offers as a function, as `random.choice` is.

    What it is bound to is the library's own business, and no value of the user's.

    Args:
        value: A method that is bound to an object.
    """
    module = sys.modules.get(str(type(value.__self__).__module__))
    return (
        module is not None
        and not is_user_module(module)
        and vars(module).get(value.__name__) is value
    )


def is_found(value: object, name: str) -> bool:
    """Say whether a name leads back to an object, as pickle makes sure of.

    Args:
        value: An object that stands for itself by its name.
        name: The name, maybe with dots.
    """
    homes = ("numpy", "scipy.special")  # of functions that do not say where they live
    if any(getattr(sys.modules.get(home), name, None) is value for home in homes):
        return True
    found: Any = sys.modules.get(pickle.whichmodule(value, name))  # type: ignore[attr-defined]
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def counts_by_name(value: object) -> bool:
    """Say whether an orchestrator's or our own object is nothing but its name to code.

    Args:
        value: What a name means.
    """
    if not is_host_object(value) or isinstance(value, _RECORDS):
        return False
    kind = type(value)
    return not (hasattr(kind, "__flowblob_key__") or hasattr(kind, "__flowblob_lazy__"))


def cell_value(cell: types.CellType) -> Any:
    """Return what a closure's cell holds, `MISSING` if it is not filled yet.

    Args:
        cell: A cell.
    """
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING
