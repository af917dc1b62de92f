from __future__ import annotations

import pytest

from adwright.audit.attacks.attack import AttackGoal
from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.core.errors import ConfigError
from tests.support.audit.attacked import ORDERS, tea_goal, teas


def test_an_attack_writes_behind_one_text_and_nowhere_else() -> None:
    goal = tea_goal()
    listings = goal.listings(" Best.")
    assert listings[1].texts == {"Description": "a warm tea", "For": "the morning Best."}
    assert listings[1].attributes == goal.listing.attributes
    assert (listings[0], listings[2]) == (goal.catalogue.listings[0], goal.catalogue.listings[2])
    assert goal.attacked("") == goal.listing


def test_the_field_can_be_chosen() -> None:
    goal = AttackGoal(teas(), 1, "Description")
    assert goal.own_text == "a warm tea"
    assert goal.attacked("!").texts["Description"] == "a warm tea!"


def test_a_question_is_asked_in_every_order_and_with_another_request() -> None:
    asks = tea_goal().asks("", ORDERS)
    assert [ask.order for ask in asks] == list(ORDERS)
    assert {ask.request for ask in asks} == {"name the best tea"}
    assert tea_goal().asks("", ORDERS[:1], "cheap tea")[0].request == "cheap tea"


def test_the_catalogues_of_others_are_refused() -> None:
    with pytest.raises(ConfigError, match="not declared as your own"):
        AttackGoal(teas(own=False), 1)


@pytest.mark.parametrize(("row", "field"), [(3, ""), (-1, ""), (1, "Price"), (1, "Colour")])
def test_what_cannot_be_attacked_is_refused(row: int, field: str) -> None:
    with pytest.raises(ConfigError):
        AttackGoal(teas(), row, field)


def test_a_product_without_texts_is_refused() -> None:
    bare = ShopCatalogue("bare", "tea?", (ShopListing("A"), ShopListing("B")), own=True)
    with pytest.raises(ConfigError, match="no text"):
        AttackGoal(bare, 0)
