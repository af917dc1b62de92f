"""How well recall of ads is predicted: the encoder form, the language form, and ridges (4 hours).

    python -m benchmarks.memory.memorability                    what is not measured yet, then all
    python -m benchmarks.memory.memorability --only encoder minilm tfidf speed
    python -m benchmarks.memory.memorability --only language --seeds 1 --minutes 40
    python -m benchmarks.memory.memorability --only-summarise   the result of what is finished
    python -m benchmarks.memory.memorability --trial 8          folds of the language form at a
                                                                  tiny size; keeps nothing

Every cell is kept under benchmarks/results/cells/memorability as soon as it is measured, and a run
that is cut off goes on from there; vectors and adapters lie in the cache folder alone.

The plan, in CPU-seconds of one thread beside other work, at 100 tokens a second in training and 300
in reading (measured so; a quiet machine does two to three times as much):

    system      cells                        a cell      in all
    encoder     3 parts x 3 seeds           2 to 90         400   vectors, once: 200
    minilm      3 parts x 3 seeds           2 to 30          90
    tfidf       3 parts x 3 seeds         10 to 150         500
    zero        3 parts                          60         200
    few         3 parts x 3 seeds               120       1,000
    language    5 folds x 3 seeds               850      12,800   4,300 a seed: quiet, 30 minutes

A fold of the language form reads about 80,000 tokens in training, each row once: the recall of 376
slogans, 86 ads and 240 sentences, and the content of the ads. The method is LoRA of rank 16 on all
linear maps. Nothing is chosen on a test fold.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from benchmarks.memory._memory_cells import SEEDS, keep, kept, measured, memory_cells
from benchmarks.memory._memory_figures import summarise


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
