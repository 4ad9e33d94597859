"""How a run ended, as Prefect's server has it: it learns of task runs by events, somewhat later."""

from __future__ import annotations

import time
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound


def final_state(kind: str, run_id: Any) -> Any:
    """Return the last state of a `flow` or `task` run, when the server has been told."""
    with get_client(sync_client=True) as client:
        read = getattr(client, f"read_{kind}_run")
        while True:
            try:
                state = read(run_id).state
            except ObjectNotFound:
                state = None
            if state is not None and state.is_final():
                return state
            time.sleep(0.02)
