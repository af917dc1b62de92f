"""Rank by a function of one's own, such as a shop's scorer behind its own client.

def by_rating(listings, request):
    return [float(one.attributes["Rating"]) for one in listings]

target = FunctionTarget(by_rating, name="rating")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.target import Ask, Ranking, RankingCost, best_first
from adwright.core.errors import AdwrightError, DataError

#: Takes the listings as they are shown, and the request; gives a score for each, the higher the
#: better, or the names in its order, the best first, those that it would recommend.
RankFunction: TypeAlias = Callable[[Sequence[ShopListing], str], Sequence[float] | Sequence[str]]


class FunctionTarget:
    """A function as a target. name: what it is, for the report."""

    def __init__(
        self,
        function: RankFunction,
        *,
        name: str,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._function = function
        self._name = name
        self._cpu = cpu

    @property
    def name(self) -> str:
        """What the function is."""
        return self._name

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question. Raises DataError where the function fails, or gives neither
        scores nor names."""
        return [self._one(ask) for ask in asks]

    def close(self) -> None:
        """Nothing to free."""

    def _one(self, ask: Ask) -> Ranking:
        began = self._cpu()
        try:
            found = list(self._function(ask.shown, ask.request))
        except AdwrightError:
            raise
        except Exception as error:
            raise DataError(
                f"the function failed: {type(error).__name__}: {error}"[:300],
                file=self._name,
                hint="see its own traceback, which is the cause of this error",
            ) from error
        cost = RankingCost(1, 0, 0, self._cpu() - began)
        names = [one for one in found if isinstance(one, str)]
        if len(names) == len(found):
            return Ranking(self._of_names(names, ask), None, cost)
        return self._of_scores(found, ask, cost)

    def _of_names(self, names: Sequence[str], ask: Ask) -> tuple[int, ...]:
        rows = {one.name: row for row, one in enumerate(ask.listings)}
        unknown = next((name for name in names if name not in rows), None)
        if unknown is not None:
            raise DataError(
                "the function names a product that it was not shown",
                file=self._name,
                value=unknown,
                hint="give the names as they are, or a score for each listing",
            )
        return tuple(dict.fromkeys(rows[name] for name in names))

    def _of_scores(self, found: Sequence[object], ask: Ask, cost: RankingCost) -> Ranking:
        try:
            values = np.array(found, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (len(ask.order),) or not np.isfinite(values).all():
            raise DataError(
                f"the function has to give {len(ask.order)} finite scores, or names",
                file=self._name,
                value=found[:5],
                hint="one score for each listing, in the order in which they are shown",
            )
        scores = [0.0] * len(ask.order)
        for row, value in zip(ask.order, values.tolist(), strict=True):
            scores[row] = value
        return Ranking(best_first(scores, ask.order), tuple(scores), cost)
