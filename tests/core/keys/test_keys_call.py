"""From a call to its key: binding, ingredients, options and errors."""

from __future__ import annotations

import os
import pickle
import sys
import uuid
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import digest, positional, task

from flowblob.checks import utc_now
from flowblob.errors import InvalidInputError
from flowblob.keys import SCHEME, Recipe, hash_with, value_digest
from flowblob.model import Blob, Ref

_NOT_GIVEN = object()


def sentinel(a: Any = _NOT_GIVEN) -> None: ...


def length_only(a: Annotated[list[int], hash_with(len)], b: int = 0) -> None: ...


class Model:
    def __init__(self, rate: float) -> None:
        self.rate = rate

    def fit(self, data: Any) -> None: ...


def blob(**changes: Any) -> Blob:
    values: dict[str, Any] = {
        "id": str(uuid.UUID(int=1)),
        "key": "a",
        "version": 0,
        "incarnation": str(uuid.UUID(int=2)),
        "digest": "sha256:" + "0" * 64,
        "size": 1,
        "checksum": "",
        "kind": "",
        "media_type": "",
        "serializer": "json",
        "created_at": utc_now(),
    }
    return Blob(**{**values, **changes})


# ------------------------------------------------------------------ binding


def test_ways_of_writing_one_call_share_a_key() -> None:
    expected = digest(task, 1)
    for args, kwargs in [
        ((1, 2), {}),
        ((), {"a": 1}),
        ((1,), {"b": 2}),
        ((), {"c": "c", "b": 2, "a": 1}),
    ]:
        assert digest(task, *args, **kwargs) == expected


def test_different_arguments_give_different_keys() -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((1,), {}),
        ((True,), {}),
        ((1.0,), {}),
        (("1",), {}),
        ((2, 1), {}),
        ((1, 3), {}),
        ((1,), {"c": 2}),
        (([1],), {}),
        (((1,),), {}),
    ]
    found = {digest(task, *args, **kwargs) for args, kwargs in calls}
    assert len(found) == len(calls)


def test_a_value_may_not_move_from_one_argument_to_another() -> None:
    assert digest(task, 1, 2) != digest(task, 2, 1)
    assert digest(positional, 1, 2, 3) != digest(positional, 1, 2, c=3)


def test_further_positional_arguments_count_in_their_order() -> None:
    assert digest(positional, 1, 2, 3, 4) != digest(positional, 1, 2, 4, 3)
    assert digest(positional, 1, 2, (3,)) != digest(positional, 1, 2, 3)
    assert digest(positional, 1, 2, x=1) != digest(positional, 1, 2, y=1)


def test_bind_names_and_fills_in_all_arguments() -> None:
    recipe = Recipe(positional)
    bound = recipe.bind((1, 2, 3), {"x": 4})
    assert bound == {"a": 1, "b": 2, "rest": (3,), "c": 1, "more": {"x": 4}}
    assert Recipe(task).bind((), {"a": 1}) == {"a": 1, "b": 2, "c": "c"}


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"d": 1}), ((), {"b": 1})],
)
def test_a_call_that_python_refuses_is_a_type_error(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    def plain(a: Any, b: Any = 2) -> None: ...

    for function in (task, plain):
        with pytest.raises(TypeError, match=r"\(\) "):
            Recipe(function).key(args, kwargs)


@given(
    args=st.lists(st.integers(), max_size=4),
    kwargs=st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=4),
)
def test_the_quick_way_of_binding_agrees_with_inspect(
    args: list[int], kwargs: dict[str, int]
) -> None:
    def plain(a: int, b: int, c: int = 3) -> None: ...

    recipe = Recipe(plain)
    try:
        bound = recipe.signature.bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError):
            recipe.bind(tuple(args), kwargs)
        return
    bound.apply_defaults()
    assert recipe.bind(tuple(args), kwargs) == bound.arguments


def test_self_counts_by_its_value() -> None:
    one, same, other = Model(1), Model(1), Model(2)
    assert digest(Model.fit, one, 1) == digest(Model.fit, same, 1)
    assert digest(Model.fit, one, 1) != digest(Model.fit, other, 1)


def test_a_bare_object_as_default_means_not_given() -> None:
    assert digest(sentinel) == digest(sentinel, _NOT_GIVEN)
    assert digest(sentinel) != digest(sentinel, None)
    with pytest.raises(InvalidInputError, match="memory address"):
        digest(sentinel, object())


# ------------------------------------------------------------------ ingredients


def test_ingredients_stand_in_a_fixed_order() -> None:
    recipe = Recipe(task, salt="s", packages=["pytest"])
    key = recipe.key((1,), {"c": [1, 2]}, {"z": 1, "region": "eu"})
    named = [(item.name, item.kind) for item in key.ingredients]
    assert named == [
        ("code", "code"),
        ("a", "argument"),
        ("b", "argument"),
        ("c", "argument"),
        ("pytest", "package"),
        ("salt", "salt"),
        ("region", "extra"),
        ("z", "extra"),
    ]
    assert key.name == "task"
    assert key.module == "samples"
    assert key.digest.startswith(f"{SCHEME}:")
    assert len(key.digest) == len(SCHEME) + 65


def test_an_argument_adds_its_value_digest() -> None:
    key = Recipe(task).key(([1, 2],), {})
    assert key.ingredients[1].digest == value_digest([1, 2])


def test_only_the_changed_ingredient_differs() -> None:
    recipe = Recipe(task)
    one, other = recipe.key((1,), {"c": 1}), recipe.key((1,), {"c": 2})
    pairs = zip(one.ingredients, other.ingredients, strict=True)
    assert [a.name for a, b in pairs if a.digest != b.digest] == ["c"]


