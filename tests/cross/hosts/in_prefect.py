"""Call the shared function in a Prefect task."""

import os
import sys

import shared_work
from prefect import flow, task

from flowblob_prefect import FLOWBLOB, FlowblobStorage

FlowblobStorage().save("cross", overwrite=True)
square = task(shared_work.square, cache_policy=FLOWBLOB)


@flow(name="cross", result_storage="flowblob-storage/cross")
def cross(number: int) -> dict[str, int]:
    if os.environ.get("CROSS_MEETING"):
        shared_work.meet("prefect")
    return square(number)


if __name__ == "__main__":
    print(cross(int(sys.argv[1])))
