"""The three contracts: Storage keeps bytes, Catalog keeps records, Serializer makes bytes.

All compare-and-swap lives in the Catalog, so a Storage needs only atomic, idempotent writes of
names that are never used twice. The protocols that the two serve together stand in
`docs/design/0002-payload-lifecycle.md`; keep their order of steps.
"""

from flowblob.abc.catalog import Catalog
from flowblob.abc.serializer import Reader, Serializer, Writer
from flowblob.abc.storage import Storage

__all__ = ["Catalog", "Reader", "Serializer", "Storage", "Writer"]
