"""What Airflow finds when it looks for this provider and its plugin."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distribution, entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from flowblob_airflow.get_provider_info import get_provider_info


def test_the_provider_info_satisfies_airflows_schema():
    schema = json.loads(Path(airflow.__file__).with_name("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_package_name_is_the_distribution():
    # Anything else stops the discovery of every provider.
    assert get_provider_info()["package-name"] == distribution("flowblob").metadata["Name"]


def test_every_module_and_class_it_names_exists():
    info = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for group in info[part]:
            for module in group["python-modules"]:
                __import__(module)
    for connection in info["connection-types"]:
        module, _, name = connection["hook-class-name"].rpartition(".")
        assert hasattr(sys.modules[module], name)


def test_airflow_discovers_the_provider_and_its_connection_type():
    manager = ProvidersManager()
    assert "flowblob" in manager.providers
    assert manager.hooks["flowblob"].hook_name == "flowblob"
    fields = {name for name in manager.connection_form_widgets if "__flowblob__" in name}
    names = {"url", "storage", "storage_password"}
    assert fields == {f"extra__flowblob__{name}" for name in names}
    for name in ("storage", "storage_password"):
        assert manager.connection_form_widgets[f"extra__flowblob__{name}"].is_sensitive
    behaviour = manager.field_behaviours["flowblob"]
    assert behaviour["relabeling"] == {"password": "Catalog password"}


def test_a_running_task_finds_the_hook_by_connection_type():
    hook = ProvidersManagerTaskRuntime().hooks["flowblob"]
    assert hook.hook_class_name == "flowblob_airflow.hooks.FlowblobHook"


def test_every_option_of_the_section_is_complete():
    for option in get_provider_info()["config"]["flowblob"]["options"].values():
        assert set(option) == {"description", "version_added", "type", "example", "default"}


def test_the_plugin_is_found_by_its_entry_point_only():
    assert "plugins" not in get_provider_info()
    (found,) = [
        point for point in entry_points(group="airflow.plugins") if point.name == "flowblob"
    ]
    assert found.load().name == "flowblob"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_plugin_loads_neither_fastapi_nor_a_store():
    code = (
        "import sys; before = set(sys.modules); import flowblob_airflow.plugin; "
        "new = set(sys.modules) - before; "
        "print([m for m in ('fastapi', 'flowblob.store') if m in new])"
    )
    assert run_python(code) == "[]"


def test_the_provider_info_imports_nothing_of_airflow():
    code = "import sys, flowblob_airflow.get_provider_info; print('airflow' in sys.modules)"
    assert run_python(code) == "False"


@pytest.mark.parametrize("name", ["cached", "cached_operator", "FlowblobHook", "BlobSensor"])
def test_public_names_come_from_the_package(name):
    import flowblob_airflow

    assert name in flowblob_airflow.__all__
    assert getattr(flowblob_airflow, name).__name__ == name
