"""What the tests of S3 share: a bucket of their own, and the line to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from injecting import Proxy

from flowblob.drafts import Spooled
from flowblob.storages.s3 import S3Storage

#: Makes a payload of bytes, in memory or in a file, and a name for it.
Make = Callable[..., tuple[str, Spooled]]


@dataclass
class Bucket:
    """A bucket of the test's own, seen through botocore, which shares no code with ours."""

    name: str
    endpoint: str
    key: str
    secret: str
    client: Any

    def url(self, endpoint: str = "", rest: str = "") -> str:
        place = f"{self.key}:{self.secret}@{self.name}"
        return f"s3://{place}/flow?endpoint={endpoint or self.endpoint}{rest}"

    def objects(self) -> dict[str, bytes]:
        return {
            found["Key"]: self.client.get_object(Bucket=self.name, Key=found["Key"])["Body"].read()
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
            for found in page.get("Contents", ())
        }

    def uploads(self, name: str) -> list[str]:
        """Ids of the unfinished uploads of a payload; MinIO lists those of a whole key only."""
        found = self.client.list_multipart_uploads(Bucket=self.name, Prefix=f"flow/{name}")
        return [upload["UploadId"] for upload in found.get("Uploads", ())]


class Line(NamedTuple):
    """A bucket, and a storage that reaches it through a proxy."""

    bucket: Bucket
    proxy: Proxy
    storage: S3Storage
