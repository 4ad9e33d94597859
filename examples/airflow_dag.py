"""The digits pipeline as an Airflow DAG: every task is cached, nothing else changes.

`python airflow_dag.py` runs it in one process; a scheduler finds it in its DAGs folder. Run it
twice: the second run computes nothing. Run the Prefect flow or the script before it: neither does
the first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import digits
from airflow.sdk import dag, task

from flowblob_airflow import cached


@dag(schedule=None, params={"components": 32}, render_template_as_native_obj=True)
def digits_dag():
    scans = task(cached(digits.load_digits))()
    table = task(cached(digits.features))(scans, components="{{ params.components }}")
    # A dict in the signature would make Airflow push every item of it as a value of its own.
    model = task(multiple_outputs=False)(cached(kind="ml_model")(digits.train))(table)
    task(multiple_outputs=False)(cached(digits.report))(model, table)


pipeline = digits_dag()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--components", type=int, default=32)
    asked = parser.parse_args()
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    if not (home / "airflow.db").exists():
        # What `airflow standalone` does at its first start.
        subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True
        )
    finished = pipeline.test(run_conf={"components": asked.components})
    if finished.state != "success":
        sys.exit(f"The run ended as {finished.state}")


if __name__ == "__main__":
    main()
