"""Imports inside of a function: what they will bind when it runs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import TYPE_CHECKING, Any

from flowblob.keys.kinds import MISSING
from flowblob.keys.origin import is_library_file, is_user_module
from flowblob.keys.syntax import Import

if TYPE_CHECKING:
    from flowblob.keys.walk import Walk


def resolve(walk: Walk, item: Import, names: dict[str, Any]) -> Any:
    """Return what an import statement binds.

    A module of the user is imported, as the function itself would do; whether somebody has
    imported it before must not change the key. A library's module counts by its name and is not
    loaded for it.

    Args:
        walk: Takes guards and warnings.
        item: The statement.
        names: Globals of the function, for relative imports.
    """
    full = _absolute(item, names)
    if not full or not _is_users(full.partition(".")[0]):
        return MISSING
    try:
        module = importlib.import_module(full)
        if item.is_root:
            return sys.modules[full.partition(".")[0]]
        if not item.attribute:
            return module
        if item.attribute not in vars(module):
            return importlib.import_module(f"{full}.{item.attribute}")
    except Exception as error:  # noqa: BLE001 - a module may raise anything while it is loaded
        walk.warn(f"{full} cannot be imported ({error}); it counts by its name alone")
        walk.by_name.append(full)
        return MISSING
    value = vars(module)[item.attribute]
    walk.guards.name(vars(module), item.attribute, value)
    return value


def _absolute(item: Import, names: dict[str, Any]) -> str:
    if not item.level:
        return item.module
    package = names.get("__package__") or str(names.get("__name__", "")).rpartition(".")[0]
    try:
        return importlib.util.resolve_name("." * item.level + item.module, package)
    except ImportError:
        return ""


def _is_users(top: str) -> bool:
    module = sys.modules.get(top)
    if isinstance(module, types.ModuleType):
        return is_user_module(module)
    if top in sys.builtin_module_names:
        return False
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return bool(places) and spec.has_location and not any(map(is_library_file, places))
