"""Tell Airflow what this provider brings."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Describe the provider by the keys of Airflow's provider schema."""
    return {
        "package-name": "flowblob",
        "name": "flowblob",
        "description": "Versioned, linked, verifiable task outputs and their cache.",
    }
