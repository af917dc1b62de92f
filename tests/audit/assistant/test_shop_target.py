from __future__ import annotations

import pytest

from adwright.audit.assistant.retrieval import WordRetrieval
from adwright.audit.assistant.shop_target import ShopTarget
from adwright.audit.targets.target import Ask
from adwright.core.errors import ConfigError
from tests.support.audit.scripted_targets import stubborn
from tests.support.audit.shops import kettles

SHOP = kettles()


def test_what_is_not_found_is_not_ranked() -> None:
    target = ShopTarget(stubborn(), WordRetrieval(), shown=2)
    (ranking,) = target.rank([Ask(SHOP.listings, "glass", (5, 4, 3, 2, 1, 0))])
    assert (ranking.order, ranking.scores) == ((2, 1), None)
    assert ranking.ranks(6).tolist() == [7, 2, 1, 7, 7, 7]
    assert target.name == "BM25 (best 2), then stubborn"


def test_a_text_can_win_the_step_before() -> None:
    loud = SHOP.with_listing(0, SHOP.listings[0].with_text("Ideal For", "glass " * 9))
    target = ShopTarget(stubborn(), WordRetrieval(), shown=1)
    before, after = target.rank([Ask(shop.listings, "glass", range(6)) for shop in (SHOP, loud)])
    assert (before.order, after.order) == ((1,), (0,))


def test_all_found_is_the_target_itself() -> None:
    target = ShopTarget(stubborn(), WordRetrieval(), shown=99)
    ask = Ask(SHOP.listings, "tea", (1, 0, 2, 5, 4, 3))
    assert target.rank([ask])[0].order == stubborn().rank([ask])[0].order
    target.close()
    with pytest.raises(ConfigError):
        ShopTarget(stubborn(), WordRetrieval(), shown=0)
