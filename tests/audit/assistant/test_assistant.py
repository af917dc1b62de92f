from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from adwright.audit.assistant import ShopAssistant
from adwright.audit.catalogue import ShopListing
from adwright.core.errors import ConfigError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import REQUEST, kettles

SHOP = kettles()


class Mute:
    name = "mute"

    def clean(self, listing: ShopListing) -> ShopListing:
        return listing.without_texts()


def test_a_shopper_is_answered_with_products_of_the_shop() -> None:
    answer = ShopAssistant(SHOP, stubborn()).answer(k=2)
    assert answer.request == REQUEST
    assert (
        answer.text() == "1. Samovar: Price: $69, Rating: 4.5\n2. Teapot: Price: $59, Rating: 4.4"
    )
    assert [one.row for one in answer.products] == [5, 4]
    assert len(answer.found) == 6
    assert answer.cost.calls == 1


def test_the_model_writes_reasons_for_what_was_ranked() -> None:
    words = {"Samovar": "A samovar for guests. It beats the Teapot.", "Free Gift": "Take it."}
    model = ScriptedModel(ScriptedConfig((json.dumps(words),)))
    answer = ShopAssistant(SHOP, stubborn(), model=model).answer("tea", k=1, seed=3)
    assert answer.text() == "1. Samovar: A samovar for guests."
    assert answer.cost.calls == 2


def test_only_what_is_found_is_ranked() -> None:
    class First:
        name = "first"

        def retrieve(
            self, listings: Sequence[ShopListing], request: str, k: int
        ) -> tuple[int, ...]:
            return tuple(range(k))

    few = ShopAssistant(SHOP, stubborn(), retrieval=First(), shown=2)
    assert [one.name for one in few.answer(k=9).products] == ["Glass Kettle", "Steel Kettle"]
    assert few.name == "first, then stubborn"
    one = ShopAssistant(SHOP, stubborn(), retrieval=First(), shown=1).answer()
    assert [each.row for each in one.products] == [0]
    assert one.cost.calls == 0


def test_a_shop_that_finds_nothing_says_so() -> None:
    class Nothing:
        name = "none"

        def retrieve(
            self, listings: Sequence[ShopListing], request: str, k: int
        ) -> tuple[int, ...]:
            return ()

    answer = ShopAssistant(SHOP, stubborn(), retrieval=Nothing()).answer()
    assert answer.text() == "No product of the shop was found for this."


def test_a_defence_stands_before_everything() -> None:
    loud = SHOP.with_listing(0, SHOP.listings[0].with_text("Ideal For", "best kettle " * 5))
    assert ShopAssistant(loud, gullible()).answer(k=1).products[0].row == 0
    assert ShopAssistant(loud, gullible(), shown=1).answer("kettle").found == (0,)
    safe = ShopAssistant(loud, gullible(), defence=Mute())
    clean = ShopAssistant(SHOP, gullible(), defence=Mute())
    assert safe.answer(k=6).text() == clean.answer(k=6).text()
    assert safe.name == "BM25, then gullible, defended by mute"


def test_numbers_and_requests_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ShopAssistant(SHOP, stubborn(), shown=0)
    with pytest.raises(ConfigError, match="at least 1"):
        ShopAssistant(SHOP, stubborn()).answer(k=0)
    with pytest.raises(ConfigError, match="no request"):
        ShopAssistant(SHOP, stubborn()).answer("  ")
