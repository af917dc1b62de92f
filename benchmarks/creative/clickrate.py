"""Click rates of creatives by story and by time, ours beside rules and peers; an hour of CPU time.

python -m benchmarks.creative.clickrate                         what is missing, then the result
python -m benchmarks.creative.clickrate --only tfidf --seed 0   these cells alone, no result
python -m benchmarks.creative.clickrate --minutes 30            begin no cell after that
python -m benchmarks.creative.clickrate --only-summarise        the result of what is finished
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache

from benchmarks.creative._clickrate_cells import PARTS, Cell, Task, open_task
from benchmarks.creative._clickrate_result import SEEDS, write
from benchmarks.creative._clickrate_systems import SYSTEMS


def main() -> None:
    """Run what is missing, write benchmarks/results/clickrate.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SYSTEMS, action="append", help="these systems alone")
    parser.add_argument("--seed", type=int, action="append", help="these seeds alone, no result")
    parser.add_argument("--part", choices=PARTS, action="append", help="these parts alone")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument("--minutes", type=float, default=0, help="begin no cell after so many")
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    if not asked.only_summarise:
        cells = [
            (system, seed, part)
            for seed in asked.seed or range(SEEDS)
            for system in asked.only or SYSTEMS
            for part in asked.part or PARTS
        ]
        _run(cells, workers=asked.workers, minutes=asked.minutes)
    if not (asked.only or asked.seed or asked.part):
        write(_task())


def _run(cells: Sequence[tuple[str, int, str]], *, workers: int, minutes: float) -> None:
    """What is missing of these, in order. minutes: 0 for no end."""
    end = time.monotonic() + minutes * 60 if minutes else float("inf")
    missing = [one for one in cells if not _cell(*one).path(_task()).exists()]
    print(f"{len(missing)} of {len(cells)} cells are missing", flush=True)
    if workers <= 1:
        for one in missing:
            if time.monotonic() < end:
                print(_answered(*one), flush=True)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = list(missing)
        running: set[Future[str]] = set()
        while waiting or running:
            while waiting and len(running) < workers and time.monotonic() < end:
                running.add(pool.submit(_answered, *waiting.pop(0)))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for answered in done:
                print(answered.result(), flush=True)


def _cell(system: str, seed: int, part: str) -> Cell:
    return Cell(system, SYSTEMS[system].key, seed, part)


@cache
def _task() -> Task:
    return open_task()


def _answered(system: str, seed: int, part: str) -> str:
    """Train and keep a cell; what to say of it."""
    cell = _cell(system, seed, part)
    answer = SYSTEMS[system].answer(_task(), cell)
    if answer is None:
        return f"{cell.system} cannot be had here"
    cell.keep(_task(), answer)
    return (
        f"{system} seed {seed} part {part}: trained in {answer.train_seconds:.1f} CPU-s, "
        f"scored in {answer.score_seconds:.2f}"
    )


if __name__ == "__main__":
    main()
