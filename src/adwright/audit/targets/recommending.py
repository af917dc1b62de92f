"""Rank by a recommender of ours: the cascade, a rule, whatever keeps the Protocol.

    target = RecommenderTarget(cascade, user_id="17", clock=clock)

A cascade reads ids, histories and features, and no text of a listing: texts cannot move it, which
is why a structured recommender stands in every audit beside the language models. One that does read
texts gets them in the context of the request (`texts=True`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from adwright.audit.targets.target import Ask, Ranking, RankingCost
from adwright.core.clock import Clock, SystemClock
from adwright.delivery.decision import Recommender, Request

__all__ = ["RecommenderTarget"]


class RecommenderTarget:
    """A recommender asked for an order of the listings.

    item_ids: the recommender's id of each listing, by its name; names that are missing are ids
    themselves. user_id: who asks. texts: put each listing, as it is shown, into the context of the
    request, under "listing: ID". Listings that it leaves out are not ranked.
    """

    def __init__(
        self,
        recommender: Recommender,
        *,
        name: str = "recommender",
        item_ids: Mapping[str, str] | None = None,
        user_id: str = "shopper",
        texts: bool = False,
        clock: Clock | None = None,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._recommender = recommender
        self._name = name
        self._ids = dict(item_ids or {})
        self._user = user_id
        self._texts = texts
        self._clock = SystemClock() if clock is None else clock
        self._cpu = cpu

    @property
    def name(self) -> str:
        """The recommender, as it was called."""
        return self._name

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question. Raises what the recommender does."""
        return [self._one(ask) for ask in asks]

    def close(self) -> None:
        """Nothing to free: the recommender is its owner's."""

    def _one(self, ask: Ask) -> Ranking:
        began = self._cpu()
        ids = [self._ids.get(one.name, one.name) for one in ask.listings]
        context: dict[str, str | float] = {"query": ask.request}
        if self._texts:
            shown = zip(ids, ask.listings, strict=True)
            context |= {f"listing: {item}": one.shown() for item, one in shown}
        request = Request(
            "audit",
            self._user,
            self._clock.now(),
            k=len(ids),
            context=context,
            candidates=tuple(ids[row] for row in ask.order),
        )
        found = self._recommender.recommend(request)
        rows = {item: row for row, item in enumerate(ids)}
        order = tuple(rows[item] for item in found.item_ids if item in rows)
        cost = RankingCost(1, 0, 0, self._cpu() - began)
        scores = None
        if len(order) == len(ids):
            by_row = dict(zip(order, found.score.tolist(), strict=True))
            scores = tuple(float(by_row[row]) for row in range(len(ids)))
        return Ranking(order, scores, cost)
