"""Which weight and temperature of the second task a cell gets: successive choices on validation.

The grid of a data set and a share is not trained whole. Weights are climbed by one seed each: from
weight 1 at temperature .1, or from what the neighbouring share chose, up or down while validation
gets better. Of the share where a data set begins the best weight is tried at two more temperatures;
the others keep its temperature. The best two settings get two more seeds, and the better mean over
three is taken. Random masking is tried at the same two, by one seed. The test is never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from adwright.data.tasks.next_basket import NextBasket
from benchmarks.delivery._two_tower_cells import FIRST, SHARES, Cell, trained, with_share

WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
TEMPERATURES = (0.07, 0.1, 0.2)
#: Data sets of which a training takes minutes: the best setting alone gets more seeds.
SLOW = ("journey",)


@dataclass(frozen=True)
class Setting:
    """Weight and temperature of the second task."""

    alpha: float
    temperature: float


@dataclass(frozen=True)
class Choice:
    """What validation chose for correlated and for random masking. tried: the trainings, with their
    recall of validation."""

    cfm: Setting
    rfm: Setting
    tried: Mapping[Cell, float]


Found = dict[Setting, float]


def neighbour(share: int) -> int:
    """The share whose choice another begins with, one step nearer to `FIRST`."""
    return SHARES[SHARES.index(share) + (1 if share < FIRST else -1)]


def choose(data: str, task: NextBasket, share: int, *, run: bool = True) -> Choice:
    """The choice for `share` percent of the labels of `task`, which has all of them. Trains what is
    not there yet, of neighbouring shares too, or, without `run`, raises NotRun."""
    of = with_share(task, share)
    base = Cell(data, share, "correlated")
    cells: dict[Cell, float] = {}

    def valid(settings: Iterable[Setting], seeds: Iterable[int], cell: Cell = base) -> Found:
        """Mean recall of validation of each setting."""
        found: Found = {}
        for setting in settings:
            asked = [_at(cell, setting, seed) for seed in seeds]
            cells.update({one: trained(one, of, run=run)["valid"] for one in asked})
            found[setting] = float(np.mean([cells[one] for one in asked]))
        return found

    start = Setting(1.0, 0.1)
    if share != FIRST:
        start = choose(data, task, neighbour(share), run=run).cfm
    found = valid([start], [0])
    while more := [s for s in _beside(_best(found)[0]) if s not in found]:
        found |= valid(more, [0])
    if share == FIRST:
        best = _best(found)[0]
        found |= valid([replace(best, temperature=tau) for tau in TEMPERATURES], [0])
    finalists = _best(found)[: 1 if data in SLOW else 2]
    correlated = valid(finalists, range(3))
    random = valid(finalists, [0], replace(base, views="random"))
    return Choice(_best(correlated)[0], _best(random)[0], cells)


def _at(cell: Cell, setting: Setting, seed: int) -> Cell:
    return replace(cell, alpha=setting.alpha, temperature=setting.temperature, seed=seed)


def _best(found: Found) -> list[Setting]:
    """The best first; of equals the smaller weight."""
    return sorted(found, key=lambda setting: (-found[setting], setting.alpha))


def _beside(setting: Setting) -> list[Setting]:
    """The settings of the next weights."""
    at = WEIGHTS.index(setting.alpha)
    return [replace(setting, alpha=alpha) for alpha in WEIGHTS[max(at - 1, 0) : at + 2]]
