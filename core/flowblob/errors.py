"""What can go wrong, grouped by what a handler would do.

```text
FlowblobError                       code            what a handler does
├── NotFoundError (LookupError)     not_found       ask for another name, or create it
├── AlreadyExistsError              already_exists  read what is there
├── ConflictError                   conflict        re-read the head, decide again
│   ├── VersionConflictError        version_conflict
│   ├── ReservationHeldError        reservation_held
│   └── ReservationLostError        reservation_lost
├── InvalidInputError (ValueError)  invalid_input   fix the call
├── PayloadError                    payload         restore or recompute the payload
│   ├── PayloadMissingError         payload_missing
│   ├── PayloadCorruptError         payload_corrupt
│   └── PayloadUnsafeError          payload_unsafe
├── UnavailableError                unavailable     wait and try again
│   ├── CatalogUnavailableError     catalog_unavailable
│   └── StorageUnavailableError     storage_unavailable
├── SchemaVersionError              schema_version  migrate the store, or upgrade flowblob
├── QuotaExceededError              quota_exceeded  free space or raise the quota
├── AuthError                       auth            fix the credentials
├── NotSupportedError               not_supported   use another engine or option
├── SerializationError              serialization   give a value that can be stored
└── MissingDependencyError (ImportError)  missing_dependency  install the named extra
```

Every class has a `code`: a stable word for CLI, REST and logs. Codes are only ever added.
A message says what happened, to which reference, and what to do next; `hint` is the last part.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar


class FlowblobError(Exception):
    """Base of every error that flowblob raises on purpose."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        # A driver's message may be a sentence, or a question, with its own end.
        stop = "" if self.message.endswith((".", "?", "!")) else "."
        return f"{self.message}{stop} {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process pools; the default would call the class without its keywords.
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(
    cls: type[FlowblobError], args: tuple[object, ...], state: dict[str, object]
) -> FlowblobError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class NotFoundError(FlowblobError, LookupError):
    """A key, version, alias, id, digest, run or cache entry that does not exist."""

    code = "not_found"


class AlreadyExistsError(FlowblobError):
    """A create-only write met something that lives."""

    code = "already_exists"


class ConflictError(FlowblobError):
    """Somebody else changed what this call relied on."""

    code = "conflict"


class VersionConflictError(ConflictError):
    """`expect_version` is not the newest version."""

    code = "version_conflict"


class ReservationHeldError(ConflictError):
    """Another owner holds the reservation.

    Attributes:
        holder: Who holds it.
        remaining: How long it lasts unless it is extended.
    """

    code = "reservation_held"

    def __init__(
        self, message: str, *, holder: str = "", remaining: timedelta = timedelta(), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.holder = holder
        self.remaining = remaining


class ReservationLostError(ConflictError):
    """The reservation this call computed under has expired or was taken over."""

    code = "reservation_lost"


class InvalidInputError(FlowblobError, ValueError):
    """An argument that can never be accepted."""

    code = "invalid_input"


class PayloadError(FlowblobError):
    """The bytes behind a version cannot be given out."""

    code = "payload"


class PayloadMissingError(PayloadError):
    """The catalog knows the payload; the storage does not have it."""

    code = "payload_missing"


class PayloadCorruptError(PayloadError):
    """The stored bytes are not those that were written."""

    code = "payload_corrupt"


class PayloadUnsafeError(PayloadError):
    """Loading would run code, or leave the target folder, and nothing vouches for it."""

    code = "payload_unsafe"


class UnavailableError(FlowblobError):
    """An engine did not answer in time.

    Attributes:
        retryable: Whether the same call may succeed later.
    """

    code = "unavailable"

    def __init__(self, message: str, *, hint: str = "", retryable: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class CatalogUnavailableError(UnavailableError):
    """The metadata database cannot be reached or written."""

    code = "catalog_unavailable"


class StorageUnavailableError(UnavailableError):
    """The payload storage cannot be reached or written."""

    code = "storage_unavailable"


class SchemaVersionError(FlowblobError):
    """The store was made by newer code, or must be migrated first."""

    code = "schema_version"


class QuotaExceededError(FlowblobError):
    """The quota is used up and nothing may be evicted."""

    code = "quota_exceeded"


class AuthError(FlowblobError):
    """Credentials are missing, wrong or not allowed to do this."""

    code = "auth"


class NotSupportedError(FlowblobError):
    """This engine or value cannot do what was asked."""

    code = "not_supported"


class SerializationError(FlowblobError):
    """The value cannot be stored, or what was stored cannot be loaded in this process."""

    code = "serialization"


class MissingDependencyError(FlowblobError, ImportError):
    """An optional dependency is not installed."""

    code = "missing_dependency"
