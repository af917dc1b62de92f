from __future__ import annotations

import pytest

from adwright.audit.targets.target import Ask, Ranking, RankingCost, Target, best_first
from adwright.core.errors import ConfigError
from tests.support.audit.scripted_targets import stubborn
from tests.support.audit.shops import REQUEST, kettles


def test_ranks_begin_at_one_and_the_unmentioned_come_last() -> None:
    ranking = Ranking((2, 0))
    assert [ranking.rank_of(row, of=4) for row in range(4)] == [2, 5, 1, 5]
    assert ranking.ranks(4).tolist() == [2, 5, 1, 5]
    assert Ranking(()).ranks(2).tolist() == [3, 3]


def test_costs_add_up() -> None:
    assert RankingCost(1, 2, 3, 4.0) + RankingCost(10, 20, 30, 40.0) == RankingCost(11, 22, 33, 44)


def test_a_question_shows_each_listing_once() -> None:
    shop = kettles()
    ask = Ask(shop.listings, REQUEST, (5, 4, 3, 2, 1, 0))
    assert [one.name for one in ask.shown] == list(reversed(shop.names))
    for order in ((0, 1), (0, 1, 2, 3, 4, 4), (1, 2, 3, 4, 5, 6)):
        with pytest.raises(ConfigError, match="each listing once"):
            Ask(shop.listings, REQUEST, order)


def test_of_equal_scores_the_one_shown_first_is_first() -> None:
    assert best_first((1.0, 2.0, 1.0, 2.0), (3, 2, 1, 0)) == (3, 1, 2, 0)


def test_another_rule_ranks_likewise() -> None:
    ranking = Ranking((0, 1), (2.0, 1.0), RankingCost(1), "note", {"mean": (1.0, 2.0)})
    other = ranking.by("mean", (0, 1))
    assert (other.order, other.scores, other.cost, other.note) == (
        (1, 0),
        (1.0, 2.0),
        RankingCost(1),
        "note",
    )


def test_targets_are_told_by_their_methods() -> None:
    assert isinstance(stubborn(), Target)
    assert not isinstance(object(), Target)
