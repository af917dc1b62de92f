from __future__ import annotations

import polars as pl
import pytest

from adwright.data.sources.complete_journey import CompleteJourney
from adwright.demos.shelf import readable_name, readable_size, shelf_product, shelf_products

ROW = {
    "product_id": 845914,
    "manufacturer_id": 69,
    "department": "GROCERY",
    "brand": "Private",
    "product_category": "SOFT DRINKS",
    "product_type": "SOFT DRINKS 20PK&24PK CAN CARB",
    "package_size": "24 PK",
}


@pytest.mark.parametrize(
    ("name", "category", "read"),
    [
        ("FROZEN FRUIT PIES  & COBBLERS", "", "Frozen fruit pies and cobblers"),
        ("HAM STEAKS/CUBES/SLICES", "", "Ham steaks, cubes and slices"),
        ("BREAD:ITALIAN/FRENCH", "", "Italian and French bread"),
        ("MEAT: TURKEY BULK", "", "Turkey bulk"),
        ("CANDY BARS (SINGLES)(INCLUDING", "", "Candy bars"),
        ("DAIRY CASE TEA NO SUGAR OR SWE", "", "Dairy case tea no sugar or"),
        ("PREMIUM", "ICE CREAM", "Premium ice cream"),
        ("MISC", "TEAS", "Teas"),
        ("(12)", "", ""),
        ("", "", ""),
    ],
)
def test_names_are_read(name: str, category: str, read: str) -> None:
    assert readable_name(name, category) == read


def test_sizes_are_one_measure_or_none() -> None:
    sizes = {"16 OZ": "16 oz", ".5 OZ": "0.5 oz", "4.0 OZ": "4 oz", "2 LTR": "2 l", "1 LB": "1 lb"}
    assert {size: readable_size(size) for size in sizes} == sizes
    assert {readable_size(one) for one in ("", "41-50/16 OZ", "2 PK/7.2 OZ", "867440 4 PK")} == {""}


def test_a_row_is_a_product() -> None:
    product = shelf_product(ROW)
    assert product is not None
    assert (product.id, product.category) == ("845914", "Soft drinks")
    assert product.title == "Soft drinks canned carbonated"
    assert dict(product.attributes) == {
        "Size": "24 pk",
        "Department": "Grocery",
        "Brand type": "store brand",
    }
    assert product.brand == product.price == ""
    nothing = dict.fromkeys(ROW, None) | {"product_id": 1}
    assert shelf_product(nothing) is None


def test_products_come_in_the_order_asked_for() -> None:
    rows = [ROW, ROW | {"product_id": 2}, dict.fromkeys(ROW, None) | {"product_id": 3}]
    found = shelf_products(pl.DataFrame(rows), ["3", "2", "99", "845914"])
    assert [one.id for one in found] == ["2", "845914"]


def test_every_product_that_the_data_describe_is_read() -> None:
    frame = CompleteJourney.open().products().collect().sample(3000, seed=1)
    found = [shelf_product(cells) for cells in frame.iter_rows(named=True)]
    named = [one for one in found if one is not None]
    assert len(named) > 0.9 * len(found)
    assert not any(set("&/():") & set(one.title) for one in named)
    assert all(one.title[0].isupper() or not one.title[0].isalpha() for one in named)
