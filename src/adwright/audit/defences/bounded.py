"""The bounded term: facts decide, and a text can add or take eps at most.

    target = BoundedTarget(facts, IsolatedTarget(model), eps=0.5)
    target.rank([ask])
    rank_bounds(target.scores(listings, request))      # what any texts can do to it

    s_i = a_i + clip(t_i, -eps, eps)

a comes from a target that never sees a text: it gets the listings without them, in the order of the
catalogue. t_i is what the texts of product i add in a prompt of its own. So a seller moves one
number, by eps at most, and `audit.certificate` says exactly how far that reaches. Products of equal
score stand in the order in which they are shown. No text changes a, so it is asked for once for a
catalogue and a request, and then remembered.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.certificate.scores import BoundedScores, require_eps
from adwright.audit.defences.isolated import IsolatedTarget
from adwright.audit.targets.target import Ask, Ranking, RankingCost, Target, best_first
from adwright.core.errors import ConfigError

Floats = npt.NDArray[np.float64]

#: Catalogues and requests whose facts are remembered.
_REMEMBERED = 100


class BoundedTarget:
    """facts: a target with scores, such as a shop's own rule. texts: what reads the texts. eps: the
    bound, in the unit of the scores. It closes both with itself."""

    def __init__(
        self,
        facts: Target,
        texts: IsolatedTarget,
        eps: float,
        *,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        require_eps(eps)
        self._facts = facts
        self._texts = texts
        self._cpu = cpu
        self._known: OrderedDict[tuple[str, ...], Floats] = OrderedDict()
        self.eps = eps

    @property
    def name(self) -> str:
        """Both targets, and the bound."""
        return f"{self._facts.name}, and texts within {self.eps:g} by {self._texts.name}"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question, with scores."""
        found = []
        for ask in asks:
            scores, cost = self._scored(ask.listings, ask.request)
            honest = scores.honest.tolist()
            found.append(Ranking(best_first(honest, ask.order), tuple(honest), cost))
        return found

    def scores(self, listings: Sequence[ShopListing], request: str) -> BoundedScores:
        """The terms of each listing, for a certificate. Raises ConfigError where the target of the
        facts has no scores, ValueInvalidError where one is no finite number."""
        return self._scored(listings, request)[0]

    def close(self) -> None:
        """Close both targets."""
        self._facts.close()
        self._texts.close()

    def _scored(
        self, listings: Sequence[ShopListing], request: str
    ) -> tuple[BoundedScores, RankingCost]:
        facts, spent = self._scored_facts(listings, request)
        terms, cost = self._texts.text_terms(listings, request)
        # A text that breaks the scorer must not gain by it.
        terms = np.where(np.isfinite(terms), terms, -self.eps)
        return BoundedScores(facts, terms, self.eps), spent + cost

    def _scored_facts(
        self, listings: Sequence[ShopListing], request: str
    ) -> tuple[Floats, RankingCost]:
        bare = [one.without_texts() for one in listings]
        key = (request, *(one.digest() for one in bare))
        known = self._known.get(key)
        if known is not None:
            return known, RankingCost()
        (answer,) = self._facts.rank([Ask(bare, request, range(len(bare)))])
        if answer.scores is None:
            raise ConfigError(
                "the target of the facts gives no scores",
                where=self._facts.name,
                hint="take one with scores, such as a function",
            )
        found = self._known[key] = np.array(answer.scores)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found, answer.cost
