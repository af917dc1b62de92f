"""The tasks of the lifetime benchmark: which spells, and how they are split.

chain           a product in any store, at the close of its first week
store           a product in a store, of a part of the products
new_products    as chain, but the products of the test are none of those of training
fourth_week     as chain, at the close of the fourth week: where a fatigue rule knows something
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.survival_network import LifeTerms
from adwright.data.sources.complete_journey import CompleteJourney
from benchmarks.lifetime import _runs as runs
from benchmarks.lifetime._spells import (
    VERSION,
    SpellConfig,
    build_spells,
    drawn_owners,
    of_owners,
    split_by_start,
    weeks_of,
)

Where = Literal["chain", "new_products", "fourth_week", "store"]
#: Training starts before, validation before the second; the test is what starts then or later. A
#: test of weeks 49-53 would see no life beyond its fifth week, and so nothing of the long term.
WEEKS = 29, 35
#: Of the products, of which the spells in stores are taken; and those that training has not seen.
_SHARE, _HELD = 0.1, 0.25
_FOURTH = 4


@dataclass(frozen=True)
class Display:
    """A task, by its name."""

    where: Where

    @cached_property
    def config(self) -> SpellConfig:
        """Of its spells."""
        landmark = _FOURTH if self.where == "fourth_week" else 1
        return SpellConfig(where="store" if self.where == "store" else "chain", landmark=landmark)

    @cached_property
    def spells(self) -> runs.Spells:
        """Its parts."""
        table = build_spells(CompleteJourney.open(), cache_folder() / "tasks", self.config)
        if self.where == "store":
            table = of_owners(table, drawn_owners(table, _SHARE, 0))
        train, valid, test = split_by_start(table, *WEEKS)
        if self.where == "new_products":
            held = drawn_owners(table, _HELD, 1)
            train, valid = (of_owners(part, held, others=True) for part in (train, valid))
            test = of_owners(test, held)
        units = [len(train), len(valid), len(test)]
        about = {"where": self.where, "weeks": WEEKS, "units": units, "spells": VERSION}
        data = content_hash(about)
        names = (*train.number_names, *train.category_names)
        place = tuple(name for name in names if name.startswith(("display", "mailer")))
        return runs.Spells(data, train, valid, test, place)

    @cached_property
    def terms(self) -> LifeTerms:
        """Edges of the bins, of ours and of the peers."""
        train = self.spells.train
        return LifeTerms.of(train.entry, train.time, train.cause)

    @property
    def border(self) -> float:
        """The age at which the short term ends."""
        return float(self.terms.short[-1])

    def fatigue(self) -> NDArray[np.float64] | None:
        """The fall from the peak of each test spell at its landmark [N]; None where a series is of
        one week, which is its own peak."""
        if self.where != "fourth_week":
            return None
        weeks = weeks_of(CompleteJourney.open(), self.config)
        place = weeks.offsets[:-1, None] + np.arange(_FOURTH)
        bought, came = weeks.bought[place], weeks.came[place]
        rate = np.divide(bought, came, out=np.zeros(bought.shape), where=came > 0)
        last = _FOURTH - 1 - np.argmax(came[:, ::-1] > 0, axis=1)  # that says something of a rate
        peak = np.maximum(rate.max(1), 1e-300)
        fall: NDArray[np.float64] = np.where(
            rate.any(1), 1 - rate[np.arange(len(rate)), last] / peak, 0.0
        )
        table = build_spells(CompleteJourney.open(), cache_folder() / "tasks", self.config)
        return fall[table.start >= WEEKS[1]]
