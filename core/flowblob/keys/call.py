"""The key of a call: which function, which code, which bound and defaulted arguments."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from flowblob.errors import InvalidInputError
from flowblob.keys.canonical import SCHEME, Hashing
from flowblob.keys.code import CodeIdentity, CodeMode, TrackedCode, package_version, plain_name
from flowblob.keys.code import track as track_code
from flowblob.keys.guards import is_immutable
from flowblob.keys.hashes import PLAIN, atom_digest, hash_parts
from flowblob.keys.signatures import hash_with, hashers_of, signature_of
from flowblob.keys.summary import is_secret, summarize, summarize_code
from flowblob.model import EMPTY, Blob, CacheKey, Ingredient, Ref, maker

_DOMAIN: Final = f"flowblob call {SCHEME}\n"
_NO_DEFAULT: Final = inspect.Parameter.empty
#: What a recipe keeps at most: so many keys, of arguments of so many bytes.
_REMEMBERED: Final = 512
_SHORT: Final = 256
#: Equal values of these types are one argument, if their types are equal; but 0.0 is not -0.0.
_EXACT: Final = frozenset({type(None), bool, int, str, bytes})
_EXACT_OR_FLOAT: Final = _EXACT | {float}
_make_ingredient, _make_key = maker(Ingredient), maker(CacheKey)


_Question = tuple[Any, ...]
#: The first ingredient, the text that begins every key, warnings, and the keys made with these.
_First = tuple[Ingredient, str, tuple[str, ...], dict[_Question | None, CacheKey]]


class Recipe:
    """How the calls of one function become cache keys. Made once for a function.

    Attributes:
        function: The function, as the user wrote it.
        name: Its qualified name, or what replaces it; part of every key.
        module: Where it was defined; shown, never hashed.
        version: Replaces the code, if given.

    Example:
        >>> def double(x, by=2): return x * by
        >>> recipe = Recipe(double)
        >>> recipe.key((4,), {}).digest == recipe.key((), {"x": 4, "by": 2}).digest
        True
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        version: str | None = None,
        code: CodeMode = "deep",
        ignore: Sequence[str] = (),
        salt: object = None,
        packages: Sequence[str] = (),
    ) -> None:
        """Check the options and read the signature.

        Args:
            function: The plain function; a host says which one that is.
            name: Replaces the qualified name.
            version: Replaces the code; needs `name`, since the code then tells nothing apart.
            code: `"deep"`, or `"function"` to stop at the body.
            ignore: Parameters that do not count.
            salt: A further value that counts.
            packages: Distributions whose installed version counts.

        Raises:
            InvalidInputError: An option that can never work, such as an unknown parameter.
        """
        if version is not None and not name:
            raise InvalidInputError(
                "version= replaces the code, so that nothing would tell two functions apart",
                hint="Give name= too",
            )
        if code not in ("deep", "function"):
            raise InvalidInputError(f"Unknown code={code!r}", hint="Use 'deep' or 'function'")
        self.function = function
        self.name = name or plain_name(function)
        self.module = str(getattr(function, "__module__", "") or "")
        self.version = None if version is None else str(version)
        self._options = (name, version, code, tuple(ignore), salt, tuple(packages))
        self._mode: CodeMode = code
        self._tracked: TrackedCode | None = None
        self._read_signature(frozenset([ignore] if isinstance(ignore, str) else ignore))
        self._settled = self._settle_defaults()
        self._may_remember = not self._hashers and all(
            name in self._settled for name in self._counted if name in self._defaults
        )
        self._first = self._version_part()
        self._fixed = self._fixed_extras(salt, packages)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.function, *self._options))

    def __repr__(self) -> str:
        return f"Recipe({self.name})"

    # -------------------------------------------------------------- binding

    def _read_signature(self, ignored: frozenset[str]) -> None:
        self.signature = signature = signature_of(self.function)
        parameters = signature.parameters
        kinds = [item.kind for item in parameters.values()]
        takes_any = inspect.Parameter.VAR_KEYWORD in kinds
        unknown = sorted(ignored - parameters.keys())
        if unknown and not takes_any:
            raise InvalidInputError(
                f"ignore= names {', '.join(map(repr, unknown))}, which {self.name} does not take",
                hint=f"Its parameters are {', '.join(parameters) or 'none'}",
            )
        self._ignored = ignored
        self._any_name = next(
            (n for n, p in parameters.items() if p.kind is inspect.Parameter.VAR_KEYWORD), ""
        )
        # Only for parameters that can be given either way is the quick way in bind() right.
        self._is_plain = all(kind is inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds)
        self._names = tuple(parameters)
        self._defaults = {
            n: p.default for n, p in parameters.items() if p.default is not _NO_DEFAULT
        }
        self._heads = {n: f"{len(n)}:{n}," for n in self._names}
        self._counted = tuple(sorted(n for n in self._names if n not in ignored))
        self._secret = frozenset(n for n in self._names if is_secret(n))
        self._hashers = hashers_of(self.function, parameters)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, with defaults filled in.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.

        Raises:
            TypeError: The function does not take them; the same text as calling it.
        """
        names = self._names
        if self._is_plain and len(args) <= len(names):
            bound = dict(zip(names, args, strict=False))
            if kwargs and not bound.keys().isdisjoint(kwargs):
                return self._bind_slowly(args, kwargs)
            bound = self._defaults | bound
            if kwargs:
                bound.update(kwargs)
            if len(bound) == len(names) and (not kwargs or bound.keys() == self._heads.keys()):
                return bound
        return self._bind_slowly(args, kwargs)

    def _bind_slowly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}() {error}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    # -------------------------------------------------------------- the key

    def code(self) -> CodeIdentity:
        """Return the identity of the code as it is now.

        What the function reads is compared with what it was; nothing is walked again unless a
        name has been rebound or an object has changed.
        """
        tracked = self._tracked
        if tracked is None or not tracked.is_fresh():
            tracked = track_code(self.function, code=self._mode)
            identity = tracked.identity
            part = Ingredient("code", "code", identity.digest, summarize_code(identity.items))
            # One assignment: another thread must not see a part of this. What is remembered goes
            # with the code that it was made for.
            self._first = (part, self._head(part), tracked.identity.warnings, {})
            self._tracked = tracked
        return tracked.identity

    def key(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        extras: Mapping[str, object] = EMPTY,
    ) -> CacheKey:
        """Return the cache key of one call.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.
            extras: Further values that count, by name.

        Raises:
            InvalidInputError: An argument has no lasting identity; the message names it.
            TypeError: The function does not take these arguments.
        """
        if self.version is None:
            self.code()
        first, head, noted, known = self._first
        asked = None
        if self._may_remember and not extras:
            asked = _question(args, kwargs)
            if (found := known.get(asked)) is not None:
                return found
        key = self._key(self.bind(args, kwargs), extras, first, head, noted)
        if asked is not None and _is_short(asked[0]):
            if len(known) >= _REMEMBERED:
                known.clear()
            known[asked] = key
        return key

    def _key(
        self,
        bound: dict[str, Any],
        extras: Mapping[str, object],
        first: Ingredient,
        head: str,
        noted: tuple[str, ...],
    ) -> CacheKey:
        ingredients, text = [first], [head]
        warnings: list[str] = []
        for name in self._counted:
            value = bound[name]
            known = self._settled.get(name)
            if known is not None and value is known[0]:
                found, part = known[1], known[2]
            else:
                found = self._argument(name, value, warnings)
                part = f"{self._heads[name]}{found.kind}:{found.digest},"
            ingredients.append(found)
            text.append(part)
        more = self._fixed
        if extras:
            more = (*more, *(self._extra(n, extras[n], warnings) for n in sorted(extras)))
        for found in more:
            ingredients.append(found)
            text.append(f"{len(found.name)}:{found.name},{found.kind}:{found.digest},")
        whole = "".join(text).encode("utf-8", "surrogatepass")
        digest = f"{SCHEME}:{hashlib.sha256(whole).hexdigest()}"
        return _make_key(digest, self.name, tuple(ingredients), self.module, (*noted, *warnings))

    def _head(self, first: Ingredient) -> str:
        named = f"{_DOMAIN}{len(self.name)}:{self.name},"
        return f"{named}{first.kind}:{first.digest},{len(self._counted)};"

    def _version_part(self) -> _First:
        version = self.version or ""
        part = Ingredient("version", "version", hash_parts("version", version), version[:80])
        return part, self._head(part), (), {}

    def _settle_defaults(self) -> dict[str, tuple[object, Ingredient, str]]:
        """Prepare what a parameter adds that was left at a default which cannot change."""
        settled = {}
        for name, value in self._defaults.items():
            if name in self._counted and is_immutable(value):
                found = self._argument(name, value, [])
                settled[name] = (value, found, f"{self._heads[name]}{found.kind}:{found.digest},")
        return settled

    def _argument(self, name: str, value: Any, warnings: list[str]) -> Ingredient:
        kind = type(value)
        if kind in PLAIN and name not in self._hashers:
            digest = atom_digest(value, kind)
        else:
            digest = self._slow_digest(name, value, warnings)
        shown = "" if name in self._secret else summarize(value)
        is_blob = kind is Blob or kind is Ref
        return _make_ingredient(name, "blob" if is_blob else "argument", digest, shown)

    def _slow_digest(self, name: str, value: Any, warnings: list[str]) -> str:
        if type(value) is object and value is self._defaults.get(name):
            return hash_parts("not given")  # a sentinel: its address says nothing
        if name == self._any_name:  # keywords have no order
            value = {k: value[k] for k in sorted(value) if k not in self._ignored}
        hashing = Hashing()
        try:
            if (hasher := self._hashers.get(name)) is not None:
                key = self._by_hasher(self.signature.parameters[name].kind, hasher, value)
                digest = hash_parts("hash_with", hashing.digest(key))
            else:
                digest = hashing.digest(value)
            digest = hashing.marked(digest)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"Argument {name!r} of {self.name}: {error.message}", hint=error.hint
            ) from error
        warnings.extend(f"argument {name!r}: {text}" for text in hashing.warnings)
        return digest

    def _by_hasher(self, kind: Any, hasher: hash_with, value: Any) -> object:
        from flowblob.keys.rules import refuse_address

        if kind is inspect.Parameter.VAR_POSITIONAL:  # an annotation there is that of each
            return tuple(self._by_hasher(None, hasher, each) for each in value)
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {name: self._by_hasher(None, hasher, value[name]) for name in value}
        if getattr(type(value), "__flowblob_lazy__", False):
            value = value.load()
        key = hasher.function(value)
        refuse_address(key, value)
        return key

    def _extra(
        self, name: str, value: object, warnings: list[str], kind: str = "extra"
    ) -> Ingredient:
        hashing = Hashing()
        digest = hashing.marked(hashing.digest(value))
        warnings.extend(f"{kind} {name!r}: {text}" for text in hashing.warnings)
        return Ingredient(name, kind, digest, "" if kind == "salt" else summarize(value))

    def _fixed_extras(self, salt: object, packages: Sequence[str]) -> tuple[Ingredient, ...]:
        listed = [packages] if isinstance(packages, str) else sorted(set(packages))
        found = []
        for name in listed:
            version = package_version(name)
            found.append(Ingredient(name, "package", hash_parts("package", version), version))
        if salt is not None:
            found.append(self._extra("salt", salt, [], "salt"))
        return tuple(found)


def _question(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> _Question | None:
    """Return what tells calls with plain arguments apart; None where an argument may change."""
    values = (*args, *kwargs.values()) if kwargs else args
    kinds = tuple(map(type, values))
    if _EXACT.issuperset(kinds):
        return (values, kinds, tuple(kwargs))
    if _EXACT_OR_FLOAT.issuperset(kinds):
        signs = [math.copysign(1, value) for value in values if type(value) is float]
        return (values, kinds, tuple(kwargs), *signs)
    return None


def _is_short(values: tuple[Any, ...]) -> bool:
    length = sum(
        len(value) if isinstance(value, str | bytes) else value.bit_length() // 8
        for value in values
        if isinstance(value, str | bytes | int)
    )
    return length + len(values) <= _SHORT


def _rebuild(function: Callable[..., Any], *options: Any) -> Recipe:
    name, version, code, ignore, salt, packages = options
    return Recipe(
        function,
        name=name,
        version=version,
        code=code,
        ignore=ignore,
        salt=salt,
        packages=packages,
    )
