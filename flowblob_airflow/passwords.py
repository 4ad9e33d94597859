"""Passwords of store URLs, taken out and put back: Airflow masks what stands in fields for them."""

from __future__ import annotations

from urllib.parse import quote, unquote


def apart(url: str) -> tuple[str, str]:
    """Return a URL without its password, and the password; empty where there is none.

    Example:
        >>> apart("s3://AKIA:a/b%2Bc@bucket/flow")
        ('s3://AKIA@bucket/flow', 'a/b+c')
    """
    login, rest = _login(url)
    user, _, password = login.partition(":")
    if not user or not password:
        return url, ""
    return f"{url.partition('://')[0]}://{user}@{rest}", unquote(password)


def joined(url: str, login: str | None, password: str | None) -> str:
    """Return a URL with a password where it has none, and with a user where it has none.

    Example:
        >>> joined("postgresql://ana@db/flow", None, "a/b")
        'postgresql://ana:a%2Fb@db/flow'
    """
    found, rest = _login(url)
    user = found or (quote(login, safe="") if login else "")
    if not user or ":" in found or not rest or rest[0] in "/?":
        return url
    secret = f":{quote(password, safe='')}" if password else ""
    return f"{url.partition('://')[0]}://{user}{secret}@{rest}"


def _login(url: str) -> tuple[str, str]:
    """Return what stands before the host, and from the host on; nothing for a plain path."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return "", ""
    head = rest.partition("?")[0]
    # Secrets made by AWS hold slashes, which nobody encodes.
    authority = head if scheme.lower() == "s3" else head.partition("/")[0]
    login, at, _ = authority.rpartition("@")
    return login, rest[len(login) + len(at) :]
