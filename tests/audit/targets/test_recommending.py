from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from adwright.audit.targets.recommending import RecommenderTarget
from adwright.audit.targets.target import Ask
from adwright.core.clock import FixedClock
from adwright.delivery.decision import Candidates, Request
from tests.support.audit.shops import REQUEST, kettles

SHOP = kettles()
ASK = Ask(SHOP.listings, REQUEST, (5, 4, 3, 2, 1, 0))
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Alphabetic:
    """Orders the candidates by their ids, leaves out those with a T, and keeps the request."""

    asked: Request

    def __init__(self, *, all_of_them: bool = True) -> None:
        self.all_of_them = all_of_them

    def recommend(self, request: Request) -> Candidates:
        self.asked = request
        ids = tuple(
            one for one in sorted(request.candidates or ()) if self.all_of_them or "T" not in one
        )
        return Candidates(ids, -np.arange(len(ids), dtype=np.float64), False, "fine")


def test_a_recommender_is_asked_with_the_listings_as_candidates() -> None:
    rule = Alphabetic()
    target = RecommenderTarget(rule, name="abc", user_id="u", clock=FixedClock(NOW))
    (ranking,) = target.rank([ASK])
    assert [SHOP.names[row] for row in ranking.order] == sorted(SHOP.names)
    assert ranking.scores is not None
    assert [ranking.scores[row] for row in ranking.order] == [0, -1, -2, -3, -4, -5]
    assert rule.asked.candidates == tuple(reversed(SHOP.names))
    assert (rule.asked.user_id, rule.asked.time, rule.asked.k) == ("u", NOW, 6)
    assert rule.asked.context == {"query": REQUEST}
    assert (target.name, ranking.cost.calls) == ("abc", 1)
    target.close()


def test_ids_are_the_recommenders_own() -> None:
    rule = Alphabetic()
    (ranking,) = RecommenderTarget(rule, item_ids={"Teapot": "0"}).rank([ASK])
    assert SHOP.names[ranking.order[0]] == "Teapot"


def test_what_it_leaves_out_is_not_ranked() -> None:
    (ranking,) = RecommenderTarget(Alphabetic(all_of_them=False)).rank([ASK])
    assert {SHOP.names[row] for row in ranking.order} == {
        *("Steel Kettle", "Glass Kettle", "Glass Kettle Pro", "Samovar")
    }
    assert ranking.scores is None


def test_texts_reach_it_only_where_that_is_asked_for() -> None:
    rule = Alphabetic()
    RecommenderTarget(rule, texts=True).rank([ASK])
    assert rule.asked.context["listing: Teapot"] == SHOP.listings[4].shown()
