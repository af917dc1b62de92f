from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adwright.audit.targets.target import Ask, AveragedTarget, Ranking, RankingCost
from adwright.core.errors import ConfigError
from tests.support.audit.shops import REQUEST, kettles

SHOP = kettles()
ASK = Ask(SHOP.listings, REQUEST, (2, 0, 1, 5, 4, 3))


class ByPlace:
    """What is shown first is best; and keeps the questions."""

    name = "by place"
    closed = False

    def __init__(self, *, scores: bool = True, few: int = 6) -> None:
        self.scores, self.few = scores, few
        self.asked: list[Ask] = []

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        self.asked.extend(asks)
        return [self.one(ask) for ask in asks]

    def one(self, ask: Ask) -> Ranking:
        scores = [0.0] * 6
        for place, row in enumerate(ask.order):
            scores[row] = -float(place)
        cost = RankingCost(1, 10, 0, 0.5)
        if self.scores:
            return Ranking(tuple(ask.order), tuple(scores), cost, also={"mean": tuple(scores)})
        return Ranking(tuple(ask.order)[: self.few], None, cost, "short")

    def close(self) -> None:
        self.closed = True


def test_all_orders_are_asked_and_averaged() -> None:
    inner = ByPlace()
    (found,) = AveragedTarget(inner, 4, seed=1).rank([ASK])
    assert len({tuple(ask.order) for ask in inner.asked}) == 4
    assert tuple(inner.asked[0].order) == ASK.order
    expected = np.mean([inner.one(ask).scores for ask in inner.asked], axis=0)
    assert found.scores == pytest.approx(expected)
    assert found.also["mean"] == pytest.approx(expected)
    assert found.order == tuple(sorted(ASK.order, key=lambda row: -expected[row]))
    assert found.cost == RankingCost(4, 40, 0, 2.0)


def test_a_balanced_mean_leaves_nothing_of_the_place() -> None:
    (found,) = AveragedTarget(ByPlace(), 6, balanced=True).rank([ASK])
    assert found.scores == pytest.approx([-2.5] * 6)
    assert found.order == ASK.order


def test_more_orders_than_turns_are_drawn() -> None:
    inner = ByPlace()
    AveragedTarget(inner, 8, balanced=True).rank([ASK])
    assert len({tuple(ask.order) for ask in inner.asked}) == 8


def test_seeds_and_questions_have_orders_of_their_own() -> None:
    def orders(seed: int) -> list[tuple[int, ...]]:
        inner = ByPlace()
        AveragedTarget(inner, 3, seed=seed).rank([ASK, Ask(SHOP.listings, REQUEST, range(6))])
        return [tuple(ask.order) for ask in inner.asked]

    assert orders(0) == orders(0) != orders(1)
    assert len(set(orders(0))) == 6


def test_without_scores_ranks_are_averaged_and_the_unnamed_stay_out() -> None:
    inner = ByPlace(scores=False, few=2)
    (found,) = AveragedTarget(inner, 2).rank([ASK])
    ranks = np.mean([inner.one(ask).ranks(6) for ask in inner.asked], axis=0)
    named = {row for ask in inner.asked for row in tuple(ask.order)[:2]}
    assert set(found.order) == named
    assert list(found.order) == sorted(named, key=lambda row: (ranks[row], ASK.order.index(row)))
    assert found.note == "short"


def test_one_order_is_the_target_itself() -> None:
    inner = ByPlace()
    target = AveragedTarget(inner, 1)
    assert target.rank([ASK])[0].order == ASK.order
    assert target.name == "by place, mean of 1 orders"
    target.close()
    assert inner.closed
    with pytest.raises(ConfigError, match="at least 1"):
        AveragedTarget(inner, 0)
