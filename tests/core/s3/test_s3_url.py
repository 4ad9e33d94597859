"""What an S3 URL says, and what it never shows."""

from __future__ import annotations

import logging
import pickle
from datetime import timedelta
from pathlib import Path

import pytest
from injecting import Proxy, answer

from flowblob import config
from flowblob.errors import AuthError, FlowblobError, InvalidInputError
from flowblob.storages.s3 import S3Storage
from flowblob.storages.s3.access import Access
from flowblob.storages.s3.location import Location

SECRET = "wJalr/XUtn+FEMI"  # with what AWS puts into them


def test_every_part_is_read() -> None:
    found = Location.parse(
        f"s3://AKIA:{SECRET}@my.bucket/a%20b/c/?endpoint=http://127.0.0.1:9000/&region=eu-west-1"
        "&profile=p&path_style=true&sse=aws:kms&kms_key=arn:aws:kms:x&storage_class=STANDARD_IA"
    )
    assert (found.bucket, found.prefix) == ("my.bucket", "a b/c/")
    assert (found.key, found.secret) == ("AKIA", SECRET)
    assert (found.endpoint, found.region, found.profile) == (
        "http://127.0.0.1:9000",
        "eu-west-1",
        "p",
    )
    assert found.path_style is True
    assert found.headers == {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:x",
        "x-amz-storage-class": "STANDARD_IA",
    }


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://bucket/p?zone_region=eu", "Did you mean 'region'"),
        ("s3://bucket/p?cache=off", "stand before storage="),
        ("s3:///prefix", "names no bucket"),
        ("s3://b", "names no bucket"),
        ("s3://user@bucket/p", "no key:secret"),
        ("s3://bucket/a/../b", "Invalid S3 prefix"),
        ("s3://bucket/a//b", "Invalid S3 prefix"),
        ("s3://bucket/a%0Ab", "Invalid S3 prefix"),
        (f"s3://bucket/{'x' * 1000}", "has more than"),
        ("s3://bucket?endpoint=ftp://host", "Invalid S3 endpoint"),
        ("s3://bucket?endpoint=http://id:key@host", "Invalid S3 endpoint"),
        ("s3://bucket?path_style=maybe", "path_style=true or false"),
        ("s3://bucket?sse=rot13", "sse=AES256"),
        ("s3://bucket?sse=AES256&kms_key=k", "kms_key goes with"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(url: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        S3Storage(url)


@pytest.mark.parametrize(
    ("parameters", "bucket", "base"),
    [
        ("region=eu-west-1", "my-bucket", "https://my-bucket.s3.eu-west-1.amazonaws.com"),
        ("region=eu-west-1", "my.bucket", "https://s3.eu-west-1.amazonaws.com/my.bucket"),
        ("region=eu-west-1&path_style=true", "bucket", "https://s3.eu-west-1.amazonaws.com/bucket"),
        ("region=cn-north-1", "bucket", "https://bucket.s3.cn-north-1.amazonaws.com.cn"),
        ("endpoint=http://10.0.0.1:9000", "bucket", "http://10.0.0.1:9000/bucket"),
        ("endpoint=https://s3.example/base/", "bucket", "https://s3.example/base/bucket"),
        ("endpoint=https://s3.example&path_style=no", "bucket", "https://bucket.s3.example"),
    ],
)
def test_a_bucket_answers_where_its_vendor_says(parameters: str, bucket: str, base: str) -> None:
    assert Access(Location.parse(f"s3://k:s@{bucket}?{parameters}")).address.url == base


def test_the_aws_configuration_says_endpoint_region_and_certificates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(
        "[profile lab]\nregion = eu-north-1\nendpoint_url = https://lab.example\n"
        "ca_bundle = /etc/lab.pem\ns3 =\n  addressing_style = virtual\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    address = Access(Location.parse("s3://k:s@bucket?profile=lab")).address
    assert (address.url, address.region) == ("https://bucket.lab.example", "eu-north-1")
    assert address.ca_file == "/etc/lab.pem"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://other.example:1")
    assert Access(Location.parse("s3://k:s@bucket")).address.host == "other.example:1"
    with pytest.raises(InvalidInputError, match="no profile 'nope'"):
        _ = Access(Location.parse("s3://k:s@bucket?profile=nope")).address


def test_a_proxy_of_the_environment_is_used_unless_it_is_not_for_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.1")
    assert Access(Location.parse("s3://k:s@b-b?endpoint=http://h")).address.proxy
    assert not Access(Location.parse("s3://k:s@b-b?endpoint=http://10.0.0.1")).address.proxy


def test_a_secret_is_shown_nowhere(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    with Proxy() as server:
        server.plan(answer(403, "SignatureDoesNotMatch", "no"), times=99)
        url = f"s3://AKIA:{SECRET}@bucket/p?endpoint={server.url}"
        storage = S3Storage(url)
        with pytest.raises(AuthError, match="secret key is wrong") as caught:
            storage.claim("id")
        settings = config.find(f"sqlite:///x?storage={url}", env={"HOME": "/nowhere"})
        shown = [
            repr(storage),
            storage.url,
            repr(Location.parse(url)),
            repr(Access(Location.parse(url)).credentials()),
            repr(settings),
            repr(caught.getrepr(showlocals=False)),
            caplog.text,
        ]
    for text in shown:
        assert SECRET not in text


@pytest.mark.parametrize("secret", [SECRET, "a/b@c", "x%3Fy"])
def test_a_url_that_cannot_be_is_refused_without_its_secret(secret: str) -> None:
    for url in (f"s3://AKIA:{secret}@/p", f"s3://AKIA:{secret}@bucket?endpoint=x"):
        with pytest.raises(FlowblobError) as caught:
            S3Storage(url)
        assert secret not in str(caught.value)


def test_temporary_credentials_are_asked_of_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    found = Access(Location.parse("s3://bucket?region=eu-west-1")).credentials()
    assert (found.key, found.secret, found.token) == ("AKIA", SECRET, "token")


def test_no_credentials_at_all_say_how_to_give_some(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(AuthError, match="AWS_ACCESS_KEY_ID"):
        S3Storage("s3://bucket?endpoint=http://127.0.0.1:1").claim("id")


def test_a_storage_pickles_and_nothing_is_opened_by_making_one() -> None:
    url = f"s3://AKIA:{SECRET}@bucket/p?endpoint=http://127.0.0.1:1"
    storage = S3Storage(url)
    other = pickle.loads(pickle.dumps(storage))
    assert other.url == storage.url == "s3://AKIA:***@bucket/p?endpoint=http://127.0.0.1:1"
    storage.close()
    storage.close()


def test_a_link_cannot_be_made_for_what_s3_does_not_allow() -> None:
    storage = S3Storage("s3://k:s@bucket?region=eu-west-1")
    name = f"ab/{'0' * 64}.{'1' * 32}"
    for method, expires in (("DELETE", timedelta(1)), ("GET", timedelta(8)), ("GET", timedelta())):
        with pytest.raises(InvalidInputError, match="at most 7 days"):
            storage.presign(name, method=method, expires=expires)
