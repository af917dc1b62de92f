"""How far texts push a product up a small model's list, and what defences make of them (30 hours).

    python -m benchmarks.audit.visibility                       what is missing, then the result
    python -m benchmarks.audit.visibility --minutes 60          begin nothing after an hour
    python -m benchmarks.audit.visibility --only coffee_machines T2 --seeds 1 --minutes 40
    python -m benchmarks.audit.visibility --only coffee_machines defended
    python -m benchmarks.audit.visibility --only coffee_machines-4-T2-0
    python -m benchmarks.audit.visibility --only-summarise      the result of what is finished
    python -m benchmarks.audit.visibility --trial 8 --only coffee_machines-4
                                                                attacks of 8 calls, scored in two
                                                                orders; keeps nothing

Every cell is kept under benchmarks/results/cells/visibility as soon as it is measured. One that is
cut off goes on behind the last step of its attack, which lies in the cache folder.

The plan, in CPU-seconds of one thread beside other work; 2.4 a ranking of ten products in bfloat16,
5 in float32:

    cells          of a catalogue              a cell
    facts          1                              100
    T2, T3         10 products x 3 seeds          250   120 calls, ten rankings
    T1             10 x 3                         340
    T0             10                             140
    controls       5 x 10                          50
    T4             10 x 3                   up to 270
    T4-gradient    10 x 3                   up to 400
    T4-facts       10 x 3                   up to 270
    defended       140                         5 to 90   the first of a product and of a catalogue
    ci             1, of coffee machines          230

Coffee machines by gradient come first: three quarters of an hour for one seed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.audit.pushed.attacks import CALLS, attacked, seller_text
from benchmarks.audit.pushed.cells import (
    CI,
    FACTS,
    SCORED,
    SEEDS,
    VisibilityCell,
    keep,
    kept,
    scoring_orders,
    visibility_cells,
)
from benchmarks.audit.pushed.ci import ci_audit
from benchmarks.audit.pushed.defences import DEFENCES, defended, facts
from benchmarks.audit.pushed.figures import summarise
from benchmarks.audit.pushed.lab import VisibilityLab

_TRIED = 2


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, and write benchmarks/results/visibility.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="catalogues, products, tiers, cells")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--minutes", type=float, help="begin nothing after so many")
    parser.add_argument(
        "--trial", type=float, default=0, help="calls of an attack, keeping nothing"
    )
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args(argv)
    if not asked.only_summarise:
        until = None if asked.minutes is None else time.monotonic() + 60 * asked.minutes
        lab = VisibilityLab()
        for cell in visibility_cells(asked.only, SEEDS[: asked.seeds]):
            if asked.trial:
                print(cell.name, _measured(cell, lab, asked.trial, _TRIED), flush=True)
                continue
            if complete(cell) or (cell.defended and kept(cell.attack) is None):
                continue
            if until is not None and time.monotonic() > until:
                break
            found = _measured(cell, lab, CALLS, SCORED)
            keep(cell, found)
            print(cell.name, found["cpu_seconds"], repr(found.get("added", "")), flush=True)
    if not asked.trial:
        summarise()


def complete(cell: VisibilityCell) -> bool:
    """Whether a cell is kept, and before every defence if it is a defended one."""
    found = kept(cell)
    return found is not None and (not cell.defended or set(DEFENCES) <= set(found["ranks"]))


def _measured(
    cell: VisibilityCell, lab: VisibilityLab, calls: float, orders: int
) -> dict[str, Any]:
    """The cell, anew, with the CPU-seconds that it took."""
    if cell.tier != CI:
        lab.target.model  # noqa: B018 - opened before the clock starts
    began = time.process_time()
    fresh = scoring_orders(cell.catalogue)[:orders]
    if cell.tier == CI:
        found = ci_audit()
    elif cell.tier == FACTS:
        found = facts(cell.catalogue, lab, fresh)
    elif cell.defended:
        before = kept(cell.attack) or attacked(cell.attack, lab, calls=calls, orders=orders)
        full = calls == CALLS and orders == SCORED
        known = (kept(cell) if full else None) or {"ranks": {}, "cpu_seconds": 0.0}
        began -= known["cpu_seconds"]
        found = defended(seller_text(cell, before), cell.catalogue, lab, fresh, known["ranks"])
    else:
        found = attacked(cell, lab, calls=calls, orders=orders)
    return {**found, "cpu_seconds": round(time.process_time() - began, 1)}


if __name__ == "__main__":
    main()
