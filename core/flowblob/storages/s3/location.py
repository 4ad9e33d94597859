"""What an `s3://` URL says: bucket, prefix, and how to get there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from flowblob.errors import InvalidInputError, MissingDependencyError
from flowblob.urls import mask, refuse_unknown

#: AWS's rules; other vendors also allow what AWS did once: capitals and underscores.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}\Z")
_ENDPOINT = re.compile(r"https?://[^/?#@\s]+(/[^?#\s]*)?\Z")
_SSE = {"AES256": "AES256", "S3": "AES256", "KMS": "aws:kms", "AWS:KMS": "aws:kms"}
_YES_NO = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_PARAMETERS = (
    "endpoint", "region", "profile", "path_style", "sse", "kms_key", "storage_class",
)  # fmt: skip
#: Longest object key in bytes (S3), less the longest physical name and the slash before it.
_PREFIX_LIMIT = 1024 - 105


@dataclass(frozen=True, slots=True, repr=False)
class Location:
    """Where payloads are kept in S3.

    Attributes:
        url: The URL as it was given, with its secrets.
        bucket: Name of the bucket.
        prefix: What every key begins with, up to a slash; empty or ending in one.
        endpoint: URL of the service; empty for what botocore finds.
        region: Region that signs; empty for what botocore finds.
        profile: Profile of the AWS configuration; empty for what botocore finds.
        path_style: Whether the bucket stands in the path; None for what fits the endpoint.
        sse: `AES256` or `aws:kms`; empty for the bucket's default.
        kms_key: Key of `aws:kms`; empty for the account's default.
        storage_class: Such as `STANDARD_IA`; empty for the bucket's default.
        key: Access key id, where the URL has one.
        secret: Its secret.
    """

    url: str
    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    profile: str = ""
    path_style: bool | None = None
    sse: str = ""
    kms_key: str = ""
    storage_class: str = ""
    key: str = ""
    secret: str = ""

    @classmethod
    def parse(cls, url: str) -> Location:
        """Read `s3://[key:secret@]bucket[/prefix][?parameters]`.

        Raises:
            InvalidInputError: A parameter that nothing reads, or a part that cannot be.

        Example:
            >>> Location.parse("s3://bucket/flow?region=eu-west-1").prefix
            'flow/'
        """
        head, _, query = url.partition("://")[2].partition("?")
        # Secrets made by AWS hold slashes, which nobody encodes, and the last @ ends them.
        login, at, place = head.rpartition("@")
        key, colon, secret = login.partition(":")
        if at and not (key and colon and secret):
            raise InvalidInputError(
                "The S3 URL has an @, but no key:secret before it",
                hint="Write s3://key:secret@bucket, or %40 for an @ in a prefix",
            )
        bucket, _, prefix = place.partition("/")
        if not _BUCKET.match(bucket):
            raise InvalidInputError(
                f"{mask(url)!r} names no bucket",
                hint="Write s3://bucket/prefix; in a secret, write %3F for ? and %40 for @",
            )
        return cls(
            url,
            bucket,
            _prefix(prefix),
            key=unquote(key),
            secret=unquote(secret),
            **_parameters(query, url),
        )

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every new object: encryption and storage class."""
        given = {
            "x-amz-server-side-encryption": self.sse,
            "x-amz-server-side-encryption-aws-kms-key-id": self.kms_key,
            "x-amz-storage-class": self.storage_class,
        }
        return {name: value for name, value in given.items() if value}

    def __repr__(self) -> str:
        return f"Location({mask(self.url)!r})"


def _prefix(text: str) -> str:
    prefix = unquote(text).strip("/")
    segments = prefix.split("/") if prefix else []
    # A path with such segments is another one after the first proxy.
    if any(part in ("", ".", "..") for part in segments) or not prefix.isprintable():
        raise InvalidInputError(f"Invalid S3 prefix {prefix!r}", hint="Write s3://bucket/a/b")
    if len(prefix.encode()) > _PREFIX_LIMIT:
        raise InvalidInputError(
            f"The S3 prefix has more than {_PREFIX_LIMIT} bytes", hint="Choose a shorter one"
        )
    return f"{prefix}/" if prefix else ""


def _parameters(query: str, url: str) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    given = {unquote(name): unquote(value) for name, _, value in pairs}
    refuse_unknown(
        given, _PARAMETERS, f"parameter in {mask(url)!r} (those of the store stand before storage=)"
    )
    read: dict[str, Any] = dict(given)
    if endpoint := given.get("endpoint"):
        if not _ENDPOINT.match(endpoint):
            raise InvalidInputError(
                f"Invalid S3 endpoint {mask(endpoint)!r}",
                hint="Write endpoint=https://host:port; credentials stand before the bucket",
            )
        read["endpoint"] = endpoint.rstrip("/")
    if style := given.get("path_style"):
        read["path_style"] = _one_of(_YES_NO, style.lower(), "path_style", "true or false")
    if sse := given.get("sse"):
        read["sse"] = _one_of(_SSE, sse.upper(), "sse", "AES256 or aws:kms")
    if given.get("kms_key") and read.setdefault("sse", "aws:kms") != "aws:kms":
        raise InvalidInputError("kms_key goes with sse=aws:kms", hint="Leave one of them out")
    return {name: value for name, value in read.items() if value != ""}


def _one_of(choices: dict[str, str] | dict[str, bool], given: str, what: str, known: str) -> Any:
    if given not in choices:
        raise InvalidInputError(f"Invalid {what} {given!r}", hint=f"Write {what}={known}")
    return choices[given]


def quoted(key: str) -> str:
    """Return an object key as it stands in a URL and is signed."""
    return quote(key, safe="/~")


def missing(error: ImportError) -> MissingDependencyError:
    """Return the error for a driver that is not installed."""
    return MissingDependencyError(
        f"Storing in S3 needs {error.name}, which is not installed",
        hint="pip install 'flowblob[s3]'",
    )
