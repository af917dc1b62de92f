"""Features of displays one by one; all of them against loops in `test_spells`."""

from __future__ import annotations

import numpy as np
import polars as pl

from adwright.creative.lifetime.display_features import words_of
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.spells import SpellConfig, spells_of
from adwright.data.sources.complete_journey import CompleteJourney


def test_words_stand_once_a_product_and_nothing_has_none() -> None:
    products = pl.DataFrame(
        {
            "category": ["FRUIT - SHELF STABLE", None],
            "type": ["APPLE SAUCE/FRUIT", None],
            "size": ["50 OZ", None],
        }
    )
    ids, offsets, vocabulary = words_of(products, np.array([1, 0, 0]))
    assert vocabulary == ("50", "apple", "fruit", "oz", "sauce", "shelf", "stable")
    assert offsets.tolist() == [0, 0, 7, 14]
    assert ids.tolist() == [*range(7), *range(7)]


def test_a_chain_knows_nothing_of_a_store(
    small_journey: CompleteJourney, small_spells: SpellTable
) -> None:
    store, chain = small_spells, spells_of(small_journey, SpellConfig(where="chain"))
    assert "store" in store.category_names
    assert "store" not in chain.category_names
    gone = {name for name in store.number_names if "elsewhere" in name or "store_before" in name}
    assert gone - {"products_in_store_before"} == set(store.number_names) - set(chain.number_names)


def test_prices_and_discounts_are_those_of_the_chain(
    small_journey: CompleteJourney, small_spells: SpellTable
) -> None:
    table = small_spells
    rows = small_journey.transactions().collect().to_dicts()
    for place in range(0, len(table), 29):
        product, start = int(table.owner[place]), int(table.start[place])
        mine = [x for x in rows if x["product_id"] == product and x["week"] == start]
        off = sum(x["retail_disc"] + x["coupon_match_disc"] for x in mine)
        full = off + sum(x["sales_value"] for x in mine)
        pieces = sum(x["quantity"] for x in mine)
        numbers = dict(zip(table.number_names, table.numbers[place].tolist(), strict=True))
        nan = float("nan")
        expected = off / full if full else nan, full / pieces if pieces else nan
        for name, value in zip(("discount_now", "price_now"), expected, strict=True):
            np.testing.assert_allclose(numbers[name], value, rtol=1e-5)


def test_the_season_is_that_of_the_start(small_spells: SpellTable) -> None:
    table = small_spells
    numbers = dict(zip(table.number_names, table.numbers.T, strict=True))
    angle = np.arctan2(numbers["season_sine"], numbers["season_cosine"]) % (2 * np.pi)
    found = np.round(angle * 52 / (2 * np.pi)) % 52
    assert found.tolist() == (table.start % 52).tolist()
