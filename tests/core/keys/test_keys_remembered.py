"""What a recipe remembers of earlier calls changes no key."""

from __future__ import annotations

from typing import Annotated

import pytest
from samples import digest, positional, task

from flowblob.keys import Recipe, hash_with

LOOKALIKES = [
    0, 0.0, -0.0, False, "", b"", None, 1, 1.0, True, "1", b"1", 0.1, -1.0, float("nan"),
    float("inf"), 10**400, "x" * 1000, b"x" * 1000, -(2**70), (1,), [1],
]  # fmt: skip


def test_a_remembered_key_is_the_one_that_a_fresh_recipe_makes() -> None:
    recipe = Recipe(task)
    for _ in range(3):
        for value in LOOKALIKES:
            assert recipe.key((value,), {}).digest == digest(task, value)
            assert recipe.key((7,), {"b": value}).digest == digest(task, 7, value)
            assert recipe.key((7,), {"c": value}).digest == digest(task, 7, c=value)


def test_what_a_recipe_remembers_is_bounded() -> None:
    recipe = Recipe(task)
    keys = {recipe.key((number,), {}).digest for number in range(3000)}
    assert len(keys) == 3000
    assert len(recipe._first[3]) <= 512


def filled(a: int, b: list[int] = []) -> None: ...  # noqa: B006 - what is tested


def test_a_default_that_changed_in_place_is_another_key() -> None:
    recipe = Recipe(filled)
    first = recipe.key((1,), {})
    assert filled.__defaults__ is not None
    filled.__defaults__[0].append(1)
    try:
        assert recipe.key((1,), {}).digest != first.digest
    finally:
        filled.__defaults__[0].clear()


def test_code_that_changed_is_another_key_for_the_same_arguments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe(reads_rate)
    first = recipe.key((1,), {})
    assert recipe.key((1,), {}) is first
    monkeypatch.setitem(globals(), "RATE", 3)
    assert recipe.key((1,), {}).digest != first.digest
    monkeypatch.undo()
    assert recipe.key((1,), {}).digest == first.digest


RATE = 2


def reads_rate(a: int) -> int:
    return a * RATE


def test_the_order_of_keywords_does_not_count() -> None:
    assert digest(positional, 1, 2, x=1, y=2) == digest(positional, 1, 2, y=2, x=1)
    assert digest(positional, 1, 2, x=1, y=2) != digest(positional, 1, 2, x=2, y=1)
    assert digest(task, 1, b=2, c=3) == digest(task, 1, c=3, b=2)
    assert digest(positional, 1, 2, x=1) != digest(positional, 1, 2, x={"x": 1})


def test_hash_with_on_many_arguments_takes_each_of_them() -> None:
    def use(
        *items: Annotated[object, hash_with(type)], **more: Annotated[object, hash_with(type)]
    ) -> None: ...

    recipe = Recipe(use)
    key = recipe.key((1, "a"), {"x": 2}).digest
    assert recipe.key((3, "b"), {"x": 4}).digest == key
    assert (
        len(
            {
                key,
                *(
                    recipe.key(*call).digest
                    for call in (
                        ((1,), {"x": 2}),
                        ((1, 2), {"x": 2}),
                        ((1, "a"), {"y": 2}),
                        ((1, "a"), {"x": "a"}),
                    )
                ),
            }
        )
        == 5
    )
