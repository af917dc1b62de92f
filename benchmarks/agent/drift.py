"""Apps that have changed since they were explored: are known tasks still done? (an hour)

The shop's dashboard and the campaign store's pages are explored as they are. Known are the tasks
whose scripts, by the planner, reach their end states there; these scripts are then run on variants
of the pages, which a proxy on loopback makes: half of the labels renamed, fields moved, a page more
that asks for a confirmation, other ids and classes, buttons renamed, a field more that looks as if
it had to be filled, columns of tables in another order. Healing is on, and the person who set the
task says yes to its own request. A wrong act is a request that may write and is none of the task's,
or a row that changed beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.agent.drivers.chromium import open_browser
from adwright.agent.language.problems import ScriptError
from adwright.core.hashing import content_hash
from benchmarks.agent._drifted import DriftRun, known_script
from benchmarks.agent.tasks._apps import AppName, TaskApp, open_app
from benchmarks.agent.tasks._cells import CellFile
from benchmarks.agent.tasks._end_state import rows_by_table
from benchmarks.agent.tasks._kinds import AgentTask
from benchmarks.agent.tasks._tasks import app_tasks
from benchmarks.common.result import RESULTS, write_result
from tests.support.agent.drift.kinds import KINDS, Drift, DriftKind
from tests.support.agent.drift.proxy import DriftingProxy, drifting

NAME = "agent_drift"
CELLS = RESULTS / "cells" / NAME
DRIFTED: tuple[AppName, ...] = ("admin", "oscar")
_SAID_DONE = ("done", "verified")


def main() -> None:
    """Measure what is not kept, then write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--apps", nargs="+", choices=DRIFTED, default=list(DRIFTED))
    parser.add_argument("--kinds", nargs="+", choices=KINDS[1:], default=list(KINDS[1:]))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tasks", type=int, default=1000, help="of each app, at most")
    parser.add_argument("--only", default="", help="a part of the names of tasks")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--only-summarise", action="store_true")
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    ends = time.monotonic() + 60 * asked.minutes
    for name in () if asked.only_summarise else asked.apps:
        with (
            TemporaryDirectory() as scratch,
            open_browser() as browser,
            open_app(name, Path(scratch), browser) as app,
            drifting(app.url) as proxy,
            closing(TaskApp(name, proxy.url, app.database, browser)) as drifted,
        ):
            _measure(drifted, proxy, asked, lambda: time.monotonic() < ends)
    _summarise(asked.cells, asked.results)


def _measure(
    app: TaskApp, proxy: DriftingProxy, asked: argparse.Namespace, goes_on: Callable[[], bool]
) -> None:
    cells = CellFile("drift", app.name, "open", asked.cells)
    before = rows_by_table(app.pristine)
    drifts = [Drift(kind, seed) for kind in asked.kinds for seed in asked.seeds]
    for task in _chosen(app, asked):
        try:
            script = known_script(task.text, app.document)
        except ScriptError:
            continue
        for drift in (Drift(), *drifts):
            key = f"{task.name}/{drift.kind}/{drift.seed}"
            if key not in cells and goes_on():
                app.restore()
                done = DriftRun(app, proxy, drift).run(script)
                wrong = task.goal.why_not(before, rows_by_table(app.database), done["answers"])
                _keep(cells, key, task, drift, done, wrong)
            if not any(_holds(one) for one in cells.all if one["task"] == f"{task.name}/none/0"):
                break  # it is not known


def _chosen(app: TaskApp, asked: argparse.Namespace) -> list[AgentTask]:
    """One of each kind first; of fewer, some that are spread over the kinds."""
    tasks = [one for one in app_tasks(app.name, "open", app.pristine) if asked.only in one.name]
    tasks.sort(key=lambda one: one.seed)
    first = [one for one in tasks if one.seed == 0]
    if asked.tasks < len(first):
        return first[:: len(first) // asked.tasks][: asked.tasks]
    return tasks[: asked.tasks]


def _keep(
    cells: CellFile, key: str, task: AgentTask, drift: Drift, done: dict[str, Any], wrong: str
) -> None:
    also = wrong.startswith("something else changed")
    cell: dict[str, Any] = {
        "task": key,
        "kind": task.kind,
        "drift": drift.kind,
        "seed": drift.seed,
        "wrong": wrong,
    }
    cell |= {one: value for one, value in done.items() if one != "wrong_acts"}
    cell["wrong_acts"] = done["wrong_acts"] + also
    cells.write(cell)
    print(f"{key}: {cell['verdict']} {wrong[:120]} {cell['problem'][:160]}", flush=True)


def _holds(cell: dict[str, Any]) -> bool:
    return cell["verdict"] in _SAID_DONE and not cell["wrong"]


def _summarise(folder: Path, results: Path) -> None:
    rows = [row for name in DRIFTED for row in _rows(name, CellFile("drift", name, "open", folder))]
    if not rows:
        return
    drifted = [one for one in rows if one["drift"] != "none"]
    runs = sum(one["runs"] for one in drifted)
    figures: dict[str, float | int] = {
        "drift_known_tasks": sum(one["done"] for one in rows if one["drift"] == "none"),
        "drift_runs": runs,
        "drift_wrong_acts": sum(one["wrong_acts"] for one in rows),
        "drift_false_success": sum(one["false_success"] for one in rows),
    }
    if runs:
        figures["drift_drop_points_own"] = 100 * (1 - sum(one["done"] for one in drifted) / runs)
    for kind in KINDS[1:]:
        own = [one for one in drifted if one["drift"] == kind]
        if own:
            count = sum(one["runs"] for one in own)
            figures[f"drift_{kind}_done"] = sum(one["done"] for one in own) / count
    write_result(
        NAME,
        protocol=" ".join((__doc__ or "").split()),
        data=content_hash([f"{one['app']} {one['drift']}" for one in rows]),
        seeds=sorted({seed for one in rows for seed in one.pop("seeds")}),
        rows=rows,
        figures=figures,
        folder=results,
    )


def _rows(app: AppName, cells: CellFile) -> Iterator[dict[str, Any]]:
    every = cells.all
    known = {
        one["task"].removesuffix("/none/0")
        for one in every
        if one["drift"] == "none" and _holds(one)
    }
    for kind in KINDS:
        own = [one for one in every if one["drift"] == kind]
        if kind != "none":
            own = [one for one in own if one["task"].rsplit("/", 2)[0] in known]
        if own:
            yield _row(app, kind, own)


def _row(app: AppName, kind: DriftKind, own: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "app": app,
        "drift": kind,
        "runs": len(own),
        "done": sum(map(_holds, own)),
        "end_state": sum(not one["wrong"] for one in own),
        "stopped": sum(one["verdict"] == "stopped" for one in own),
        "contradicted": sum(one["verdict"] == "contradicted" for one in own),
        "false_success": sum(one["verdict"] in _SAID_DONE and bool(one["wrong"]) for one in own),
        "healed": sum(one["healed"] for one in own),
        "wrong_acts": sum(one["wrong_acts"] for one in own),
        "seeds": sorted({one["seed"] for one in own}),
    }


if __name__ == "__main__":
    main()
