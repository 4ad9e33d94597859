"""Which code a function is: its syntax, and what it reads from outside, followed.

The functions and classes of the user's own code that a function reaches are numbered in the order
in which they are met, starting with itself, so that mutual recursion ends and the result depends
on nothing but the code. Names of modules are never part of it.
"""

from __future__ import annotations

import threading
import types
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flowblob.errors import InvalidInputError
from flowblob.keys.canonical import Hashing
from flowblob.keys.guards import Guards
from flowblob.keys.hashes import hash_parts
from flowblob.keys.origin import is_user_class, library_name
from flowblob.keys.walk import CodeItem, Walk

CodeMode = Literal["deep", "function"]


@dataclass(frozen=True, slots=True)
class CodeIdentity:
    """The identity of a function's code.

    Attributes:
        digest: `b3:<64 hex>`.
        items: What was followed, the function itself first, each with a digest of its own.
        by_name: What counts by its name alone.
        warnings: What could not be walked, and why it matters.
    """

    digest: str
    items: tuple[CodeItem, ...] = ()
    by_name: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class TrackedCode:
    """A code identity together with what it relied on.

    Attributes:
        identity: The identity as it was computed.
    """

    __slots__ = ("_guards", "_subject", "identity")

    def __init__(self, subject: object, identity: CodeIdentity, guards: Guards) -> None:
        self.identity = identity
        self._guards = guards
        # Weak, since a cache of these lives as long as the subject.
        self._subject = id(subject)

    def is_fresh(self) -> bool:
        """Say whether nothing that the identity relied on has changed."""
        if not self._guards.is_intact():
            return False
        if not self._guards.changing:
            return True
        _active.stack.append(_Root(self._subject))
        try:
            return all(_same(value, digest) for value, digest in self._guards.changing)
        finally:
            _active.stack.pop()

    def keeps_alive(self, subject: object) -> bool:
        """Say whether the identity refers back to its own subject through a closure."""
        return self._guards.holds(subject)


def _same(value: object, digest: str) -> bool:
    try:
        return Hashing(in_code=True).digest(value) == digest
    except InvalidInputError:
        return False


@dataclass(slots=True)
class _Root:
    subject: int
    refers_up: bool = False


class _Active(threading.local):
    """The roots that are being walked in this thread, outermost first."""

    def __init__(self) -> None:
        self.stack: list[_Root] = []


_active = _Active()
_tracked: weakref.WeakKeyDictionary[Any, TrackedCode] = weakref.WeakKeyDictionary()


def function_identity(
    function: object, *, code: CodeMode = "deep", packages: Sequence[str] = ()
) -> CodeIdentity:
    """Return the identity of a function's code.

    Comments, layout, docstrings, the function's name, its decorators and its module do not count.
    Its body, its signature, defaults, closure and the globals it reads do; functions and classes
    of the user's own code among them are followed.

    Args:
        function: A function, method, partial, class or callable object.
        code: `"deep"`, or `"function"` to stop at the body, defaults and closure.
        packages: Distributions whose installed version counts too.

    Raises:
        InvalidInputError: A package is not installed.
    """
    identity = track(function, code=code).identity
    if not packages:
        return identity
    versions = [f"{name}=={package_version(name)}" for name in sorted(packages)]
    digest = hash_parts("packages", identity.digest, *versions)
    return CodeIdentity(digest, identity.items, identity.by_name, identity.warnings)


def package_version(name: str) -> str:
    """Return the installed version of a distribution.

    Args:
        name: Its name on the package index.

    Raises:
        InvalidInputError: It is not installed.
    """
    from importlib import metadata  # it loads half of `email`

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise InvalidInputError(
            f"packages= names {name!r}, which is not installed here",
            hint="Give the distribution's name, such as 'scikit-learn' for the module sklearn",
        ) from error


def track(function: object, *, code: CodeMode = "deep") -> TrackedCode:
    """Return the identity with the means to check that it still holds.

    Args:
        function: As for `function_identity`.
        code: As for `function_identity`.
    """
    walk = Walk(is_deep=code == "deep")
    root = _Root(id(function))
    _active.stack.append(root)
    try:
        digest = walk.run(function)
    finally:
        _active.stack.pop()
    walk.guards.seal()
    identity = CodeIdentity(digest, tuple(walk.items), tuple(walk.by_name), tuple(walk.warnings))
    tracked = TrackedCode(function, identity, walk.guards)
    if code == "deep" and not root.refers_up and not tracked.keeps_alive(function):
        try:
            _tracked[function] = tracked
        except TypeError:  # neither hashable nor weakly referable
            return tracked
    return tracked


def nested_identity(function: Any) -> CodeIdentity:
    """Return the identity of a function or class that is met as a value.

    Where it is already being walked further up, a fixed text stands for it.

    Args:
        function: A function or a class.
    """
    subject = id(function)
    for at, root in enumerate(_active.stack):
        if root.subject == subject:
            for later in _active.stack[at + 1 :]:
                later.refers_up = True
            return CodeIdentity(hash_parts("recursive", plain_name(function)))
    known = _tracked.get(function)
    if known is not None and known.is_fresh():
        return known.identity
    return track(function).identity


def class_identity(cls: type) -> tuple[str, CodeIdentity | None]:
    """Return what counts of a class, with the identity of its code if it is the user's own.

    Args:
        cls: Any class.
    """
    if not is_user_class(cls):
        return library_name(cls), None
    identity = nested_identity(cls)
    return f"{plain_name(cls)} {identity.digest}", identity


def plain_name(function: object) -> str:
    """Return the qualified name without the marks of enclosing functions.

    Args:
        function: A function, class or callable object.
    """
    named = function if hasattr(function, "__qualname__") else type(function)
    inner = getattr(function, "func", None)
    if not hasattr(function, "__qualname__") and isinstance(inner, types.FunctionType):
        named = inner
    return str(getattr(named, "__qualname__", "")).replace("<locals>.", "")
