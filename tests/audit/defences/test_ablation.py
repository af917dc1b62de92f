from __future__ import annotations

from collections.abc import Sequence

import pytest

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.defences.ablation import moved_ranks
from adwright.audit.targets.function import FunctionTarget
from adwright.core.errors import ConfigError
from tests.support.audit.defended import kettles

ORDERS = ((0, 1, 2, 3), (3, 2, 1, 0))
SHOP = kettles()


def shouted(listings: Sequence[ShopListing], request: str) -> list[float]:
    return [float(one.shown().count("!")) for one in listings]


TARGET = FunctionTarget(shouted, name="shouted")


def test_the_text_that_moves_a_rank_comes_first() -> None:
    shop = [*SHOP[:2], SHOP[2].with_text("Description", "Mine!!!"), SHOP[3]]
    first, *others = moved_ranks(TARGET, shop, "?", ORDERS)
    assert (first.name, first.field, first.row) == ("Gamma", "Description", 2)
    # Without its text it ties with the others, and stands third or second as it is shown.
    assert (first.with_text, first.without, first.gain) == (1.0, 2.5, 1.5)
    assert first.others == 0.5
    assert first.cost.calls == 2
    assert "moves it 1.5 ranks up (from 2.5 to 1.0)" in first.in_words()
    assert [one.gain for one in others] == [0, 0]
    assert "moves it nowhere" in others[0].in_words()
    # Delta has no text.
    assert {one.name for one in others} == {"Alpha", "Beta"}


def test_some_rows_alone() -> None:
    (one,) = moved_ranks(TARGET, SHOP, "?", ORDERS, rows=[1])
    assert one.name == "Beta"
    assert moved_ranks(TARGET, SHOP, "?", ORDERS, rows=[3]) == []


def test_a_text_that_harms_its_product_counts_below() -> None:
    def quiet(listings: Sequence[ShopListing], request: str) -> list[float]:
        return [-float(len(one.texts["Description"])) for one in listings]

    effects = moved_ranks(FunctionTarget(quiet, name="q"), SHOP, "?", ORDERS)
    assert all(one.gain <= 0 for one in effects)
    assert "ranks down" in effects[-1].in_words()


def test_there_has_to_be_an_order() -> None:
    with pytest.raises(ConfigError, match="no order"):
        moved_ranks(TARGET, SHOP, "?", ())
