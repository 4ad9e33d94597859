"""What a store's URL says: its scheme, its folder, its parameters, and how to show it safely."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote, urlsplit

from flowblob.errors import InvalidInputError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_USERINFO = re.compile(r"(://[^:/?#@\s]*):\S*@")
_SECRET = re.compile(r"pass|secret|token|key|signature|credential", re.IGNORECASE)


def mask(url: str) -> str:
    """Return the URL with every password and secret parameter replaced by `***`.

    Example:
        >>> mask("postgresql://ana:secret@db/flow?storage=s3://id:key@bucket")
        'postgresql://ana:***@db/flow?storage=s3://id:***@bucket'
    """
    if not _SCHEME.match(url):
        return url
    head, mark, query = url.partition("?")
    head = _USERINFO.sub(r"\1:***@", head)
    return head + mark + "&".join(map(_mask_parameter, query.split("&")))


def _mask_parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if _SECRET.search(name):
        return f"{name}{equals}***"
    plain = unquote(value)
    return f"{name}{equals}{mask(plain) if '://' in plain else value}"


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
    pairs = [pair.partition("=") for pair in text.split("&") if pair]
    if scheme_of(url) in own_schemes:
        refuse_unknown([unquote(p[0]) for p in pairs], options, f"parameter in {mask(url)!r}")
    rest = "&".join("".join(p) for p in pairs if unquote(p[0]) not in options)
    query = {unquote(p[0]): unquote(p[2]) for p in pairs if unquote(p[0]) in options}
    return head + (f"?{rest}" if rest else ""), query


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
