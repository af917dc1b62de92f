"""How well recall of ads is predicted: the encoder form, the language form, and ridges (4 hours).

    python -m benchmarks.creative.memorability                    what is not measured yet, then all
    python -m benchmarks.creative.memorability --only encoder minilm tfidf speed
    python -m benchmarks.creative.memorability --only language --seeds 1 --minutes 40
    python -m benchmarks.creative.memorability --only-summarise   the result of what is finished
    python -m benchmarks.creative.memorability --trial 8          folds of the language form at a
                                                                  tiny size; keeps nothing

Every cell is kept under benchmarks/results/cells/memorability as soon as it is measured, and a run
that is cut off goes on from there; vectors and adapters lie in the cache folder alone.

The plan, in CPU-seconds of one thread, at 100 tokens a second in training and 300 in reading (a
quiet machine does two to three times as much):

    system      cells                        a cell      in all
    encoder     3 parts x 3 seeds           3 to 60         400   vectors, once: 200
    minilm      3 parts x 3 seeds           2 to 30          90
    tfidf       3 parts x 3 seeds         10 to 150         500
    zero        3 parts                         100         300
    few         3 parts x 3 seeds               150       1,300
    language    5 folds x 3 seeds               700      10,500   3,500 a seed: 58 minutes

A fold of the language form reads about 70,000 tokens in training: 86 ads and 376 slogans in both
tasks, 400 of the sentences in one, each row of 40 to 250 tokens, once. The method is LoRA of rank
16 on all linear maps. Nothing is chosen on a test fold.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from benchmarks.creative._memory_cells import SEEDS, keep, kept, measured, memory_cells
from benchmarks.creative._memory_figures import summarise


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, and write benchmarks/results/memorability.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--only", nargs="*", default=[], help="systems, parts or cells")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--minutes", type=float, help="begin nothing after so many")
    parser.add_argument("--trial", type=int, default=0, help="rows of a part, keeping nothing")
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args(argv)
    if not asked.only_summarise:
        until = None if asked.minutes is None else time.monotonic() + 60 * asked.minutes
        for cell in memory_cells(asked.only, SEEDS[: asked.seeds]):
            if asked.trial:
                if cell.system == "language":
                    print(cell.name, measured(cell, rows=asked.trial), flush=True)
                continue
            if kept(cell) is not None:
                continue
            if until is not None and time.monotonic() > until:
                break
            found = measured(cell)
            keep(cell, found)
            print(cell.name, found["cpu_seconds"], "CPU-seconds", flush=True)
    if not asked.trial:
        summarise()


if __name__ == "__main__":
    main()
