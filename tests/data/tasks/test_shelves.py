from __future__ import annotations

import polars as pl
import pytest

from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.response import SHELF, price_tags, promoted_on, weekly_sales
from tests.support.data.small_journey import transactions, write_journey

FACTS = ("popularity", "price", "discount")


@pytest.fixture(scope="module")
def bought() -> pl.DataFrame:
    return transactions()


@pytest.fixture(scope="module")
def journey(bought: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    return write_journey(tmp_path_factory.mktemp("journey") / "data", bought)


def known_before(bought: pl.DataFrame, product: int, week: int) -> tuple[float, ...] | None:
    """popularity, price, discount of a product when `week` begins, by a loop over purchases."""
    earlier = [
        row
        for row in bought.iter_rows(named=True)
        if row["product_id"] == product and row["week"] < week and row["quantity"] > 0
    ]
    if not earlier:
        return None
    last = [row for row in earlier if row["week"] == max(r["week"] for r in earlier)]
    off = sum(row["retail_disc"] + row["coupon_match_disc"] for row in last)
    shelf = sum(row["sales_value"] for row in last) + off
    pieces = sum(row["quantity"] for row in last)
    return len(earlier), shelf / pieces, off / max(shelf, 0.01)


@pytest.mark.parametrize("week", [1, 2, 17, 53])
def test_tags_equal_a_loop_over_earlier_weeks(
    journey: CompleteJourney, bought: pl.DataFrame, week: int
) -> None:
    tags = {row["product_id"]: row for row in price_tags(weekly_sales(journey), week).to_dicts()}
    for product in range(16):
        expected = known_before(bought, product, week)
        if expected is None:
            assert product not in tags
        else:
            found = [tags[product][fact] for fact in FACTS]
            assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_sales_are_sorted_and_one_row_a_product_and_week(journey: CompleteJourney) -> None:
    sales = weekly_sales(journey)
    keys = sales.select("week", "product_id").rows()
    assert keys == sorted(set(keys))
    assert sales.columns == ["product_id", "week", *FACTS]


def test_shelves_hold_what_is_promoted_there(
    journey: CompleteJourney, bought: pl.DataFrame
) -> None:
    asked = pl.DataFrame(
        {
            "week": [5, 5, 40, 53],
            "store_id": [300, 301, 300, 302],
            "product_type": ["tea", "milk", "rice", "nothing"],
        }
    )
    found = promoted_on(journey, asked)
    types = dict(journey.products().select("product_id", "product_type").collect().rows())
    expected = [
        (week, store, kind, row["product_id"], row["display_location"], row["mailer_location"])
        for week, store, kind in asked.sort(SHELF).rows()
        for row in sorted(journey.promotions().collect().to_dicts(), key=lambda r: r["product_id"])
        if (row["week"], row["store_id"], types[row["product_id"]]) == (week, store, kind)
    ]
    assert found.drop(FACTS).rows() == expected
    for row in found.to_dicts():
        tag = known_before(bought, row["product_id"], row["week"]) or (0, None, None)
        assert [row[fact] for fact in FACTS] == pytest.approx(list(tag), rel=1e-6, abs=1e-6)
