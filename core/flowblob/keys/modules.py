"""What counts of a module of the user that code hands about: all that stands in it now."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

from flowblob.keys.kinds import is_code, is_compiled

if TYPE_CHECKING:
    from flowblob.keys.walk import Walk


def describe(walk: Walk, module: types.ModuleType) -> list[str]:
    """Return the texts of one module.

    Where code names what it takes from a module, only that counts. A module in a variable, a list
    or an argument does not show what is taken from it.

    Args:
        walk: Follows what stands in the module.
        module: A module of the user.
    """
    names = vars(module)
    walk.guards.size(names)
    parts = ["module"]
    for name in sorted(names):
        if name.startswith("__") and name.endswith("__"):
            continue
        value = names[name]
        walk.guards.name(names, name, value)
        is_followed = isinstance(value, types.ModuleType) or is_code(value) or is_compiled(value)
        parts.append(name)
        parts.append(
            walk.refer(value, name) if is_followed else walk.value(value, name, is_strict=True)
        )
    return parts
