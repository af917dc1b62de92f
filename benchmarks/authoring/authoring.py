"""Authoring on SmolLM2-135M: systems on eight tasks, search, and what bulk work costs (2.6 hours).

    python -m benchmarks.authoring.authoring                     what is not measured yet, then all
    python -m benchmarks.authoring.authoring --only pricerunner one --minutes 30
    python -m benchmarks.authoring.authoring --workers 2
    python -m benchmarks.authoring.authoring --only-summarise    the result of what is finished
    python -m benchmarks.authoring.authoring --trial 8           cells at a tiny size; keeps nothing

Every cell is kept under benchmarks/results/authoring/ as soon as it is measured, see `_cells`; a
run that is cut off goes on from there. Adapters lie in the cache folder alone.

The plan, in CPU-seconds of one thread of a quiet machine, at 300 tokens a second in training and
1,000 in reading (beside other work both take two to three times as long):

    part          rows   tokens   one pass   test: reading and writing
    pricerunner   2,200   86,000      285      45
    walmart         480   30,000      100      40
    intent          540   45,000      150      50
    attributes      450   37,000      125      35
    descriptions    350   39,000      130      45
    ads             200   23,000       75      35
    answers         200   18,000       60      20
    titles            0        0        0      25
    in all        4,420  278,000      925     295

    one model for all tasks, 3 seeds        3 x (925 + 295)     3,660
    one model a task, 3 seeds               3 x (925 + 270)     3,590
    untuned once, few-shot 3 seeds          350 + 3 x 330       1,340
    baselines, search, bulk jobs            about                 900

The 278,000 tokens of the pass are read 6 times. A cell of all tasks with one seed takes 20 minutes;
its parts are kept one by one.

The method is LoRA of rank 16 on all linear maps, one pass over the rows; nothing is chosen on test
rows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.authoring._cells import SEEDS, Cell, cells, keep, kept, measure
from benchmarks.authoring._figures import summarise
from benchmarks.authoring._jobs import JOBS, job_cells, run_job
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT

_SELF = "benchmarks.authoring.authoring"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, and write benchmarks/results/authoring.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="parts, systems, cells or jobs")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--minutes", type=float, help="begin nothing after so many")
    parser.add_argument("--trial", type=int, default=0, help="rows of each cell, keeping nothing")
    parser.add_argument("--only-summarise", action="store_true")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.only_summarise:
        summarise()
        return
    wanted = list(cells(asked.only, SEEDS[: asked.seeds]))
    due = [cell for cell in wanted if asked.trial or kept(cell) is None]
    groups = _grouped(due)
    until = None if asked.minutes is None else time.monotonic() + 60 * asked.minutes
    if asked.trial or asked.in_this_process:
        for group in groups:
            _measured(group, asked.trial)
    else:
        with ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(lambda group: _started(group, until), groups))
    if asked.in_this_process:
        return
    for name in job_cells(asked.only):
        late = until is not None and time.monotonic() > until
        if not late and (asked.trial or not JOBS[name].is_file()):
            run_job(name, trial=asked.trial)
    if not asked.trial:
        summarise()


def _grouped(due: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that share a process, in the order of the first of each."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in due:
        found.setdefault(cell.group, []).append(cell)
    return list(found.values())


def _started(group: Sequence[Cell], until: float | None) -> None:
    """Measure a group in a process of its own."""
    if until is not None and time.monotonic() > until:
        return
    names = [cell.name for cell in group]
    run = command(_SELF, "--in-this-process", "--only", *names)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(run, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        print(f"{group[0].name} and {len(names) - 1} more failed", flush=True)


def _measured(group: Sequence[Cell], trial: int) -> None:
    for cell, found in measure(group, rows=trial):
        if not trial:
            keep(cell, found)
        short = {key: found[key] for key in ("rule", "valid", "cpu_seconds") if key in found}
        print(cell.name, short, flush=True)


if __name__ == "__main__":
    main()
