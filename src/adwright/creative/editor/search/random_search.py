"""Random search: plans evenly drawn, as many as another search was given calls.

    found = random_search(fitness, calls=130, seed=0)

What a genetic search must beat at equal calls before it is worth anything.
"""

from __future__ import annotations

import numpy as np

from adwright.core.errors import ConfigError
from adwright.creative.editor.search.fitness import PlanFitness
from adwright.creative.editor.search.settings import Archive, SearchOutcome, require_calls

__all__ = ["random_search"]

#: Draws that repeat, of a plan with few values, before the search ends early.
_FRUITLESS = 20


def random_search(
    fitness: PlanFitness, *, calls: int, seed: int, reach: float = 1.0, batch: int = 30
) -> SearchOutcome:
    """No edit, and plans drawn until so many pictures were judged.

    reach: plans lie that far from no edit at most, as a share of each knob's range; 1 draws evenly
    from all that the bounds allow. batch: plans that are judged together. What was judged before is
    not drawn again, so there are fewer calls where there are fewer plans. Raises ConfigError for
    fewer than 2 calls, another reach, and a fitness with several judges.
    """
    require_calls(calls)
    if not 0 < reach <= 1 or batch < 1:
        raise ConfigError(
            f"reach {reach}, batch {batch}", where="random_search", hint="0 < reach <= 1, batch > 0"
        )
    rng, start = np.random.default_rng(seed), fitness.calls
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    wide = reach * (fitness.high - fitness.low)
    low = np.maximum(fitness.low, fitness.neutral - wide)
    high = np.minimum(fitness.high, fitness.neutral + wide)
    fruitless = 0
    # Asking about no edit may have cost nothing, where it was known; it counts as one all the same.
    left = calls - 1
    while left > 0 and fruitless < _FRUITLESS:
        drawn = np.unique(
            fitness.on_grid(rng.uniform(low, high, (min(batch, left), len(low)))), axis=0
        )
        new = drawn[[fitness.unjudged(one[None]) > 0 for one in drawn]]
        if not len(new):
            fruitless += 1
            continue
        archive.take(new, fitness.scores(new), fitness.calls - start)
        left, fruitless = left - len(new), 0
    return archive.outcome("random", fitness.calls - start)
