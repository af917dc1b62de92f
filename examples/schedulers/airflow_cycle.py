"""A DAG of Airflow that calls the cycle: put it into the folder of your DAGs.

Exit code 3 (a step failed) and 4 (a budget is used up) fail the task; a retry goes on where it was.
"""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.providers.standard.operators.bash import BashOperator

with DAG(
    "adwright_cycle",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
):
    BashOperator(
        task_id="cycle",
        bash_command="adwright --quiet cycle cycle.toml",
        cwd="/srv/ads",
        append_env=True,
        retries=2,
        retry_delay=timedelta(minutes=10),
    )
