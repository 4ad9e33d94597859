"""What a store's URL says: its scheme, its folder, its parameters, and how to show it safely."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flowblob.errors import InvalidInputError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET = re.compile(r"pass|pwd|secret|token|key|sig(nature)?$|credential", re.IGNORECASE)
#: `password=…` and `AWS_SESSION_TOKEN:…` inside a value.
_INNER_SECRET = re.compile(r"(pass|pwd|secret|token)\w*\s*[:=]", re.IGNORECASE)
#: Hosts with ports, as far as a URL can be told to have no user before them.
_HOST = r"(\[[^\]@]*\]|[^:@\[\]]*)(:\d+)?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*\Z")
#: A pair of libpq's own form of a connection string.
_PAIR = re.compile(
    r"(\w*(?:password|passwd|pwd|secret|token)\w*)\s*=\s*('(?:[^'\\]|\\.)*'?|\S+)", re.IGNORECASE
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_USER = re.compile(r"([^\s:/@'\"]*):[^\s/@]+@(?=\S)")
_NESTED = re.compile(r"(?:^|&)storage=([A-Za-z][A-Za-z0-9+.-]*://[^&?]*\?.*)\Z", re.DOTALL)
_MASK = "***"
#: How often something may have been percent-encoded.
_LEVELS = 5


def mask(url: str) -> str:
    """Return the URL with every password and secret parameter replaced by `***`.

    Where it cannot be told what is secret, too much is masked rather than too little: passwords
    stand in URLs unescaped more often than not.

    Example:
        >>> mask("postgresql://ana:secret@db/flow?storage=s3://id:key@bucket")
        'postgresql://ana:***@db/flow?storage=s3://id:***@bucket'
    """
    match = _SCHEME.match(url)
    if match is None:
        return url if url.startswith(("/", "~", ".")) else mask_text(url)
    rest = url[match.end() :]
    head, mark, query = rest.partition("?")
    authority = re.split(r"[/#]", head, maxsplit=1)[0]
    if "@" not in head and mark and "@" in query and not _HOSTS.match(authority):
        head, query, mark = f"{head}?{query}", "", ""  # a question mark inside the password
    if "@" not in head and not _HOSTS.match(authority):
        head = f"{head.partition(':')[0]}:{_MASK}"  # a password without a host behind it
    elif match[1].lower() not in ("file", "sqlite"):
        head = _mask_user(head)
    return match[0] + head + mark + "&".join(map(_mask_parameter, query.split("&")))


def _mask_user(head: str) -> str:
    """Mask what stands between user and host, whatever it holds."""
    user, at, host = head.rpartition("@")
    name, colon, _ = user.partition(":")
    if not colon and "%3a" in user.lower():  # a driver decodes it
        name, colon = re.split("%3a", user, maxsplit=1, flags=re.IGNORECASE)[0], ":"
    return f"{name}:{_MASK}@{host}" if at and colon else head


def _mask_parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if _SECRET.search(_decoded(name)):
        return f"{name}{equals}{_MASK}" if equals else _MASK
    if not equals:
        return _mask_value(name)
    return f"{name}{equals}{_mask_value(value)}"


def _mask_value(value: str) -> str:
    plain = value
    for _ in range(_LEVELS):
        # Decoded only until a URL shows: what is encoded inside that one is its own.
        if match := _SCHEME.search(plain):
            return _mask_value(plain[: match.start()]) + mask(plain[match.start() :])
        plain = unquote(plain)
    # A raw password with `?` or `&` in it ends up here, and an `@` is what is left to tell it by.
    return _MASK if _INNER_SECRET.search(plain) or "@" in plain else value


def _decoded(text: str) -> str:
    """Undo percent-encoding as often as it was done, within reason."""
    for _ in range(_LEVELS):
        if (plain := unquote(text)) == text:
            break
        text = plain
    return text


def mask_text(text: str) -> str:
    """Return a text, such as a driver's message, with the secrets in it masked.

    It finds URLs, `user:password@host`, and pairs such as `password=…`.
    """
    text = _URL.sub(lambda found: mask(found[0]), text)
    text = _PAIR.sub(rf"\1={_MASK}", text)
    return _USER.sub(
        lambda found: found[0] if found[0].endswith(f":{_MASK}@") else f"{found[1]}:{_MASK}@", text
    )


def scheme_of(url: str) -> str:
    """Return the URL's scheme in lower case; a plain path is `file`."""
    match = _SCHEME.match(url)
    return match[1].lower() if match else "file"


def folder_of(url: str) -> Path | None:
    """Return the folder that an embedded store's URL names, None for other URLs.

    Raises:
        InvalidInputError: The URL names no absolute folder.
    """
    if not _SCHEME.match(url):
        return Path(url).expanduser().absolute()
    if scheme_of(url) not in ("file", "sqlite"):
        return None
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.strip("/"):
        raise InvalidInputError(
            f"{mask(url)!r} names no folder",
            hint="Write sqlite:///absolute/folder, or a plain path",
        )
    # Four slashes are how SQLAlchemy and Airflow write an absolute path; they mean the same here.
    return Path("/" + unquote(parts.path).lstrip("/"))


def absolute(url: str, base: Path | None = None) -> str:
    """Make a plain path absolute, against the folder of the file that it stands in."""
    if _SCHEME.match(url):
        return url
    return str(((base or Path()) / Path(url).expanduser()).absolute())


def split_query(
    url: str, options: Collection[str], own_schemes: Collection[str]
) -> tuple[str, dict[str, str]]:
    """Take flowblob's own parameters out of a URL; what is left goes to the engine.

    A storage URL with parameters of its own stands last, and needs no encoding:
    `sqlite:///flow?cache=off&storage=s3://bucket/flow?region=eu-west-1&sse=aws:kms`.

    Args:
        url: The URL; a plain path is left as it is, question marks included.
        options: Names of flowblob's own parameters.
        own_schemes: Schemes whose engines take no other parameter.

    Raises:
        InvalidInputError: A parameter that nothing reads.
    """
    if not _SCHEME.match(url) or "?" not in url:
        return url, {}
    head, _, text = url.partition("?")
    text, storage = _cut_storage(text)
    pairs = [pair.partition("=") for pair in text.split("&") if pair]
    if scheme_of(url) in own_schemes:
        refuse_unknown([unquote(p[0]) for p in pairs], options, f"parameter in {mask(url)!r}")
    rest = "&".join("".join(p) for p in pairs if unquote(p[0]) not in options)
    query = {unquote(p[0]): unquote(p[2]) for p in pairs if unquote(p[0]) in options}
    return head + (f"?{rest}" if rest else ""), query | storage


def _cut_storage(query: str) -> tuple[str, dict[str, str]]:
    """Take a storage URL that has parameters of its own off the end, to which it runs."""
    if match := _NESTED.search(query):
        return query[: match.start()], {"storage": match[1]}
    return query, {}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that names the closest known word, or nothing."""
    close = get_close_matches(word, list(known), 1, 0.6)
    return f"Did you mean {close[0]!r}?" if close else ""


def refuse_unknown(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse a name that nothing reads, with the name that was probably meant."""
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known) or f"Known: {', '.join(known)}"
            raise InvalidInputError(f"Unknown {what}: {name!r}", hint=hint)
