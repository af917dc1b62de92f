"""Tasks with end states: who solves how many, and at which cost (an hour a system and app).

Tasks at a shop of django-oscar, its dashboard and its phone-sized front, at SQLAdmin over a
campaign store, and MiniWoB's pages of development. Each is worded by templates that neither rules
nor training have seen, is given a fresh copy of the app, and is judged by the rows of the database:
what was asked has happened, and nothing else. Systems: a plan without a model, the macro of a task
that was solved, the script of a model that was tuned to write them, that of the model as it is, a
plan or else the tuned model, and a step-by-step agent on the same model as it is.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from adwright.agent.drivers.chromium import open_browser
from adwright.core.hashing import content_hash
from benchmarks.agent._models import SystemModels
from benchmarks.agent.apps.wob import WOB_TASKS, wob_pages
from benchmarks.agent.tasks._apps import APPS, TaskApp, open_app
from benchmarks.agent.tasks._cells import CELLS, CellFile
from benchmarks.agent.tasks._end_state import rows_by_table
from benchmarks.agent.tasks._figures import agent_figures, agent_rows
from benchmarks.agent.tasks._systems import SYSTEMS, SystemName, solve
from benchmarks.agent.tasks._tasks import app_tasks
from benchmarks.agent.tasks._wob import INEXPRESSIBLE, wob_cell
from benchmarks.agent.words._words import WORDINGS, Wordings
from benchmarks.common.result import RESULTS, write_result

NAME = "agent"


def _measure(
    systems: Sequence[SystemName],
    app: TaskApp,
    wordings: Wordings,
    folder: Path,
    goes_on: Callable[[], bool],
    only: str,
    models: SystemModels,
) -> None:
    before = rows_by_table(app.pristine)
    for system in systems:
        cells = CellFile(system, app.name, wordings, folder)
        # One of each kind first, so that a run that is ended has seen most of them.
        for task in sorted(app_tasks(app.name, wordings, app.pristine), key=lambda one: one.seed):
            if task.name in cells or only not in task.name or not goes_on():
                continue
            app.restore()
            solved = solve(system, task, app, models.of(system), tuned=models.is_tuned(system))
            wrong = task.goal.why_not(before, rows_by_table(app.database), solved.answers)
            kept = cells.keep(task, solved, wrong, models.of(system))
            print(f"{system} {task.name}: {kept['verdict']} {wrong[:160]} {solved.problem[:160]}")


def main() -> None:
    """Measure what is not kept, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["plan"])
    parser.add_argument("--apps", nargs="+", choices=APPS, default=list(APPS))
    parser.add_argument("--wordings", choices=WORDINGS, default="judged")
    parser.add_argument("--only", default="", help="a part of the names of tasks")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--only-summarise", action="store_true")
    parser.add_argument("--wob-seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--model", default="", help="of systems that ask one, as open_model reads it"
    )
    parser.add_argument("--adapter", default="", help="of a tuned writer of scripts over it")
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not arguments.only_summarise:
        _run(arguments)
    _summarise(arguments)


def _run(arguments: argparse.Namespace) -> None:
    ends: float = time.monotonic() + 60 * arguments.minutes

    def goes_on() -> bool:
        return time.monotonic() < ends

    with closing(SystemModels(model=arguments.model, adapter=arguments.adapter)) as models:
        for name in arguments.apps:
            with (
                TemporaryDirectory() as scratch,
                open_browser() as browser,
                open_app(name, Path(scratch), browser) as app,
            ):
                _measure(
                    arguments.systems,
                    app,
                    arguments.wordings,
                    arguments.cells,
                    goes_on,
                    arguments.only,
                    models,
                )
    if "plan" in arguments.systems and arguments.wob_seeds:
        _measure_wob(arguments, goes_on)


def _measure_wob(arguments: argparse.Namespace, goes_on: Callable[[], bool]) -> None:
    cells = CellFile("plan", "miniwob", arguments.wordings, arguments.cells)
    with open_browser() as browser, wob_pages() as pages:
        for seed in arguments.wob_seeds:
            for task in WOB_TASKS:
                name = f"miniwob/{task}/{seed}"
                if task in INEXPRESSIBLE or name in cells or arguments.only not in name:
                    continue
                if goes_on():
                    cell = cells.write(wob_cell(browser, pages, task, seed))
                    print(f"plan {name}: {cell['verdict']} {cell['wrong']}")


def _summarise(arguments: argparse.Namespace) -> None:
    rows = agent_rows(arguments.cells, arguments.wordings)
    if not rows:
        return
    best: SystemName = "ladder" if any(one["system"] == "ladder" for one in rows) else "plan"
    inexpressible = [{"miniwob": name, "why": why} for name, why in INEXPRESSIBLE.items()]
    write_result(
        NAME,
        protocol=" ".join((__doc__ or "").split()),
        data=content_hash([one["system"] + one["app"] for one in rows]),
        seeds=[0],
        rows=[*rows, *inexpressible],
        figures=agent_figures(arguments.cells, arguments.wordings, best),
        folder=arguments.results,
    )


if __name__ == "__main__":
    main()
