"""Every pair of engines against a model, in any order of steps."""

from __future__ import annotations

import os

import pytest
from engines import Engine, fresh_store, pairs
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from flowblob.testing import StoreMachine

#: More of them by hand: FLOWBLOB_TEST_EXAMPLES=500.
EXAMPLES = int(os.environ.get("FLOWBLOB_TEST_EXAMPLES", "0"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pair", pairs())
def test_a_store_is_a_dict_of_lists(pair: tuple[Engine, Engine]) -> None:
    with fresh_store(pair):  # skips here where a server is absent
        pass
    machine = type("Machine", (StoreMachine,), {"fresh": staticmethod(lambda: fresh_store(pair))})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES or (8 if any(engine.needs for engine in pair) else 40),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
