"""The Airflow plugin, which brings the listener.

Every Airflow process loads this module: it must stay light, and open nothing.
"""

from __future__ import annotations

from airflow.sdk.plugins_manager import AirflowPlugin

from flowblob_airflow import listener


class FlowblobPlugin(AirflowPlugin):
    """Registers the listener that tells flowblob which task is running."""

    name = "flowblob"
    listeners = [listener]  # noqa: RUF012 - Airflow declares it so
