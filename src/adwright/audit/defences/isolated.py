"""Each listing scored by itself, so that no text can steer how another one is read.

    alone = IsolatedTarget(LikelihoodTarget(model))
    alone.rank([ask])                              # by the scores of one-product prompts
    alone.text_terms(listings, request)            # t_i: with the texts less without

In a prompt with all products, one text speaks to the model about all of them. Here each is read in
a prompt of its own, and the ranking is by score. What a text adds to its own product is the
difference between the score with it and the score of the facts alone,

    t_i = s(listing i) - s(listing i without texts),

which is what `bounded` clips. It costs one call a listing instead of one a list; the scores depend
on nothing else, so each is remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.target import Ask, Ranking, RankingCost, Target, best_first
from adwright.core.errors import ConfigError

Floats = npt.NDArray[np.float64]

_REMEMBERED = 100_000


class IsolatedTarget:
    """A target that has scores, asked for one listing at a time. It closes that with itself."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    @property
    def name(self) -> str:
        """The target, and that it scores one at a time."""
        return f"{self._target.name}, each listing by itself"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question. Raises ConfigError where the target has no scores."""
        found = []
        for ask in asks:
            scores, cost = self.scored(ask.listings, ask.request)
            order = best_first(scores.tolist(), ask.order)
            found.append(Ranking(order, tuple(scores.tolist()), cost))
        return found

    def scored(self, listings: Sequence[ShopListing], request: str) -> tuple[Floats, RankingCost]:
        """[C] the score of each listing, and what those cost that were not known."""
        keys = [(one.name, one.digest(), request) for one in listings]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        asks = [Ask((listings[row],), request, (0,)) for row in new.values()]
        answers = self._target.rank(asks) if asks else []
        cost = sum((one.cost for one in answers), RankingCost())
        fresh = dict(zip(new, map(self._score, answers), strict=True))
        scores = np.array([fresh[key] if key in fresh else self._known[key] for key in keys])
        self._known.update(fresh)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return scores.astype(np.float64), cost

    def text_terms(
        self, listings: Sequence[ShopListing], request: str
    ) -> tuple[Floats, RankingCost]:
        """[C] what the texts of each listing add to its own score, and the cost."""
        bare = [one.without_texts() for one in listings]
        scores, cost = self.scored([*listings, *bare], request)
        return scores[: len(listings)] - scores[len(listings) :], cost

    def close(self) -> None:
        """Close the target."""
        self._target.close()

    def _score(self, answer: Ranking) -> float:
        if answer.scores is None:
            raise ConfigError(
                "this target gives an order and no scores, so that one listing has none",
                where=self._target.name,
                hint="take one with scores, such as the likelihood of names",
            )
        return answer.scores[0]
