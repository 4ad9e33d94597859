"""One store, three hosts: run the digits pipeline in Prefect, in Airflow and in plain Python.

`make demo` runs this. Every step is a process of its own in the environment of its host; they meet
in nothing but one embedded store (SQLite and files) in a temporary folder. After each step it is
told what was computed, what came from the cache, and which run had made it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from flowblob import Run, Store

HERE = Path(__file__).parent


@dataclass
class Step:
    title: str
    python: str
    script: str
    arguments: list[str] = field(default_factory=list)


def steps(prefect: str, airflow: str) -> list[Step]:
    """The order matters: the flow computes, the DAG reuses, and the other way round."""
    return [
        Step("Prefect flow, first run", prefect, "prefect_flow.py"),
        Step("Prefect flow, second run", prefect, "prefect_flow.py"),
        Step("Airflow DAG, first run: what the flow computed", airflow, "airflow_dag.py"),
        Step(
            "Airflow DAG, with fewer components", airflow, "airflow_dag.py", ["--components", "16"]
        ),
        Step("Airflow DAG again", airflow, "airflow_dag.py", ["--components", "16"]),
        Step(
            "Prefect flow: what the DAG computed",
            prefect,
            "prefect_flow.py",
            ["--components", "16"],
        ),
        Step("Plain Python script: what both computed", sys.executable, "python_script.py"),
    ]


def environment(home: Path, store: Path) -> dict[str, str]:
    """Hosts that know nothing of this user's own Prefect and Airflow, and one store for all."""
    return {
        **os.environ,
        "FLOWBLOB_URL": str(store),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "flowblob",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "240",
        "DO_NOT_TRACK": "1",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__CORE__XCOM_BACKEND": "flowblob_airflow.xcom.FlowblobXCom",
    }


def run(step: Step, env: dict[str, str]) -> float:
    """Run one step; its own output is only shown if it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [step.python, str(HERE / step.script), *step.arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{step.title} failed:\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return time.perf_counter() - began


def tell(store: Store, known: set[tuple[str, str, int]]) -> None:
    """Say what the runs that are new in the store have computed and reused."""
    fresh = [found for found in reversed(store.runs()) if found.identity not in known]
    known.update(found.identity for found in fresh)
    for made in fresh:
        for blob in store.blobs_of(made):
            print(f"  computed  {blob.ref:<24} {_size(blob.size):>10}   by {_who(made)}")
        for blob in store.blobs_of(made, role="cache_hit"):
            origin = next((e.run for e in store.cache.entries(blob_id=blob.id) if e.run), blob.run)
            by = f"by {_who(made)}, made by {_who(origin)}"
            print(f"  hit       {blob.ref:<24} {_size(blob.size):>10}   {by}")


def _who(run: Run | None) -> str:
    if run is None:
        return "nobody's run"
    task = f"/{run.task}" if run.task else ""
    return f"{run.system} {run.flow}{task}{f' ({run.name})' if run.name else ''}"


def _size(size: float) -> str:
    return f"{size:,.0f} B" if size < 10_000 else f"{size / 1024:,.1f} KiB"


def summary(store: Store) -> None:
    print("\nThe store now holds")
    for newest in store.ls():
        for blob in reversed(store.versions(newest.key)):
            print(
                f"  {blob.ref:<24} {_size(blob.size):>10}  {blob.media_type:<36} {_who(blob.run)}"
            )
    entries = store.cache.entries()
    hits = sum(entry.hits for entry in entries)
    saved = sum(entry.saved.total_seconds() for entry in entries)
    print(f"\n{len(entries)} cache entries, {hits} hits, {saved:.1f} s of computing saved")
    print("\nWhere the first report came from, and what became of it, across all hosts:")
    report = next(blob.key for blob in store.ls() if blob.key.endswith("/report"))
    print(store.lineage(f"{report}@0").to_text())


def main() -> None:
    prefect = os.environ.get("FLOWBLOB_DEMO_PREFECT_PYTHON")
    airflow = os.environ.get("FLOWBLOB_DEMO_AIRFLOW_PYTHON")
    if not prefect or not airflow:
        sys.exit(
            "Run 'make demo': it builds the environments of Prefect and Airflow and names them"
        )
    with tempfile.TemporaryDirectory(prefix="flowblob-demo-") as folder:
        home = Path(folder)
        store, known = Store(home / "store"), set[tuple[str, str, int]]()
        env = environment(home, home / "store")
        print(f"One embedded store in {home / 'store'}")
        for step in steps(prefect, airflow):
            print(f"\n{step.title}", flush=True)
            seconds = run(step, env)
            tell(store, known)
            print(f"  ({seconds:.0f} s, most of it the host's start)", flush=True)
        summary(store)
        store.close()


if __name__ == "__main__":
    main()
