"""No URL, however it is written, shows its password."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flowblob.urls import mask, mask_text

#: Text that stands nowhere else in a URL; whatever is put between, no half of it may be seen.
LEFT, RIGHT = "qLEFTq", "zRIGHTz"

#: A busy machine is no failure.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_between = st.text("@:/?#&;=%+ ,'\"[]()!$*~.-_\\" + string.digits, max_size=6)
passwords = _between.map(lambda text: LEFT + text + RIGHT)
encoded = passwords.map(lambda text: quote(text, safe=""))
users = st.sampled_from(["", "ana", "ana%40corp", "AKIA5"])
hosts = st.sampled_from(["db", "db:5432", "a:1,b:2", "[::1]:5432", "bucket", "127.0.0.1"])
schemes = st.sampled_from(["postgresql", "mongodb+srv", "s3", "S3", "postgresql+psycopg", "http"])
tails = st.sampled_from(["", "/", "/flow", "/a/b", "/flow?connect_timeout=3", "#part"])


def _hides(text: str) -> bool:
    return LEFT not in text and RIGHT not in text


@patient
@given(schemes, users, encoded, hosts, tails)
def test_an_encoded_password_is_never_shown(
    scheme: str, user: str, password: str, host: str, tail: str
) -> None:
    shown = mask(f"{scheme}://{user}:{password}@{host}{tail}")
    assert shown == f"{scheme}://{user}:***@{host}{tail}"


@patient
@given(schemes, users, passwords, hosts, tails)
@example("postgresql", "ana", f"{LEFT}@h/x?y#z&{RIGHT}", "db", "/flow")
def test_a_raw_password_is_never_shown(
    scheme: str, user: str, password: str, host: str, tail: str
) -> None:
    assert _hides(mask(f"{scheme}://{user}:{password}@{host}{tail}"))
    assert _hides(mask(f" {scheme}://{user}:{password.replace(' ', '')}@{host}{tail}"))


NAMES = [
    "password", "sslpassword", "PASSWORD", "passwd", "pwd", "secret_key", "aws_session_token",
    "sig", "X-Amz-Signature", "credential", "tlsCertificateKeyFilePassword", "p%61ssword",
]  # fmt: skip


@patient
@given(st.sampled_from(NAMES), encoded, hosts)
def test_a_secret_parameter_is_never_shown(name: str, secret: str, host: str) -> None:
    for url in (
        f"postgresql://{host}/flow?{name}={secret}",
        f"postgresql://{host}/flow?a=b&{name}={secret}&c=d",
        f"postgresql://ana@{host}/flow?storage=s3://bucket/p?{name}={secret}",
    ):
        assert _hides(mask(url)), url


@patient
@given(users, passwords, st.integers(0, 3))
def test_a_nested_url_shows_no_password_however_often_it_was_encoded(
    user: str, password: str, times: int
) -> None:
    nested = f"s3://{user}:{quote(password, safe='')}@bucket/prefix"
    for _ in range(times):
        nested = quote(nested, safe="")
    shown = mask(f"postgresql://db:5432/flow?storage={nested}&cache=off")
    assert _hides(shown)
    assert shown.startswith("postgresql://db:5432/flow?storage=s3")
    assert shown.endswith("&cache=off")


@patient
@given(passwords)
def test_a_raw_nested_url_shows_no_password(password: str) -> None:
    assert RIGHT not in mask(f"postgresql://db/flow?storage=s3://id:{password}@bucket")
    tame = password.replace("&", "")
    assert _hides(mask(f"postgresql://db/flow?storage=s3://id:{tame}@bucket"))


OTHERS = [
    f"host=db user=ana password={LEFT}{RIGHT} dbname=flow",
    f"host=db password = '{LEFT} \\' {RIGHT}' dbname=flow",
    f"password='{LEFT} {RIGHT}",
    f"sslpassword={LEFT}{RIGHT}",
    f"ana:{LEFT}{RIGHT}@db:5432/flow",
    f"jdbc:postgresql://ana:{LEFT}{RIGHT}@db/flow",
    f"postgresql://ana:{LEFT}{RIGHT}",
    f"postgresql://ana%3A{LEFT}{RIGHT}@db/flow",
    f"mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:{LEFT}{RIGHT}",
    f"postgresql://db/flow?options=-c%20password%3D{LEFT}{RIGHT}",
    f"postgresql://db/flow?storage=s3%3A%2F%2Fid%3A{LEFT}%40{RIGHT}%40bucket",
    f"postgresql://ana:12/{LEFT}{RIGHT}@db/flow",
    f"postgresql://ana:x@y/{LEFT}{RIGHT}@db/flow",
]


@pytest.mark.parametrize("text", OTHERS)
def test_other_forms_show_no_password(text: str) -> None:
    assert _hides(mask(text))


@pytest.mark.parametrize(
    "url",
    [
        "memory://", "sqlite:///srv/flow", "sqlite:///home/a:b@c/store", "file:///a@b", "/srv/a=b",
        "relative/folder", "postgresql://db:5432/flow?sslmode=require", "/data/key=5/token=1/store",
        "mongodb://a:1,b:2,c/flow?replicaSet=rs0&authSource=admin", "s3://bucket/prefix?region=x",
        "postgresql://ana@db/flow", "postgresql://[fe80::1]:5432/flow", "postgresql:///flow",
        "s3://bucket?endpoint=http://minio:9000",
    ],
)  # fmt: skip
def test_what_holds_no_secret_is_shown_as_it_is(url: str) -> None:
    assert mask(url) == url


@patient
@given(st.text(max_size=40))
def test_masking_takes_any_text(text: str) -> None:
    mask(text)
    assert mask_text(mask_text(text)) == mask_text(text)


# Where a password with blanks ends, nobody can tell inside a sentence.
@pytest.mark.parametrize("text", [text for text in OTHERS if f"{LEFT} " not in text])
def test_a_message_that_quotes_a_url_shows_no_password(text: str) -> None:
    assert _hides(mask_text(f"connection to {text} failed"))
