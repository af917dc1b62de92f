"""How far texts push a product up a small model's list, on the released catalogues.

    python -m benchmarks.audit.visibility                       what is missing, then the result
    python -m benchmarks.audit.visibility --only coffee_machines T2 --seeds 1 --minutes 40
    python -m benchmarks.audit.visibility --only coffee_machines-4-T2-0
    python -m benchmarks.audit.visibility --only-summarise      the result of what is finished
    python -m benchmarks.audit.visibility --trial 8 --only coffee_machines-4
                                                                attacks of 8 calls, scored in two
                                                                orders; keeps nothing

Every cell is kept under benchmarks/results/cells/visibility as soon as it is measured. One that is
cut off goes on behind the last step of its attack, which lies in the cache folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from benchmarks.audit._visibility_cells import SEEDS, keep, kept, measured, visibility_cells
from benchmarks.audit._visibility_figures import summarise
from benchmarks.audit._visibility_lab import VisibilityLab


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
                print(cell.name, measured(cell, lab, calls=asked.trial, orders=2), flush=True)
                continue
            if kept(cell) is not None:
                continue
            if until is not None and time.monotonic() > until:
                break
            found = measured(cell, lab)
            keep(cell, found)
            print(cell.name, found.get("spent", ""), repr(found["added"]), flush=True)
    if not asked.trial:
        summarise()


if __name__ == "__main__":
    main()
