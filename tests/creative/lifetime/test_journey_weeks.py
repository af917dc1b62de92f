"""Displays and sales by week against loops over the tables."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from adwright.creative.lifetime.journey_weeks import (
    DISPLAYS,
    MAILERS,
    Where,
    read_displays,
    read_sales,
)
from adwright.data.sources.complete_journey import CompleteJourney


def test_displays_are_the_rows_with_a_place(small_journey: CompleteJourney) -> None:
    found = read_displays(small_journey, "store")
    rows = small_journey.promotions().collect().sort("product_id", "store_id", "week")
    rows = rows.filter(pl.col("display_location") != "0")
    assert found.products[found.product].tolist() == rows["product_id"].to_list()
    assert found.stores[found.store].tolist() == rows["store_id"].to_list()
    assert found.week.tolist() == rows["week"].to_list()
    assert [DISPLAYS[code] for code in found.display] == rows["display_location"].to_list()
    assert [MAILERS[code] for code in found.mailer] == rows["mailer_location"].to_list()
    assert (np.diff(found.unit * 64 + found.week) > 0).all()
    for product, week in ((3, 7), (5, 53)):
        same = rows.filter((pl.col("product_id") == product) & (pl.col("week") == week))
        assert found.width[np.searchsorted(found.products, product), week] == same.height
    here = rows.filter((pl.col("store_id") == 301) & (pl.col("week") == 9))
    assert found.crowd[1, 9] == here.height


def test_the_chain_has_the_placement_of_most_stores(small_journey: CompleteJourney) -> None:
    found = read_displays(small_journey, "chain")
    rows = small_journey.promotions().collect().filter(pl.col("display_location") != "0")
    for place in range(0, len(found.week), 5):
        product, week = found.products[found.product[place]], found.week[place]
        same = rows.filter((pl.col("product_id") == product) & (pl.col("week") == week))
        for column, codes, code in (
            ("display_location", DISPLAYS, found.display[place]),
            ("mailer_location", MAILERS, found.mailer[place]),
        ):
            said = same[column].to_list()
            assert codes[code] == max(sorted(set(said), key=codes.index), key=said.count)
    assert found.stores.tolist() == [0]
    assert len(found.week) == rows.unique(["product_id", "week"]).height


@pytest.mark.parametrize("where", ["store", "chain"])
def test_sales_are_sums_over_inclusive_weeks(small_journey: CompleteJourney, where: Where) -> None:
    displays = read_displays(small_journey, where)
    sales = read_sales(small_journey, displays, where)
    bought = small_journey.transactions().collect()
    if where == "chain":
        bought = bought.with_columns(store_id=pl.lit(0).cast(pl.Int64))
    for product, store, first, last in ((3, 0, 5, 9), (0, 0, 1, 53), (13, 0, 20, 20), (2, 0, 0, 0)):
        weeks = bought.filter(pl.col("week").is_between(first, last))
        ids = displays.products[product], displays.stores[store]
        chain = weeks.filter(pl.col("product_id") == ids[0])
        here = chain.filter(pl.col("store_id") == ids[1])
        came = weeks.filter(pl.col("store_id") == ids[1])
        unit, begin, end = (
            np.array([each]) for each in (product * len(displays.stores) + store, first, last)
        )
        dollars = round(100 * here["sales_value"].sum())
        assert sales.in_store(unit, begin, end).tolist() == [[people(here), dollars]]
        found = sales.in_chain(np.array([product]), begin, end)[0].tolist()
        off = chain["retail_disc"].sum() + chain["coupon_match_disc"].sum()
        dollars = round(100 * chain["sales_value"].sum())
        assert found == [people(chain), dollars, round(100 * off), chain["quantity"].sum()]
        assert sales.came(np.array([store]), begin, end).tolist() == [people(came)]


def people(rows: pl.DataFrame) -> int:
    return rows.unique(["household_id", "week"]).height
