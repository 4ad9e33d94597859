"""Cache keys of calls with one argument, beside joblib.hash and Prefect's hash_objects."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from measuring import PREFECT, Goal, Side, Worker, compare, serve

ROUNDS = 11


def values() -> dict[str, tuple[Any, int]]:
    """Return what is hashed, and how often in a round; alike in both environments."""
    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "a": random.random(1_000_000),
            "b": random.random(1_000_000),
            "c": random.integers(0, 1000, 1_000_000),
            "d": random.integers(0, 9, 1_000_000),
            "e": random.random(1_000_000),
            "f": random.random(1_000_000) < 0.5,
        }
    )
    dicts = [{"id": n, "name": f"item {n}", "price": n / 7} for n in range(100_000)]
    return {
        "one small argument": (7, 300),
        "a 100 MB array": (random.random(12_500_000), 1),
        "a 45 MB DataFrame": (frame, 1),
        "100,000 small dicts": (dicts, 1),
    }


def take(argument: Any) -> None:
    """Stand for the function whose call is keyed."""


def main() -> None:
    import joblib
    from blake3 import blake3

    from flowblob.keys import Recipe

    recipe = Recipe(take)
    with Worker(str(PREFECT), __file__, "serve") as prefect:
        for name, (value, number) in values().items():
            sides = [
                Side("flowblob key", partial(recipe.key, (value,), {}), number),
                Side("joblib.hash", partial(joblib.hash, value), number),
                Side("prefect hash_objects", partial(prefect.ask, name, number), timed=True),
            ]
            goal = Goal(seconds=35e-3) if name.startswith("100,000") else None
            if isinstance(value, np.ndarray):
                sides.append(Side("blake3 alone", partial(_alone, blake3, value)))
                goal = Goal(ratio=1.05, peer="blake3 alone")
            compare(f"key of a call with {name}", *sides, rounds=ROUNDS, goal=goal)


def _alone(blake3: Callable[..., Any], value: np.ndarray) -> str:
    return str(blake3(memoryview(value).cast("B")).hexdigest())


def prefect_side() -> None:
    from prefect.utilities.hashing import hash_objects

    known = values()

    def answer(name: str, number: int) -> float:
        value = known[name][0]
        began = time.perf_counter()
        for _ in range(number):
            hash_objects({"argument": value}, raise_on_failure=True)
        return (time.perf_counter() - began) / number

    serve(answer)


if __name__ == "__main__":
    prefect_side() if len(sys.argv) > 1 else main()
