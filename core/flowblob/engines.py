"""Which class serves which URL.

A store URL is a plain path, `sqlite:///dir` or `file:///dir` (a folder that holds `catalog.db` and
`payloads/`), `memory://`, or a URL whose scheme a package registered in the entry-point groups
`flowblob.catalogs` and `flowblob.storages`. `?storage=URL` puts the payloads elsewhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from flowblob.errors import CatalogUnavailableError, InvalidInputError, NotSupportedError
from flowblob.urls import did_you_mean, folder_of, mask, scheme_of

if TYPE_CHECKING:
    from flowblob.abc import Catalog, Storage
    from flowblob.config import Settings

CATALOG_FILE = "catalog.db"
PAYLOAD_FOLDER = "payloads"

CATALOGS = {
    "file": "flowblob.catalogs.sqlite:SqliteCatalog",
    "memory": "flowblob.catalogs.sqlite:SqliteCatalog",
    "mongodb": "flowblob.catalogs.mongo:MongoCatalog",
    "mongodb+srv": "flowblob.catalogs.mongo:MongoCatalog",
    "postgres": "flowblob.catalogs.postgres:PostgresCatalog",
    "postgresql": "flowblob.catalogs.postgres:PostgresCatalog",
    "sqlite": "flowblob.catalogs.sqlite:SqliteCatalog",
}
STORAGES = {
    "file": "flowblob.storages.local:LocalStorage",
    "gridfs+mongodb": "flowblob.storages.gridfs:GridFSStorage",
    "gridfs+mongodb+srv": "flowblob.storages.gridfs:GridFSStorage",
    "memory": "flowblob.storages.memory:MemoryStorage",
    "s3": "flowblob.storages.s3:S3Storage",
    "sqlite": "flowblob.storages.local:LocalStorage",
}


def open_engines(settings: Settings) -> tuple[Catalog, Storage]:
    """Return the catalog and the storage of a store, opened; an embedded one is made if absent.

    Raises:
        NotSupportedError: No engine serves the URL.
        InvalidInputError: The URL is incomplete.
    """
    catalog = open_catalog(settings.url)
    try:
        return catalog, open_storage(settings.storage or _payloads_beside(settings.url))
    except BaseException:
        catalog.close()
        raise


def _payloads_beside(url: str) -> str:
    if scheme_of(url) == "memory":
        return url
    if folder := folder_of(url):
        return str(folder / PAYLOAD_FOLDER)
    raise InvalidInputError(
        f"{mask(url)!r} does not say where the payloads are", hint="Add ?storage=URL to it"
    )


def open_catalog(url: str) -> Catalog:
    """Return the catalog that a store's URL names.

    Raises:
        NotSupportedError: No installed package serves this scheme.
        InvalidInputError: The URL names a file, or no folder.
        CatalogUnavailableError: The folder cannot be made.
    """
    factory = _engine(scheme_of(url), CATALOGS, "catalog")
    if scheme_of(url) == "memory":
        return cast("Catalog", factory.memory())
    folder = folder_of(url)
    if folder is None:
        return cast("Catalog", factory(url))
    try:
        if folder.exists() and not folder.is_dir():
            raise InvalidInputError(f"{folder} is a file", hint="A store is a folder; name that")
        # 0700, since loading may run what the payloads say: nobody else writes into a user's store.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogUnavailableError(
            f"Cannot make a store at {folder}: {error.strerror or error}",
            hint="Name another folder, or give this user the right to write there",
            retryable=False,
        ) from error
    return cast("Catalog", factory(folder / CATALOG_FILE))


def open_storage(url: str) -> Storage:
    """Return the storage that a URL names; a path is the folder of the payloads itself.

    Raises:
        NotSupportedError: No installed package serves this scheme.
    """
    factory = _engine(scheme_of(url), STORAGES, "storage")
    if scheme_of(url) == "memory":
        return cast("Storage", factory())
    folder = folder_of(url)
    return cast("Storage", factory(url if folder is None else folder))


def _engine(scheme: str, table: Mapping[str, str], what: str) -> Any:
    if target := table.get(scheme):
        module, _, name = target.partition(":")
        return getattr(importlib.import_module(module), name)
    from importlib.metadata import entry_points  # 20 ms, and only a foreign scheme needs it

    group = entry_points(group=f"flowblob.{what}s")
    if scheme in group.names:
        return group[scheme].load()
    known = sorted({*table, *group.names})
    raise NotSupportedError(
        f"No {what} serves {scheme}:// URLs",
        hint=did_you_mean(scheme, known) or f"Available: {', '.join(known)}, or a plain folder",
    )
