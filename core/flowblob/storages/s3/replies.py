"""What an S3 server answered: its XML, and our error for each refusal."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from flowblob.errors import (
    AuthError,
    FlowblobError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
    StorageUnavailableError,
)
from flowblob.storages.s3.location import missing

try:
    import urllib3
    from urllib3.exceptions import NameResolutionError, SSLError
except ImportError as error:
    raise missing(error) from error

Response = urllib3.BaseHTTPResponse

#: Statuses and codes after which the same request may succeed. A digest that does not match is
#: damage on the way, which the server has noticed in time.
_PASSING = {408, 429, 500, 502, 503, 504}
_PASSING_CODES = {
    "BadDigest", "ConditionalRequestConflict", "IncompleteBody", "InternalError",
    "OperationAborted", "RequestTimeout", "ServiceUnavailable", "SlowDown",
    "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
}  # fmt: skip
_FULL = {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
_HINTS = {
    "ExpiredToken": "The session has ended: log in again",
    "InvalidAccessKeyId": "The access key is unknown there: check it, and the endpoint",
    "RequestTimeTooSkewed": "Set the clock of this machine",
    "SignatureDoesNotMatch": "The secret key is wrong, or the region is",
}
_LONGEST_WAIT = 10.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request failed, and whether it may be sent again.

    Attributes:
        error: What to raise if not.
        is_passing: Whether the same request may succeed later.
        is_auth: Whether other credentials could.
        wait: Seconds that the server asked to wait.
    """

    error: FlowblobError
    is_passing: bool = False
    is_auth: bool = False
    wait: float = 0.0


def unreachable(error: Exception, where: str) -> Trouble:
    """Return the trouble of a request that got no answer, or half of one."""
    cause: Any = getattr(error, "reason", None) or error
    hint = "Check the network and the endpoint"
    is_passing = True
    if isinstance(error, SSLError) or isinstance(cause, SSLError):
        hint, is_passing = "Check the certificate; AWS_CA_BUNDLE names others to trust", False
    elif isinstance(cause, NameResolutionError):
        hint = "No such host: check the endpoint, the region and the network"
    text = f"{where} did not answer: {_short(cause)}"
    return Trouble(
        StorageUnavailableError(text, hint=hint, retryable=is_passing), is_passing=is_passing
    )


def refused(response: Response, what: str, where: str) -> Trouble:
    """Return the trouble of an answer that is a refusal.

    Args:
        response: The answer, its body read.
        what: The request, for messages.
        where: The bucket and its endpoint, for messages.
    """
    status = response.status
    code, message = problem(response)
    said = f"{where} refused {what}: {status} {code} {message}".rstrip()
    region = response.headers.get("x-amz-bucket-region", "")
    if status in (301, 302, 303, 307, 308) or (region and status == 400):
        hint = f"Add region={region} to the URL" if region else "Check the endpoint and the region"
        return Trouble(InvalidInputError(f"{where} is in another place", hint=hint))
    if code == "NoSuchBucket":
        return Trouble(
            NotFoundError(f"There is no bucket {where}", hint="Make it, or correct the URL")
        )
    if status == 507 or code in _FULL:
        return Trouble(QuotaExceededError(said, hint="Free space, or raise the bucket's quota"))
    if status in _PASSING or code in _PASSING_CODES:
        error = StorageUnavailableError(said, hint="Try again later")
        return Trouble(error, is_passing=True, wait=_asked_wait(response))
    if code == "NoSuchUpload":
        hint = "A collector removed what was sent: put again"
        return Trouble(StorageUnavailableError(said, hint=hint))
    if status in (401, 403) or code in _HINTS:
        hint = _HINTS.get(code, "The credentials do not allow it: see 'Permissions' for S3")
        return Trouble(AuthError(said, hint=hint), is_auth=True)
    return Trouble(StorageUnavailableError(said, retryable=False))


def problem(response: Response) -> tuple[str, str]:
    """Return code and message of an error in XML; empty for an answer without."""
    try:
        found = parse(response.data)
    except StorageUnavailableError:
        return "", ""
    if _local(found) != "Error":
        return "", ""
    return text_of(found, "Code"), text_of(found, "Message")[:200]


def parse(data: bytes) -> ElementTree.Element:
    """Return the root of an XML answer.

    Raises:
        StorageUnavailableError: It is none.
    """
    try:
        # The user's own server, not any document: and expat bounds what entities expand to.
        return ElementTree.fromstring(data)  # noqa: S314
    except ElementTree.ParseError as error:
        raise StorageUnavailableError(
            "The S3 server answered something else than XML",
            hint="Check the endpoint: is that an S3 server?",
            retryable=False,
        ) from error


def text_of(element: ElementTree.Element, name: str) -> str:
    """Return the text of a child; vendors differ in the namespace."""
    return next((child.text or "" for child in element if _local(child) == name), "")


def children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the children of this name."""
    return [child for child in element if _local(child) == name]


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _asked_wait(response: Response) -> float:
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return min(float(value), _LONGEST_WAIT)
    if value and (when := email.utils.parsedate_tz(value)):
        return max(0.0, min(email.utils.mktime_tz(when) - time.time(), _LONGEST_WAIT))
    return 0.0


def _short(error: object) -> str:
    # urllib3 begins with the repr of its connection object.
    return str(error).rpartition("object at ")[2].partition(">: ")[2] or str(error)
