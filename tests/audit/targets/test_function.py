from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.target import Ask, FunctionTarget
from adwright.core.errors import ConfigError, DataError
from tests.support.audit.scripted_targets import by_rating
from tests.support.audit.shops import REQUEST, kettles

SHOP = kettles()
ASK = Ask(SHOP.listings, REQUEST, (2, 0, 1, 5, 4, 3))


def test_scores_are_given_in_the_order_shown() -> None:
    (ranking,) = FunctionTarget(by_rating, name="rating").rank([ASK])
    assert ranking.order == (5, 4, 3, 2, 1, 0)
    assert ranking.scores == (4.0, 4.1, 4.2, 4.3, 4.4, 4.5)
    assert ranking.cost.calls == 1


def test_names_rank_too_and_may_be_few() -> None:
    def names(listings: Sequence[ShopListing], request: str) -> list[str]:
        assert request == REQUEST
        return [listings[0].name, "Samovar", listings[0].name]

    target = FunctionTarget(names, name="mine")
    assert target.rank([ASK])[0].order == (2, 5)
    assert target.name == "mine"
    target.close()


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ([1.0], "6 finite scores"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")], "6 finite scores"),
        ([None] * 6, "6 finite scores"),
        (["Kettle 9"], "not shown"),
        (3, "failed: TypeError"),
    ],
)
def test_answers_that_are_none(answer: Any, what: str) -> None:
    with pytest.raises(DataError, match=what):
        FunctionTarget(lambda listings, request: answer, name="odd").rank([ASK])


def test_errors_of_the_function_are_told() -> None:
    def fails(listings: Sequence[ShopListing], request: str) -> list[float]:
        raise KeyError("Rating")

    def refuses(listings: Sequence[ShopListing], request: str) -> list[float]:
        raise ConfigError("no")

    with pytest.raises(DataError, match="the function failed: KeyError") as caught:
        FunctionTarget(fails, name="odd").rank([ASK])
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ConfigError, match="no"):
        FunctionTarget(refuses, name="odd").rank([ASK])
