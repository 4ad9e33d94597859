"""Named, versioned, linked, verifiable objects for the outputs of workflow tasks."""

if __name__ != "flowblob":
    # An editable install puts the repository root on the path; a second copy of every class and of
    # the current run would make isinstance and linking fail in ways that nobody can see.
    raise ImportError(f"import flowblob, not {__name__}")

import sys
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from flowblob import errors
    from flowblob.aio import AsyncStore
    from flowblob.cached import cached
    from flowblob.files import Dir, File
    from flowblob.keys import hash_with
    from flowblob.lazy import Lazy
    from flowblob.model import Blob, Ref, Run, Use
    from flowblob.runs import current as current_run
    from flowblob.runs import run
    from flowblob.store import Store, default_store

# Loaded at first use: command lines and DAG files import flowblob long before they need a store.
_HOMES = {
    "AsyncStore": "aio",
    "Blob": "model",
    "Dir": "files",
    "File": "files",
    "Lazy": "lazy",
    "Ref": "model",
    "Run": "model",
    "Store": "store",
    "Use": "model",
    "cached": "cached",
    "current_run": "runs",
    "default_store": "store",
    "hash_with": "keys",
    "run": "runs",
}
__all__ = [
    "AsyncStore",
    "Blob",
    "Dir",
    "File",
    "Lazy",
    "Ref",
    "Run",
    "Store",
    "Use",
    "cached",
    "current_run",
    "default_store",
    "errors",
    "hash_with",
    "run",
]


class _Package(ModuleType):
    """Keeps `flowblob.cached` the decorator, also after the module of that name was imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "cached" and isinstance(value, ModuleType):
            value = value.cached
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    import importlib

    if name == "errors":
        return importlib.import_module("flowblob.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'flowblob' has no attribute {name!r}")
    home = importlib.import_module(f"flowblob.{_HOMES[name]}")
    value: object = getattr(home, "current" if name == "current_run" else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
