"""Classes and functions that another process cannot import: of `__main__` or of a DAG file.

A host loads such a file under an invented name, and `__main__` is another file in every process, so
a pickle that only names them could not be read elsewhere. They are stored by value. But a class by
value is a new class: `isinstance` and `==` of dataclasses would fail where the same file runs
again, which is what a cache is for. So a class carries its name *and* its definition, and the
reader prefers its own class of that name:

- of an invented module name, which stands for one file;
- of `__main__`, if it is the same file, or if the class has the same members.
"""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType
from typing import Any

from flowblob.errors import SerializationError

#: A definition beyond this drags data along: a method that refers to a global table.
_LARGEST = 1 << 24


def is_lost(module: str | None) -> bool:
    """Say whether another process could not import a module of this name."""
    if module is None or module == "builtins":
        return False
    return _is_main(module) or not _is_importable(module.partition(".")[0])


def _is_main(module: str) -> bool:
    # The second is what a spawned worker calls the file of its parent.
    return module in ("__main__", "__mp_main__")


@functools.cache
def _is_importable(name: str) -> bool:
    # Not importlib.util.find_spec, which is content with what is loaded already.
    for finder in sys.meta_path:
        try:
            if finder.find_spec(name, None) is not None:
                return True
        except (ImportError, AttributeError, ValueError, TypeError):
            return True  # a finder of somebody else's that cannot tell
    return False


def keep_module(module: str) -> None:
    """Have cloudpickle store what this module defines by value."""
    import cloudpickle

    loaded = sys.modules.get(module)
    if isinstance(loaded, ModuleType) and not _is_main(module):
        cloudpickle.register_pickle_by_value(loaded)


def reduce_class(kind: type) -> tuple[Any, ...] | None:
    """Return how to store a class that has a name in a lost module, None if it has none."""
    module = sys.modules.get(kind.__module__)
    if module is None or _find(module, kind.__qualname__) is not kind:
        return None
    keep_module(kind.__module__)
    definition = _definition(kind)
    name = "__main__" if _is_main(kind.__module__) else kind.__module__
    return (own_class, (name, kind.__qualname__, _origin(module), _members(kind), definition))


def _definition(kind: type) -> bytes:
    """Return the class as a pickle, or nothing: then only its own file can load its instances."""
    import cloudpickle

    try:
        definition: bytes = cloudpickle.dumps(kind, protocol=5)
    except Exception:  # noqa: BLE001 - what the class refers to may be anything
        return b""
    return definition if len(definition) <= _LARGEST else b""


def own_class(
    module: str, name: str, origin: str, members: tuple[str, ...], definition: bytes
) -> Any:
    """Return this process's class of that name, or make the one that was stored.

    Only a pickle that may be trusted gets here: the definition is one as well.
    """
    loaded = sys.modules.get(module)
    found = None if loaded is None else _find(loaded, name)
    if loaded is not None and isinstance(found, type):
        same_file = not _is_main(module) or (origin and origin == _origin(loaded))
        if same_file or _members(found) == members:
            return found
    if not definition:
        raise SerializationError(
            f"The stored value needs {module}.{name}, which does not exist here",
            hint="Its definition could not be stored; move the class into a module",
        )
    import pickle

    return pickle.loads(definition)  # noqa: S301 - part of the payload that is being loaded


def _find(module: ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _origin(module: ModuleType) -> str:
    spec = getattr(module, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    return os.path.basename(getattr(module, "__file__", None) or "")


def _members(kind: type) -> tuple[str, ...]:
    fields = vars(kind).get("__dataclass_fields__", ())
    return tuple(sorted({*fields, *(name for name in vars(kind) if not name.startswith("__"))}))
