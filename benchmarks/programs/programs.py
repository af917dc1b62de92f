"""Programs on a real engine: ours against what there is without us (60 CPU-minutes).

python -m benchmarks.programs.programs                        what is not measured yet, then all
python -m benchmarks.programs.programs --only w3 --seeds 2
python -m benchmarks.programs.programs --only-summarise       the result of what is finished
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

from benchmarks.programs._cells import Cell, cells, keep, kept, open_bench
from benchmarks.programs._program_figures import summarise

SEEDS = 5


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, and write benchmarks/results/programs.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", nargs="*", default=[], help="cases, as w3 or 'w2 250 ms'")
    parser.add_argument("--later", nargs="*", default=[], help="left out now, as B2 or 'w4 B3'")
    parser.add_argument("--minutes", type=float, help="begin nothing after so many")
    parser.add_argument("--only-summarise", action="store_true")
    chosen = parser.parse_args(argv)
    if not chosen.only_summarise:
        every = cells(chosen.only, chosen.seeds)
        later = set(chosen.later)
        now = (each for each in every if later.isdisjoint((each.system, each.name)))
        missing = [cell for cell in now if kept(cell) is None]
        asyncio.run(_measure(missing, chosen.minutes))
    summarise()


async def _measure(missing: Sequence[Cell], minutes: float | None) -> None:
    until = None if minutes is None else time.monotonic() + 60 * minutes
    for engines in (1, 2):
        due = [cell for cell in missing if cell.engines == engines]
        if not due or (until is not None and time.monotonic() > until):
            continue
        async with open_bench(engines) as bench:
            for cell in due:
                if until is not None and time.monotonic() > until:
                    break
                found = await bench.run(cell)
                keep(cell, found)
                told = {key: round(found[key], 2) for key in ("jct", "cpu", "wall")}
                print(cell.case, cell.system, cell.seed, told, flush=True)


if __name__ == "__main__":
    main()
