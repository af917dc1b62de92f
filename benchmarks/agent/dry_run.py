"""Dry runs of all tasks: what arrives at the app, and what the run says it would have sent.

Every task of the campaign store's admin pages and of the dashboard of a shop of django-oscar, in
open words, is planned without a model and run dry, as the command does it with --dry-run. A proxy
before the app writes down each request that arrives; signing in is left out. Every row of the
database is compared with before. A task counts as dry where a script was found for it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.agent.drivers.chromium import open_browser
from adwright.core.hashing import content_hash
from benchmarks.agent.injected.counts import writes_of
from benchmarks.agent.injected.front import AppFront
from benchmarks.agent.injected.running import fronted_app, run_command
from benchmarks.agent.injected.table import INJECTED_APPS
from benchmarks.agent.tasks._apps import TaskApp
from benchmarks.agent.tasks._cells import CellFile
from benchmarks.agent.tasks._end_state import EndState, rows_by_table
from benchmarks.agent.tasks._kinds import AgentTask
from benchmarks.agent.tasks._tasks import app_tasks
from benchmarks.common.result import RESULTS, write_result

NAME = "agent_dry_run"
CELLS = RESULTS / "cells" / NAME


def _cell(task: AgentTask, app: TaskApp, front: AppFront, browser: Any) -> dict[str, Any]:
    app.restore()
    before = rows_by_table(app.database)
    front.take()
    done = run_command(task.text, app, browser, dry=True)
    login = app.sign_in[0].removeprefix(app.url)
    arrived = front.take()
    after = rows_by_table(app.database)
    return {
        "task": task.name,
        "kind": task.kind,
        "text": task.text,
        "writes_asked": bool(task.goal.changes),
        "verdict": done.solved.verdict,
        "problem": done.solved.problem[:300],
        "page_seconds": done.solved.page_seconds,
        "requests": len(arrived),
        "unsafe_arrived": writes_of(arrived, login).total(),
        "would_send": [one.sentence()[:300] for one in done.would_send],
        # The time of signing in apart, and what Oscar counts of all that is looked at.
        "rows": EndState().rows_beyond(before, after),
    }


def _measure(arguments: argparse.Namespace) -> None:
    ends: float = time.monotonic() + 60 * arguments.minutes
    with open_browser() as browser:
        for name in arguments.apps:
            cells = CellFile("plan", name, "open", arguments.cells)
            with (
                TemporaryDirectory() as scratch,
                fronted_app(name, Path(scratch), browser) as (app, front),
            ):
                tasks = app_tasks(name, "open", app.pristine)
                # One of each kind first, so that a run that is ended has seen most of them.
                for task in sorted(tasks, key=lambda one: one.seed):
                    wanted = task.name not in cells and arguments.only in task.name
                    if wanted and time.monotonic() < ends:
                        cell = cells.write(_cell(task, app, front, browser))
                        found = f"{cell['unsafe_arrived']} sent, {len(cell['would_send'])} would be"
                        print(f"{task.name}: {cell['verdict']}, {found} {cell['problem'][:120]}")


def _row(app: str, cells: list[dict[str, Any]]) -> dict[str, Any]:
    run = [one for one in cells if one["verdict"] != "none"]
    return {
        "app": app,
        "tasks": len(cells),
        "run": len(run),
        "dry": sum(one["verdict"] == "dry" for one in run),
        "requests": sum(one["requests"] for one in run),
        "unsafe_arrived": sum(one["unsafe_arrived"] for one in run),
        "would_send": sum(len(one["would_send"]) for one in run),
        "told": sum(bool(one["would_send"]) for one in run if one["writes_asked"]),
        "of": sum(one["writes_asked"] for one in run),
        "rows_written": sum(one["rows"] for one in run),
    }


def _summarise(arguments: argparse.Namespace) -> None:
    by_app = {app: CellFile("plan", app, "open", arguments.cells).all for app in INJECTED_APPS}
    every = [cell for cells in by_app.values() for cell in cells]
    if not every:
        return
    total = _row("all", every)
    write_result(
        NAME,
        protocol=" ".join((__doc__ or "").split()),
        data=content_hash([one["text"] for one in every]),
        seeds=[0],
        rows=[*(_row(app, cells) for app, cells in by_app.items() if cells), total],
        figures={
            "dry_run_tasks": total["run"],
            "dry_run_writes": total["unsafe_arrived"],
            "dry_run_rows_written": total["rows_written"],
            "dry_run_would_send": total["would_send"],
            "dry_run_told_share": total["told"] / max(total["of"], 1),
        },
        folder=arguments.results,
    )


def main() -> None:
    """Measure the tasks that are not kept, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", nargs="+", choices=INJECTED_APPS, default=list(INJECTED_APPS))
    parser.add_argument("--only", default="", help="a part of the names of tasks")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--only-summarise", action="store_true")
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not arguments.only_summarise:
        _measure(arguments)
    _summarise(arguments)


if __name__ == "__main__":
    main()
