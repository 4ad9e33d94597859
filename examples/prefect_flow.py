"""The digits pipeline as a Prefect flow: a second run computes nothing.

Each task is the plain function of `digits.py` under the policy FLOWBLOB, so that what this flow has
computed is a hit for the DAG and the script beside it, and the other way round.

    python examples/prefect_flow.py --components 32
"""

from __future__ import annotations

import argparse
from typing import Any

import digits
from prefect import flow, task

from flowblob_prefect import FLOWBLOB, FlowblobStorage

BLOCK = "digits"

load_digits = task(digits.load_digits, cache_policy=FLOWBLOB)
features = task(digits.features, cache_policy=FLOWBLOB)
train = task(digits.train, cache_policy=FLOWBLOB)
report = task(digits.report, cache_policy=FLOWBLOB)


@flow(name="digits", result_storage=f"flowblob-storage/{BLOCK}")
def digits_flow(components: int = 32) -> dict[str, Any]:
    """Load the scans, reduce them, train a classifier and see how well it reads."""
    table = features(load_digits(), components)
    return report(train(table), table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--components", type=int, default=32)
    arguments = parser.parse_args()
    # An empty block means FLOWBLOB_URL, else the user's own store; `flowblob prefect setup` saves
    # one for all flows.
    FlowblobStorage().save(BLOCK, overwrite=True)
    print(digits_flow(arguments.components))


if __name__ == "__main__":
    main()
