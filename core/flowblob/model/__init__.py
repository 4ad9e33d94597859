"""The words of flowblob as immutable records. No I/O."""

from flowblob.model.blobs import EMPTY, Blob, Run, TagValue, Use
from flowblob.model.cache import (
    CacheEntry,
    CacheKey,
    Ingredient,
    LookupStats,
    Read,
    Reservation,
)
from flowblob.model.making import maker
from flowblob.model.refs import Ref

__all__ = [
    "EMPTY",
    "Blob",
    "CacheEntry",
    "CacheKey",
    "Ingredient",
    "LookupStats",
    "Read",
    "Ref",
    "Reservation",
    "Run",
    "TagValue",
    "Use",
    "maker",
]
