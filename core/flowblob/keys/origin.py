"""Whose code a function, class or module is: the user's own, or a library's.

The user's own is what is neither the standard library nor below `site-packages` or
`dist-packages`. An editable install lies elsewhere and is therefore the user's own.
"""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping
from typing import Any

# We lie outside site-packages in an editable install, and are a library all the same.
_OURS = frozenset({"flowblob", "flowblob_airflow", "flowblob_prefect"})
_INSTALLED = frozenset({"site-packages", "dist-packages", "__pypackages__"})
_HOSTS = frozenset({*_OURS, "airflow", "prefect"})


@functools.cache
def _library_roots() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    roots = {paths[name] for name in ("stdlib", "platstdlib")}
    # Embedded interpreters keep the standard library in a zip file, as this module of it tells.
    roots.add(os.path.dirname(functools.__file__))
    roots |= {os.path.realpath(root) for root in roots}
    return tuple(root.rstrip(os.sep) + os.sep for root in roots)


@functools.lru_cache(maxsize=4096)
def is_library_file(path: str) -> bool:
    """Say whether a source file belongs to the standard library or an installed distribution.

    Args:
        path: The file's name as a code object or a module gives it.
    """
    if path.startswith("<"):
        return path.startswith("<frozen ")
    parts = path.replace("\\", "/").split("/")
    if not _INSTALLED.isdisjoint(parts):
        return True
    return path.startswith(_library_roots())


def top_name(module: str | None) -> str:
    """Return the first part of a module's dotted name."""
    return (module or "").partition(".")[0]


def is_user_module(module: types.ModuleType) -> bool:
    """Say whether a module is the user's own."""
    if top_name(module.__name__) in _OURS:
        return False
    file = getattr(module, "__file__", None)
    if file:
        return not is_library_file(file)
    if paths := list(getattr(module, "__path__", ())):  # a namespace package has no file
        return not any(is_library_file(os.path.join(path, "")) for path in paths)
    return getattr(module, "__spec__", None) is None and module.__name__ not in (
        sys.builtin_module_names
    )


def is_user_function(function: types.FunctionType) -> bool:
    """Say whether the code of a function is the user's own.

    The code object decides: `functools.wraps` copies the module's name onto foreign wrappers.
    """
    if top_name(function.__globals__.get("__name__")) in _OURS:
        return False
    file = function.__code__.co_filename
    if file.startswith("<") and not file.startswith("<frozen "):
        # Made by exec, a notebook or a prompt: it belongs to the module whose names it reads.
        owner = function.__globals__.get("__file__")
        return not (owner and is_library_file(owner))
    return not is_library_file(file)


def is_user_class(cls: type) -> bool:
    """Say whether a class is the user's own."""
    name = cls.__module__
    if top_name(name) in _OURS or name == "builtins":
        return False
    # Its own functions know best: a name such as `__main__`, or one that a loader invented, may
    # mean another module by now, or none.
    for function in own_functions(cls):
        return is_user_function(function)
    module = sys.modules.get(name)
    return not isinstance(module, types.ModuleType) or is_user_module(module)


def own_functions(cls: type) -> Iterator[types.FunctionType]:
    """Give the functions that were written in the body of a class.

    Args:
        cls: Any class.
    """
    prefix = cls.__qualname__ + "."
    for item in vars(cls).values():
        function = plain_function(item)
        if function is not None and function.__code__.co_qualname.startswith(prefix):
            yield function


def plain_function(item: object) -> types.FunctionType | None:
    """Return the function behind an entry of a class, if there is one.

    Args:
        item: What stands in the class's `__dict__`.
    """
    if isinstance(item, types.FunctionType):
        return item
    if isinstance(item, staticmethod | classmethod | property | functools.cached_property):
        for name in ("__func__", "fget", "func"):
            inner = getattr(item, name, None)
            if isinstance(inner, types.FunctionType):
                return inner
    return None


def names_around(cls: type, seen: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the globals that the body of a class read.

    Args:
        cls: A class of the user.
        seen: Globals by module name, for a module that nobody registered.
    """
    for function in own_functions(cls):
        return function.__globals__
    module = sys.modules.get(cls.__module__)
    return seen.get(cls.__module__, {}) if module is None else vars(module)


def is_host_object(value: object) -> bool:
    """Say whether a value is made by an orchestrator or by flowblob."""
    return top_name(type(value).__module__) in _HOSTS


def is_host_function(function: types.FunctionType) -> bool:
    """Say whether a function was written by an orchestrator or by flowblob."""
    return top_name(function.__globals__.get("__name__")) in _HOSTS


def library_name(value: type | types.FunctionType) -> str:
    """Return the full public name of a library's class or function.

    Private modules of the standard library are dropped: `pathlib._local` of one Python is
    `pathlib` of another.
    """
    module = getattr(value, "__module__", None) or "builtins"
    if isinstance(value, types.FunctionType):
        module = str(value.__globals__.get("__name__", module))
    head, *rest = module.split(".")
    if head in sys.stdlib_module_names:
        public = [head.lstrip("_"), *(part for part in rest if not part.startswith("_"))]
        module = ".".join(public)
    name = (
        value.__code__.co_qualname
        if isinstance(value, types.FunctionType)
        else (value.__qualname__)
    )
    return f"{module}.{name}".replace("<locals>.", "")
