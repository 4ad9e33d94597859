"""What a function only fills or counts up is no input of it; what it reads is."""

from __future__ import annotations

import collections
import sys

from flowblob.keys import Recipe

CALLS: list[int] = []
SEEN: dict[str, int] = collections.defaultdict(int)
TOTAL = 0


def fills(x):
    CALLS.append(x)
    SEEN["x"] += 1
    return x + 1


def counts(x):
    global TOTAL  # noqa: PLW0603 - that is what is tested
    TOTAL += 1
    return x + 1


def reads_what_it_fills(x):
    CALLS.append(x)
    return len(CALLS)


def changes_its_argument_by_a_global(x):
    CALLS.sort(key=lambda _: x.append(1))
    return x


def digest(function, *args):
    return Recipe(function).key(args, {}).digest


def test_a_list_that_is_only_filled_does_not_count():
    before = digest(fills, 1)
    fills(1)
    assert digest(fills, 1) == before


def test_a_counter_that_is_only_counted_up_does_not_count():
    before = digest(counts, 1)
    counts(1)
    assert digest(counts, 1) == before


def test_a_counter_in_a_closure_does_not_count():
    total, seen = 0, []

    def inner(x):
        nonlocal total
        total += 1
        seen.append(x)
        return x

    before = digest(inner, 1)
    inner(1)
    assert digest(inner, 1) == before


def test_a_list_that_is_read_counts():
    before = digest(reads_what_it_fills, 1)
    CALLS.append(0)
    assert digest(reads_what_it_fills, 1) != before


def test_a_list_whose_other_methods_are_called_counts():
    before = digest(changes_its_argument_by_a_global, [])
    CALLS.append(0)
    assert digest(changes_its_argument_by_a_global, []) != before


def test_one_recipe_sees_that_nothing_it_reads_has_changed():
    recipe = Recipe(fills)
    before = recipe.key((1,), {}).digest
    fills(1)
    assert recipe.key((1,), {}).digest == before


def test_what_is_called_in_a_module_is_no_filling(load, monkeypatch):
    load("def update(x): x.append(1)\n", "filling_helpers", "place")
    module = load(
        "import filling_helpers\ndef task(x):\n    filling_helpers.update(x)\n    return x\n"
    )
    recipe = Recipe(module.task)
    before = recipe.key(([],), {})
    assert before.warnings == ()
    filling = sys.modules["filling_helpers"]
    monkeypatch.setattr(filling, "update", lambda x: x.append(2))
    assert recipe.key(([],), {}).digest != before.digest


def test_a_list_that_becomes_another_kind_of_object_counts(load):
    module = load("CALLS = []\ndef task(x):\n    CALLS.append(x)\n    return x\n")
    recipe = Recipe(module.task)
    before = recipe.key(([],), {}).digest
    module.CALLS = [1]
    assert recipe.key(([],), {}).digest == before
    exec("class Doubling(list):\n    def append(self, x): x += x\n", vars(module))
    module.CALLS = module.Doubling()
    assert recipe.key(([],), {}).digest != before
