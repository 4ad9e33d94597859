"""Cache keys: one recipe for Python, Prefect and Airflow.

`Recipe` says which key a call of a function has; `value_digest` is what a value adds to it and
`function_identity` what the code adds. The rules are in `docs/design`; the digests are pinned by
golden tests, since a changed digest makes every stored entry a miss.
"""

from __future__ import annotations

from flowblob.keys.call import Recipe
from flowblob.keys.canonical import (
    SCHEME,
    ValueIdentity,
    identify_value,
    portable_digest,
    value_digest,
)
from flowblob.keys.code import CodeIdentity, function_identity
from flowblob.keys.signatures import hash_with, stand_in
from flowblob.keys.walk import CodeItem

__all__ = [
    "SCHEME",
    "CodeIdentity",
    "CodeItem",
    "Recipe",
    "ValueIdentity",
    "function_identity",
    "hash_with",
    "identify_value",
    "portable_digest",
    "stand_in",
    "value_digest",
]
