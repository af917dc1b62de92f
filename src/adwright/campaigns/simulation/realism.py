"""Compare the simulated population with real users, on weeks that it was not fitted on.

    visits     real visits of the weeks, and how many the arrival model expects
    basket     items a real visit took, and how many the response model expects
    favourites of the ten items that each visitor had taken most often before: the share taken,
               real and expected; this is the base rate of a slate of personal favourites

The response model sees the real past of each visit, those weeks included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.campaigns.simulation.features import UserItemFeatures
from adwright.campaigns.simulation.population import Population, pair_features, visits_of
from adwright.campaigns.simulation.purchase_model import Visits
from adwright.core.errors import DataError
from adwright.data.time import SECONDS_PER_WEEK

__all__ = ["RealAndExpected", "Realism", "check_population"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RealAndExpected:
    """A measure of the real users, and its expectation for the population."""

    real: float
    expected: float

    @property
    def ratio(self) -> float:
        """expected / real; NaN without anything real."""
        return self.expected / self.real if self.real else float("nan")


@dataclass(frozen=True)
class Realism:
    """Visits per week, items per visit, share of favourites taken. weeks: that were compared."""

    weeks: float
    visits: RealAndExpected
    basket: RealAndExpected
    favourites: RealAndExpected


def check_population(
    population: Population,
    later: pl.LazyFrame | pl.DataFrame,
    *,
    visits: int = 2_000,
    favourites: int = 10,
) -> Realism:
    """Compare with `later`, an EventLog; of it counts what lies after the start.

    visits: so many are drawn for the response model. Raises DataError where nothing lies there.
    """
    real, weeks = _later(population, later)
    present = np.isin(real.user, population.present)
    rng = np.random.default_rng([population.config.seed, 2])
    chosen = np.flatnonzero(present)
    rate = RealAndExpected(
        len(chosen) / weeks, float(population.arrivals.rate[population.present].sum())
    )
    some = real.sample(chosen, visits, rng)
    history = population.history_features.with_events(*real.events())
    pairs, features = pair_features(history, population.season, some, rng, population.config)
    expected = population.purchase_model.chance(features)
    basket = RealAndExpected(
        float(pairs.taken.sum()) / len(some), float(pairs.weight @ expected) / len(some)
    )
    return Realism(weeks, rate, basket, _favourites(population, history, some, favourites))


def _later(population: Population, later: pl.LazyFrame | pl.DataFrame) -> tuple[Visits, float]:
    users, items = pl.Series(population.users), pl.Series(population.items)
    table = (
        later.lazy()
        .filter(
            pl.col("kind").is_in(population.config.kinds),
            pl.col("time") >= population.start,
            pl.col("user_id").is_in(users.implode()),
            pl.col("item_id").is_in(items.implode()),
        )
        .select("user_id", "item_id", "time")
        .collect()
    )
    if not table.height:
        raise DataError(
            "nothing in this log lies after the start",
            column="time",
            value=population.start.isoformat(),
            hint="pass events of weeks that the population was not fitted on",
        )
    real = visits_of(table, users, items)
    return real, (int(real.time.max()) - int(population.start.timestamp())) / SECONDS_PER_WEEK


def _favourites(
    population: Population, history: UserItemFeatures, visits: Visits, k: int
) -> RealAndExpected:
    """Share of the k most frequent past items that is taken, at visits of users who have k."""
    first, end = history.past.things_of(visits.user)
    owner = np.repeat(np.arange(len(visits)), end - first)
    place = np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)])
    item = history.past.things[place.astype(np.int64)]
    count, _ = history.past.before(visits.user[owner], item, visits.time[owner])
    order = np.lexsort((item, -count, owner))
    owner, item, count = owner[order], item[order], count[order]
    start = np.searchsorted(owner, np.arange(len(visits)))
    had = (np.arange(len(owner)) - start[owner] < k) & (count > 0)
    full = np.bincount(owner[had], minlength=len(visits)) == k
    chosen = had & full[owner]
    if not chosen.any():
        return RealAndExpected(0.0, 0.0)
    owner, item = owner[chosen], item[chosen]
    taken = np.repeat(np.arange(len(visits)), np.diff(visits.offsets)) * history.items
    real = np.isin(owner * history.items + item, taken + visits.item)
    expected = population.purchase_model.chance(
        history.features(visits.user[owner], item, visits.time[owner], population.season)
    )
    return RealAndExpected(float(real.mean()), float(expected.mean()))
