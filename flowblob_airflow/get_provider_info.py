"""Tell Airflow what this provider brings."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "flowblob"


def _modules(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "integration-name": _INTEGRATION,
            "python-modules": [f"flowblob_airflow.{name}" for name in names],
        }
    ]


def get_provider_info() -> dict[str, Any]:
    """Describe the provider by the keys of Airflow's provider schema.

    Airflow reads this in every process, so it must import nothing. A violation of the schema, or a
    `package-name` that is not the distribution's, would stop the discovery of ALL providers.
    """
    return {
        "package-name": "flowblob",
        "name": "flowblob",
        "description": "Versioned, linked, verifiable task outputs and their cache.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://github.com/flowblob/flowblob",
                "tags": ["software"],
            }
        ],
        "hooks": _modules("hooks"),
        "operators": _modules("operators"),
        "sensors": _modules("sensors"),
        "triggers": _modules("triggers"),
        "connection-types": [_connection_type()],
        "config": {"flowblob": _config()},
    }


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": "flowblob",
        "hook-class-name": "flowblob_airflow.hooks.FlowblobHook",
        "hook-name": "flowblob",
        "ui-field-behaviour": {
            "hidden-fields": ["host", "schema", "port", "login"],
            "relabeling": {"password": "Catalog password"},
            "placeholders": {
                "url": "/srv/flowblob",
                "password": "put into the store URL where it names a user and no password",
            },
        },
        "conn-fields": {
            "url": {
                "label": "Store URL",
                "description": (
                    "A folder that all workers share, or a database with "
                    "?storage=URL for the payloads. Leave empty for the user's own store."
                ),
                "schema": {"type": ["string", "null"]},
            },
            "storage": {
                "label": "Storage URL",
                "description": "Where the payloads are, if the store URL does not say so.",
                "schema": {"type": ["string", "null"], "format": "password"},
            },
            "storage_password": {
                "label": "Storage password",
                "description": (
                    "The secret of the storage, put into its URL where that names a user or an "
                    "access key and no secret."
                ),
                "schema": {"type": ["string", "null"], "format": "password"},
            },
        },
    }


def _config() -> dict[str, Any]:
    return {
        "description": "How task outputs are stored and reused.",
        "options": {
            "conn_id": _option(
                "Connection of the store that XCom values and cached tasks use.",
                default="flowblob_default",
                example="flowblob_shared",
            ),
            "xcom_inline_bytes": _option(
                "XCom values of up to so many bytes of JSON stay in Airflow's database, if JSON "
                "gives them back exactly; all others are stored in flowblob.",
                kind="integer",
                default="1024",
                example="65536",
            ),
            "cache_tasks": _option(
                "Tasks of DAGs that one cannot edit whose outputs are cached: patterns over "
                "dag.task, separated by commas.",
                default="",
                example="etl.load_*, reports.*",
            ),
            "wait_seconds": _option(
                "How long a task waits in its worker slot for another one that computes the same "
                "result, before it is rescheduled.",
                kind="float",
                default="10",
                example="30",
            ),
            "reschedule_seconds": _option(
                "After how long such a task looks again; at least 15, since the scheduler must "
                "have seen the end of its last process.",
                kind="float",
                default="30",
                example="60",
            ),
        },
    }


def _option(
    description: str, *, default: str, example: str, kind: str = "string"
) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }
