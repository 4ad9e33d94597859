"""Call the shared function in an Airflow task."""

import os
import sys

import shared_work
from airflow.sdk import dag, task

from flowblob_airflow import cached


@task
def gather() -> None:
    if os.environ.get("CROSS_MEETING"):
        shared_work.meet("airflow")


@dag(dag_id="cross", schedule=None, params={"number": 0}, render_template_as_native_obj=True)
def cross_dag():
    square = task(multiple_outputs=False)(cached(shared_work.square))
    gather() >> square("{{ params.number }}")


pipeline = cross_dag()

if __name__ == "__main__":
    finished = pipeline.test(run_conf={"number": int(sys.argv[1])})
    if finished.state != "success":
        sys.exit(f"The run ended as {finished.state}")
