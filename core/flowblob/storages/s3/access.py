"""What botocore finds out for a location: where its bucket answers, and who asks."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from flowblob.errors import AuthError, InvalidInputError
from flowblob.storages.s3.location import Location, missing
from flowblob.storages.s3.signing import Credentials

try:
    import botocore.loaders
    import botocore.session
    import botocore.utils
    from botocore import UNSIGNED, httpsession
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ProfileNotFound
except ImportError as error:
    raise missing(error) from error


@dataclass(frozen=True, slots=True)
class Address:
    """Where a bucket answers.

    Attributes:
        url: URL of the bucket without a slash at its end.
        region: Region that signs.
        ca_file: Certificates to trust.
        proxy: URL of the proxy on the way there; empty for none.
    """

    url: str
    region: str
    ca_file: str
    proxy: str = ""

    @property
    def host(self) -> str:
        """The `Host` header: without the port where it is the scheme's own."""
        parts = urlsplit(self.url)
        usual = {"http": 80, "https": 443}[parts.scheme]
        if parts.port in (None, usual):
            return parts.netloc.rpartition(":")[0] if parts.port else parts.netloc
        return parts.netloc

    @property
    def path(self) -> str:
        """Path that every key stands behind."""
        return urlsplit(self.url).path


class Access:
    """Address and credentials of a location, asked of botocore at first use.

    Args:
        location: Which bucket.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._lock = threading.Lock()
        self._session: Any = None
        self._credentials: Any = None
        self._address: Address | None = None

    @property
    def address(self) -> Address:
        """Where the bucket answers.

        Raises:
            InvalidInputError: The AWS configuration cannot be read, or has no such profile.
        """
        if self._address is None:
            with self._lock:
                if self._address is None:
                    self._address = self._find_address()
        return self._address

    def credentials(self) -> Credentials:
        """Return who signs now; temporary credentials are renewed before they expire.

        Raises:
            AuthError: There are none.
        """
        if self._location.key:
            return Credentials(self._location.key, self._location.secret)
        with self._lock:
            if self._credentials is None:
                self._credentials = self._find_credentials()
            try:
                found = self._credentials.get_frozen_credentials()
            except BotoCoreError as error:
                raise AuthError(
                    f"The AWS credentials cannot be renewed: {error}", hint="Log in again"
                ) from error
        return Credentials(found.access_key, found.secret_key, found.token or "")

    def renew(self, refused: Credentials) -> bool:
        """Read the credentials anew after these were refused; returns whether they changed."""
        if self._location.key:
            return False
        with self._lock:
            self._session = self._credentials = None
        return self.credentials() != refused

    def forget_threads(self) -> None:
        """Take the lock from a thread that stayed behind in the parent of a fork."""
        if self._lock.locked():
            self._session = self._credentials = None  # it may have been in the middle of them
        self._lock = threading.Lock()

    def _find_credentials(self) -> Any:
        try:
            found = self._open_session().get_credentials()
        except BotoCoreError as error:
            raise AuthError(f"The AWS credentials cannot be read: {error}") from error
        if found is None:
            raise AuthError(
                f"No credentials for the bucket {self._location.bucket}",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ?profile=NAME",
            )
        return found

    def _open_session(self) -> Any:
        if self._session is None:
            session = botocore.session.Session(profile=self._location.profile or None)
            loader = _descriptions(session.get_config_variable("data_path"))
            session.register_component("data_loader", loader)
            self._session = session
        return self._session

    def _find_address(self) -> Address:
        place = self._location
        try:
            session = self._open_session()
            client = session.create_client(
                "s3",
                region_name=place.region or None,
                endpoint_url=place.endpoint or None,
                # Unsigned, since it only names the endpoint: credentials are not asked for yet.
                config=Config(signature_version=UNSIGNED),
            )
        except ProfileNotFound as error:
            raise InvalidInputError(
                f"The AWS configuration has no profile {place.profile!r}",
                hint="'aws configure list-profiles' lists them",
            ) from error
        except (BotoCoreError, ValueError) as error:
            raise InvalidInputError(f"The AWS configuration cannot be used: {error}") from error
        endpoint = client.meta.endpoint_url.rstrip("/")
        style = (client.meta.config.s3 or {}).get("addressing_style")
        url = _bucket_url(endpoint, place.bucket, self._is_path_style(endpoint, style))
        scheme = urlsplit(url).scheme
        return Address(
            url,
            client.meta.region_name or "us-east-1",
            session.get_config_variable("ca_bundle") or httpsession.where(),
            botocore.utils.get_environ_proxies(url).get(scheme, ""),
        )

    def _is_path_style(self, endpoint: str, configured: str | None) -> bool:
        if self._location.path_style is not None:
            return self._location.path_style
        if configured in ("path", "virtual"):
            return configured == "path"
        # A certificate for *.s3.amazonaws.com covers no second dot; other hosts know no subdomains.
        host = urlsplit(endpoint).hostname or ""
        is_aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return not is_aws or "." in self._location.bucket or "_" in self._location.bucket


def _bucket_url(endpoint: str, bucket: str, is_path_style: bool) -> str:
    if is_path_style:
        return f"{endpoint}/{bucket}"
    scheme, _, rest = endpoint.partition("://")
    return f"{scheme}://{bucket}.{rest}"


@cache
def _descriptions(path: str | None) -> Any:
    """Return what keeps the descriptions of services: parsed anew, each costs 0.1 s of CPU."""
    return botocore.loaders.create_loader(path)
