"""Clicks by a simulator, where no log has them: SIMULATED, and said so wherever it is told.

A position-based model of what people do with a list of results:

    P(click on rank r) = r^-decay * a(grade_r),   a(g) = floor + (1 - floor) (2^g - 1) / 2^highest

The first factor is whether rank r is looked at (Joachims, Swaminathan and Schnabel, WSDM 2017), the
second whether a product that is looked at is clicked, which grows with its grade as in expected
reciprocal rank (Chapelle et al., CIKM 2009). floor: clicks on what is not relevant.

Such clicks follow from the grades and from where products stand: they tell in another unit what
NDCG tells, and nothing of whether people like the texts. Only a log or an experiment does. The
expected number is exact; nothing is drawn but the queries of the interval.

Letters: S seeds, Q queries, k length of the lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from adwright.authoring.describe.search import INDEXES, DescriptionSearch, Index
from adwright.core.config import Count, Ge, Gt, Lt, settings
from adwright.core.errors import ConfigError
from adwright.metrics.two_level import MethodInterval, two_level_difference, two_level_ratio

Floats = npt.NDArray[np.float64]


@settings
class SimulatedClickConfig:
    """decay: how fast attention falls, 0 for not at all. floor: chance of a click on a product
    that is looked at and not relevant. highest: the best grade there is. draws, confidence, seed:
    of the intervals.

    Raises ConfigError that names the setting.
    """

    decay: Annotated[float, Ge(0)] = 1.0
    floor: Annotated[float, Ge(0), Lt(1)] = 0.02
    highest: Count = 3
    draws: Count = 1000
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95
    seed: int = 0


@dataclass(frozen=True)
class SimulatedClicks:
    """Of a ranker. clicks: index to the expected clicks of a search. leads: index to its distance
    from the original index, paired over queries. simulated: always True."""

    ranker: str
    clicks: Mapping[Index, MethodInterval]
    leads: Mapping[Index, MethodInterval]
    simulated: bool = True


def expected_clicks(grades: npt.ArrayLike, config: SimulatedClickConfig) -> Floats:
    """Expected clicks of a search, [...] of grades [..., k] in the order shown; NaN is a rank at
    which nothing is shown.

    Raises ConfigError where a grade is above `highest`.
    """
    shown = np.asarray(grades, np.float64)
    there = ~np.isnan(shown)
    best = shown[there].max(initial=0.0)
    if best > config.highest:
        raise ConfigError(
            f"there is a grade of {best:g}, above the highest",
            where=f"highest {config.highest}",
            hint="say what the best grade is",
        )
    looked_at = np.arange(1, shown.shape[-1] + 1) ** -config.decay
    liked = config.floor + (1 - config.floor) * (np.exp2(shown) - 1) / 2.0**config.highest
    found: Floats = np.where(there, looked_at * liked, 0.0).sum(-1)
    return found


def simulate_clicks(
    search: DescriptionSearch, config: SimulatedClickConfig | None = None
) -> tuple[SimulatedClicks, ...]:
    """The clicks that each ranker's lists would get, over the queries that the writer had not
    seen; ranks beyond k are not shown."""
    config = config or SimulatedClickConfig()
    found = []
    for ranker in dict.fromkeys(name for name, _ in search.grades):
        by_index: dict[Index, Floats] = {}
        for index in INDEXES:
            clicks = expected_clicks(search.grades[ranker, index], config)
            by_index[index] = clicks if index in ("written", "both") else clicks[0]
        ones = np.ones(by_index["title"].shape[-1])

        def told(values: Floats, ones: Floats = ones) -> MethodInterval:
            rng = np.random.default_rng(config.seed)
            return two_level_ratio(values, ones, rng, config.draws, confidence=config.confidence)

        def lead(
            values: Floats, ones: Floats = ones, base: Floats = by_index["original"]
        ) -> MethodInterval:
            rng = np.random.default_rng(config.seed)
            return two_level_difference(
                values, base, ones, rng, config.draws, confidence=config.confidence
            )

        found.append(
            SimulatedClicks(
                ranker,
                {index: told(values) for index, values in by_index.items()},
                {i: lead(values) for i, values in by_index.items() if i != "original"},
            )
        )
    return tuple(found)
