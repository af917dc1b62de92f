"""A job of Dagster that calls the cycle: `dagster dev -f dagster_cycle.py`.

What the command answers about each step becomes metadata of the run.
"""

import json
import subprocess

from dagster import Definitions, Failure, OpExecutionContext, ScheduleDefinition, job, op

COMMAND = ["adwright", "--quiet", "cycle", "cycle.toml", "--json"]


@op
def walk(context: OpExecutionContext) -> None:
    """One call: it goes on where the last one was killed."""
    done = subprocess.run(COMMAND, cwd="/srv/ads", capture_output=True, text=True, check=False)
    context.log.info(done.stderr)
    if done.returncode not in (0, 4):  # 4: a budget is used up
        raise Failure(done.stderr or done.stdout)
    context.add_output_metadata(json.loads(done.stdout)["outcomes"])


@job
def cycle() -> None:
    """The life of the ads of one tenant."""
    walk()


definitions = Definitions(
    jobs=[cycle], schedules=[ScheduleDefinition(job=cycle, cron_schedule="0 * * * *")]
)
