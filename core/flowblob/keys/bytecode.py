"""The fallback where a function has no source: what its code object shows."""

from __future__ import annotations

import dis
import types
from typing import Any

from flowblob.keys.hashes import hash_parts
from flowblob.keys.source import codes_in
from flowblob.keys.syntax import Reads

_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})


def text_of(code: types.CodeType) -> str:
    """Return a digest of a code object. It differs between Python versions.

    Args:
        code: A function's code.
    """
    return hash_parts(
        "bytecode",
        code.co_code.hex(),
        repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)),
        *(ascii(names) for names in (code.co_names, code.co_varnames, code.co_freevars)),
        *(_constant(item) for item in code.co_consts),
    )


def _constant(value: Any) -> str:
    if isinstance(value, types.CodeType):
        return text_of(value)
    if isinstance(value, tuple):
        return hash_parts("tuple", *map(_constant, value))
    if isinstance(value, frozenset):
        return hash_parts("frozenset", *sorted(map(_constant, value)))
    return f"{type(value).__name__} {value!a}"


def reads_of(code: types.CodeType) -> Reads:
    """Return the global names that a code object reads, without what follows them.

    Args:
        code: A function's code.
    """
    names = {
        str(instruction.argval)
        for part in (code, *codes_in(code))
        for instruction in dis.get_instructions(part)
        if instruction.opname in _GLOBAL
    }
    return Reads({name: {()} for name in names}, {})