def test_extras_salt_and_packages_count() -> None:
    keys = [
        Recipe(task).key((1,), {}).digest,
        Recipe(task).key((1,), {}, {"x": 1}).digest,
        Recipe(task).key((1,), {}, {"x": 2}).digest,
        Recipe(task).key((1,), {}, {"salt": "s"}).digest,
        Recipe(task, salt="s").key((1,), {}).digest,
        Recipe(task, salt="t").key((1,), {}).digest,
        Recipe(task, packages=["pytest"]).key((1,), {}).digest,
    ]
    assert len(set(keys)) == len(keys)


def test_an_ignored_argument_does_not_count() -> None:
    recipe = Recipe(task, ignore=["b", "c"])
    assert recipe.key((1, 2), {}).digest == recipe.key((1, 3), {"c": object()}).digest
    assert recipe.key((1,), {}).digest != recipe.key((2,), {}).digest
    keywords = Recipe(positional, ignore=["verbose"])
    assert keywords.key((1, 2), {"verbose": 1}).digest == keywords.key((1, 2), {}).digest
    assert keywords.key((1, 2), {"other": 1}).digest != keywords.key((1, 2), {}).digest


def test_ignoring_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"'verbos'.*Its parameters are a, b, c"):
        Recipe(task, ignore=["verbos"])


def test_a_version_replaces_the_code() -> None:
    def one(x: int) -> int:
        return x

    def other(x: int) -> int:
        return -x

    def key(function: Any, version: str) -> str:
        return Recipe(function, name="n", version=version).key((1,), {}).digest

    assert key(one, "1") == key(other, "1")
    assert key(one, "1") != key(one, "2")
    assert (
        Recipe(one, name="n").key((1,), {}).digest != Recipe(other, name="n").key((1,), {}).digest
    )
    with pytest.raises(InvalidInputError, match="name="):
        Recipe(one, version="1")


def test_the_name_counts_and_may_be_given() -> None:
    assert Recipe(task, name="a").key((1,), {}).digest != digest(task, 1)
    assert Recipe(task, name="task").key((1,), {}).digest == digest(task, 1)
    assert Recipe(Model.fit).name == "Model.fit"

    def inner() -> None: ...

    assert Recipe(inner).name == "test_the_name_counts_and_may_be_given.inner"


def test_an_unknown_code_mode_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="deep"):
        Recipe(task, code="shallow")  # type: ignore[arg-type]


def test_a_function_without_a_signature_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no signature"):
        Recipe(dict.fromkeys.__self__.update)  # type: ignore[attr-defined]


# ------------------------------------------------------------------ rules of the user


def test_hash_with_decides_how_an_argument_counts() -> None:
    assert digest(length_only, [1, 2]) == digest(length_only, [3, 4])
    assert digest(length_only, [1, 2]) != digest(length_only, [1])
    assert digest(length_only, [1, 2], b=1) != digest(length_only, [1, 2], b=2)


def test_hash_with_may_not_return_a_memory_address() -> None:
    def by_repr(a: Annotated[object, hash_with(repr)]) -> None: ...

    with pytest.raises(InvalidInputError, match="memory address"):
        digest(by_repr, object())


def test_an_error_names_the_argument() -> None:
    with pytest.raises(InvalidInputError, match=r"Argument 'c' of task: .*generator.*uses it up"):
        digest(task, 1, c=(x for x in "ab"))


def test_a_warning_names_the_argument() -> None:
    message = __import__("email.message").message.Message()
    key = Recipe(task).key((message,), {})
    assert any(text.startswith("argument 'a': email.message.Message") for text in key.warnings)


def test_a_blob_is_an_ingredient_of_its_own_kind() -> None:
    recipe = Recipe(task)
    key = recipe.key((blob(),), {})
    assert (key.ingredients[1].kind, key.ingredients[1].summary) == ("blob", "a@0")
    assert recipe.key((blob(tags={"x": 1}),), {}).digest == key.digest
    assert recipe.key((blob(id=str(uuid.UUID(int=9))),), {}).digest != key.digest
    refs = {recipe.key((Ref.parse(text),), {}).digest for text in ("a", "a@0", "a@prod")}
    assert len(refs) == 3
    assert recipe.key((Ref("a"),), {}).ingredients[1].kind == "blob"


def test_a_string_that_looks_like_a_reference_is_a_string() -> None:
    assert digest(task, "a@0") != digest(task, Ref.parse("a@0"))
    assert digest(task, value_digest(1)) != digest(task, 1)


# ------------------------------------------------------------------ summaries


def test_a_summary_never_shows_a_secret() -> None:
    def connect(url: str, api_key: str, password: object, options: dict[str, str]) -> None: ...

    args = ("https://me:hunter2@host/x", "hunter2", ["hunter2"], {"password": "hunter2"})
    key = Recipe(connect).key(args, {})
    assert "hunter2" not in repr(key)
    assert any("***@host" in item.summary for item in key.ingredients)


@pytest.mark.parametrize(
    "value",
    ["x" * 1000, 10**5000, list(range(1000)), b"x" * 1000, {"a": "x" * 1000}, [1, 2]],
    ids=lambda value: type(value).__name__,
)
def test_a_summary_is_short(value: object) -> None:
    assert all(len(item.summary) <= 80 for item in Recipe(task).key((value,), {}).ingredients)


# ------------------------------------------------------------------ the rest


def test_a_recipe_pickles() -> None:
    recipe = Recipe(os.path.join, ignore=["p"], salt="s")
    again = pickle.loads(pickle.dumps(recipe))
    assert again.key(("a", "b"), {}) == recipe.key(("a", "b"), {})


def test_keys_load_no_third_party_module() -> None:
    import subprocess

    text = "import sys, flowblob.keys as k; k.Recipe; print('blake3' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"
